"""Which checks of the holder are offered at a desk, for whoever leads somebody through one: what `policy` would permit."""

from typing import Final, Protocol, TypeAlias

import msgspec

from appliance.emergency import Window
from appliance.policy import Policy


class PinCheck(msgspec.Struct, frozen=True, tag_field="method", tag="pin"):
    """The holder enters the PIN."""


class FaceCheck(msgspec.Struct, frozen=True, tag_field="method", tag="face"):
    """The *device* at the desk compares the holder's face."""

    device: str


class VisualCheck(msgspec.Struct, frozen=True, tag_field="method", tag="visual"):
    """One of the operators (`Offered.operators`) compares holder and front, for which there are so many *seconds*."""

    seconds: float


class EmergencyCheck(msgspec.Struct, frozen=True, tag_field="method", tag="none_emergency"):
    """Nobody checks the holder, as long as the *window* is open for its *reason*: *until* when, in Unix time."""

    window: str
    reason: str
    until: float


Check: TypeAlias = PinCheck | FaceCheck | VisualCheck | EmergencyCheck
_PIN: Final = PinCheck()


class Offered(Protocol):
    """Who knows what is offered."""

    def checks(self, desk: str) -> tuple[Check, ...]:
        """Return the checks that may be claimed at *desk*."""

    @property
    def operators(self) -> tuple[str, ...]:
        """Who may be named for a visual check, in order: the same at all desks, and told once for all."""

    @property
    def asks_eligibility(self) -> bool:
        """Whether there is an eligibility service that can be asked."""


def permitted(
    policy: Policy, desk: str, *, reads_fronts: bool, window: Window | None = None
) -> tuple[Check, ...]:
    """
    Return what *policy* permits at *desk*, of an appliance that *reads_fronts* or does not.

    *window* is the emergency window that is open for the desk.
    """
    device = policy.face_device(desk)
    face = () if device is None else (FaceCheck(device),)
    sees = reads_fronts and policy.operators
    visual = (VisualCheck(policy.decision_seconds),) if sees else ()
    emergency = () if window is None or not policy.emergency_hours else (_emergency(window),)
    return (*face, *visual, _PIN, *emergency)


def _emergency(window: Window) -> EmergencyCheck:
    return EmergencyCheck(window.id, window.proposal.reason.value, window.ends_at.timestamp())
