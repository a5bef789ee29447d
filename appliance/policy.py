"""
Which check of the holder may be claimed where: decisions over the configuration and a request, and nothing else.

    pin      everywhere: the card itself makes the check
    face     at a desk with a registered device, in that device's name
    visual   in the name of a registered operator, and where the front is read in the same session
    none_emergency   only while two operators keep a window open for that (`emergency`), where the settings let them

What nothing here permits is refused, so an appliance without any of these settings takes the PIN alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self, assert_never

from appliance.authentication import CheckMethod, Request
from appliance.config import Settings
from appliance.errors import EmergencyClosed, FaceDeviceUnknown, FrontMissing, OperatorUnknown

_SEPARATOR = "."
"""Between terminal and reader in the name of a desk."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The *operators* who may compare, and the face device of each place: a local desk, or a terminal with all its desks."""

    operators: frozenset[str] = frozenset()
    face_devices: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    decision_seconds: float = 120.0
    emergency_hours: float = 0.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what *settings* permit."""
        local = {one.alias: one.face_device for one in settings.reader}
        remote = {one.alias + _SEPARATOR: one.face_device for one in settings.peer if one.role == "terminal"}
        devices = {place: device for place, device in (local | remote).items() if device is not None}
        policy = settings.policy
        return cls(
            frozenset(policy.operators),
            MappingProxyType(devices),
            policy.decision_seconds,
            policy.emergency_hours,
        )

    def face_device(self, desk: str) -> str | None:
        """Return the face device of *desk*, or None."""
        terminal, separator, _reader = desk.partition(_SEPARATOR)
        return self.face_devices.get(terminal + separator)

    def require(self, request: Request, *, reads_front: bool) -> None:
        """
        Check that the check which *request* claims may be claimed, where the session *reads_front* or does not.

        Raises IdentityCheckMissing, FaceDeviceUnknown, OperatorUnknown, FrontMissing, EmergencyClosed.
        """
        check = request.require_identity_check()
        match check.method:
            case CheckMethod.PIN:
                pass
            case CheckMethod.FACE:
                device = self.face_device(request.terminal)
                if device is None:
                    raise FaceDeviceUnknown("no device that compares faces is registered for this desk")
                if check.by != device:
                    raise FaceDeviceUnknown("another device than the one named is registered for this desk")
            case CheckMethod.VISUAL:
                if check.by not in self.operators:
                    raise OperatorUnknown("the operator named is not among policy.operators")
                if not reads_front:
                    raise FrontMissing(
                        "a visual check needs 'front', so that this card's front is seen in this session"
                    )
            case CheckMethod.NONE_EMERGENCY:
                # Which window it is, and that it is open, is known to who has found it, and to the ledger.
                if not self.emergency_hours:
                    raise EmergencyClosed("policy.emergency_hours is 0: no window is ever open")
            case _:
                assert_never(check.method)
