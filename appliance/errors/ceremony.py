"""What stops the making of keys."""

from appliance.errors.base import EX_CONFIG, ApplianceError


class CeremonyError(ApplianceError):
    """A ceremony was not held, or what is left of one does not prove it."""


class CeremonyPlanInvalid(CeremonyError):
    """The plan of a ceremony is missing, unreadable or wrong."""

    code = "ceremony_plan_invalid"
    exit_status = EX_CONFIG


class CeremonyRefused(CeremonyError):
    """The plan is in order, but not the reviewed one, or its effects would replace what is there."""

    code = "ceremony_refused"


class CeremonyUnfinished(CeremonyError):
    """An earlier run of the same ceremony was interrupted and has left keys in the token."""

    code = "ceremony_unfinished"


class TranscriptInvalid(CeremonyError):
    """A transcript is not what its keys have signed, or does not show what it has to."""

    code = "transcript_invalid"
