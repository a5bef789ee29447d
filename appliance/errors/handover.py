"""What keeps a request that was handed over as a file from being carried out."""

from appliance.errors.base import ApplianceError


class HandoverError(ApplianceError):
    """A request file was answered without any authentication, or without its end being known."""


class HandoverFileRefused(HandoverError):
    """What lies in the request folder is no plain file of a usable name and size."""

    code = "handover_file_refused"


class HandoverRequestInvalid(HandoverError):
    """The file's content is no request."""

    code = "handover_request_invalid"


class HandoverRepeated(HandoverError):
    """A request of this name was answered before, or is being carried out."""

    code = "handover_repeated"


class HandoverLate(HandoverError):
    """The request lay in the folder until nobody can be waiting for it any more."""

    code = "handover_late"


class HandoverInterrupted(HandoverError):
    """The hand-over ended while the request was being carried out; how that went is not known here."""

    code = "handover_interrupted"


class HandoverFailed(HandoverError):
    """The hand-over made a mistake of its own, which its log has under the *incident*."""

    code = "handover_failed"

    def __init__(self, incident: str) -> None:
        super().__init__("the hand-over has failed unexpectedly")
        self.incident = incident
