"""What keeps a program that asks an appliance from its answer, where the appliance itself did not refuse."""

from appliance.errors.base import ApplianceError


class ClientError(ApplianceError):
    """
    There is no answer that counts.

    *request_id* is what to look for in the appliance's log, where a request has got so far.
    """

    def __init__(self, detail: str, request_id: str | None = None) -> None:
        super().__init__(detail)
        self.request_id = request_id


class ApplianceUnreachable(ClientError):
    """The appliance could not be reached for as long as there was time."""

    code = "appliance_unreachable"


class ApplianceLate(ClientError):
    """The appliance answers, but the authentication had not ended when the time was over; it was cancelled."""

    code = "appliance_late"


class ApplianceAnswerInvalid(ClientError):
    """What answers is not what the contract says, or not to what was asked."""

    code = "appliance_answer_invalid"


class AuthenticationCancelled(ClientError):
    """Somebody with the same identity has cancelled the authentication."""

    code = "authentication_cancelled"
