"""
What keeps the eligibility service's answer from reception.

The authentication before has succeeded, and stays so whatever of this happens.
"""

from appliance.errors.base import EX_CONFIG, ApplianceError


class EligibilityError(ApplianceError):
    """Nobody has said whether the holder is insured."""


class EligibilityNotConfigured(EligibilityError):
    """Eligibility was to be asked for, and the configuration names nobody to ask."""

    code = "eligibility_not_configured"


class EligibilityPartMissing(EligibilityError):
    """The connector that the configuration names, or a library that it needs, is not installed."""

    code = "eligibility_part_missing"
    exit_status = EX_CONFIG


class EligibilityUnavailable(EligibilityError):
    """The service cannot be reached, is not the one it should be, or says itself that it cannot answer now."""

    code = "eligibility_unavailable"


class EligibilityTimeout(EligibilityError):
    """The service did not answer in time."""

    code = "eligibility_timeout"


class EligibilityRefused(EligibilityError):
    """The service has understood the question and does not answer it, for a *reason* from its own list."""

    code = "eligibility_refused"

    def __init__(self, detail: str, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


class EligibilityAnswerInvalid(EligibilityError):
    """What came is no answer: another type, too large, or not as the standard has it."""

    code = "eligibility_answer_invalid"


class EligibilityAnswerForeign(EligibilityError):
    """The answer is to another question, or about somebody else."""

    code = "eligibility_answer_foreign"


class EligibilityConnectorFailed(EligibilityError):
    """The connector broke its own contract."""

    code = "eligibility_connector_failed"


class EligibilityCancelled(EligibilityError):
    """The answer was not waited for any more."""

    code = "eligibility_cancelled"
