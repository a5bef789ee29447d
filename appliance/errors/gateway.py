"""What keeps the gateway from doing what somebody asks."""

from appliance.errors.base import ApplianceError


class GatewayError(ApplianceError):
    """A request was not carried out, whatever it was for."""


class PeerUnknown(GatewayError):
    """Nobody who is configured has this certificate or this account."""

    code = "peer_unknown"


class AccessDenied(GatewayError):
    """The peer is known, and may not do this, or not at this desk."""

    code = "access_denied"


class ResourceAbsent(GatewayError):
    """There is nothing under this address, or nothing any more, or it is somebody else's."""

    code = "resource_absent"


class MethodRefused(GatewayError):
    """What is under this address does not know the method; it knows those *allowed*."""

    code = "method_refused"

    def __init__(self, detail: str, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.allowed = allowed


class RequestMalformed(GatewayError):
    """The request is no HTTP, or its headers, query or body are not what the contract says."""

    code = "request_malformed"


class RequestTooLarge(GatewayError):
    """The request is longer than any that is meant."""

    code = "request_too_large"


class MediaTypeRefused(GatewayError):
    """The body is of another type, or packed."""

    code = "media_type_refused"


class RequestLate(GatewayError):
    """The request did not arrive within seconds."""

    code = "request_late"


class BudgetSpent(GatewayError):
    """The peer has asked for more than its budget; it may come again after *seconds*."""

    code = "budget_spent"

    def __init__(self, detail: str, seconds: float) -> None:
        super().__init__(detail)
        self.seconds = seconds


class IdempotencyConflict(GatewayError):
    """The Idempotency-Key belongs to another request."""

    code = "idempotency_conflict"


class DecisionNotAwaited(GatewayError):
    """Nothing is to be decided: not yet, not any more, or it was decided otherwise."""

    code = "decision_not_awaited"


class GatewayBusy(GatewayError):
    """As many authentications as there may be are under way."""

    code = "gateway_busy"


class GatewayDraining(GatewayError):
    """The appliance is about to end, and begins nothing new."""

    code = "gateway_draining"
