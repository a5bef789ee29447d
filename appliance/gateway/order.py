"""What callers say in the bodies of `/v1/authentications`: an order, and the decision on a front."""

from typing import Annotated

import msgspec

from appliance.authentication import CheckMethod, IdentityCheck, Receiver, Request
from appliance.card.jpki import Mode
from appliance.emergency import Emergency
from appliance.errors import EmergencyClosed
from appliance.gateway.comparison import Printed

Alias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")]
"""Of a device or an operator, as the ledger takes it."""
DeskName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}(?:\.[a-z0-9][a-z0-9-]{0,31})?\Z")]
CallersNonce = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,128}\Z")]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of a body have in common."""


class FaceCheck(_Body, frozen=True, kw_only=True, tag_field="method", tag="face"):
    """A device has compared the holder's face with the card."""

    device: Alias


class VisualCheck(_Body, frozen=True, kw_only=True, tag_field="method", tag="visual"):
    """An operator has compared the holder with the card's photo."""

    operator: Alias


class EmergencyCheck(_Body, frozen=True, kw_only=True, tag_field="method", tag="none_emergency"):
    """Nobody could compare anything: a window is open for that. Which one it is, the appliance knows."""


class Order(_Body, frozen=True, kw_only=True):
    """What is asked for. Nothing in it is without effect: what would be is refused."""

    desk: DeskName
    mode: Mode
    identity_check: FaceCheck | VisualCheck | EmergencyCheck | None = None
    front: Printed | None = None
    nonce: CallersNonce | None = None
    last_pin_try: bool = False
    evidence: bool = False
    eligibility: bool = False

    def __post_init__(self) -> None:
        if self.mode is Mode.PIN and self.identity_check is not None:
            raise ValueError("with the mode 'pin' the PIN is the identity check")
        if self.mode is Mode.PINLESS and self.last_pin_try:
            raise ValueError("without a PIN there is no last try of it")
        if self.front is not None and not isinstance(self.identity_check, VisualCheck):
            raise ValueError("only a visual check reads the front")

    def request(self, audience: str, emergency: Emergency | None = None) -> Request:
        """
        Return what is to be authenticated for *audience*; *emergency* has the windows that are open.

        Raises IdentityCheckMissing and EmergencyClosed.
        """
        check: IdentityCheck | None = None
        match self.identity_check:
            case FaceCheck(device=device):
                check = IdentityCheck(CheckMethod.FACE, device)
            case VisualCheck(operator=operator):
                check = IdentityCheck(CheckMethod.VISUAL, operator)
            case EmergencyCheck():
                if emergency is None:
                    raise EmergencyClosed("no emergency window is ever open here")
                check = emergency.check(self.desk)
            case None:
                pass
        receiver = Receiver(audience, self.nonce)
        request = Request(self.mode, self.desk, check, self.last_pin_try, receiver)
        request.require_identity_check()
        return request


class Decision(_Body, frozen=True, kw_only=True):
    """What somebody says who has compared the front with the person."""

    same_person: bool
