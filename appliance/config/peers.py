"""Who may ask, how much, and which checks of the holder may be claimed."""

from typing import Annotated, Literal

import msgspec

from appliance.config.section import Alias, Name, Section


class BudgetSettings(Section, frozen=True, kw_only=True):
    """What one peer may ask for."""

    per_minute: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 60
    at_once: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 8
    per_day: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 20_000


class PeerSettings(Section, frozen=True, kw_only=True):
    """Who may ask: known by exactly one of a pinned certificate, a name in a certificate, or a Unix account."""

    alias: Alias
    role: Literal["terminal", "reception", "operator", "auditor"]
    certificate_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    certificate_name: Name | None = None
    """DNS name in the subjectAltName of a certificate that leads to `gateway.tls.clients`."""
    user: Name | None = None
    """Unix account, on the local socket."""
    group: Name | None = None
    """Unix group, on the local socket."""
    audience: Name | None = None
    """For whom results are, where it is not `result.audience`."""
    desks: tuple[str, ...] = ()
    """The desks a reception may use; none named means all."""
    face_device: Alias | None = None
    """The device that compares faces at this terminal's desks; without one no such check counts there."""
    budget: BudgetSettings = BudgetSettings()

    def __post_init__(self) -> None:
        if self.face_device is not None and self.role != "terminal":
            raise ValueError("face_device is a terminal's: other peers have no desks")
        known = (self.certificate_sha256, self.certificate_name, self.user, self.group)
        if sum(one is not None for one in known) != 1:
            raise ValueError(
                "a peer is known by exactly one of certificate_sha256, certificate_name, user and group"
            )


class PolicySettings(Section, frozen=True, kw_only=True):
    """Which checks of the holder may be claimed, beside the PIN and the face devices of desks: by default none."""

    operators: Annotated[tuple[Alias, ...], msgspec.Meta(max_length=1024)] = ()
    """Who may compare a holder with the card's front; none named means that nobody may."""
    decision_seconds: Annotated[float, msgspec.Meta(ge=5, le=300)] = 120.0
    """How long the front may be looked at."""
    emergency_hours: Annotated[float, msgspec.Meta(ge=0, le=72)] = 0.0
    """The longest time for which two operators may open a window in which nobody checks holders; 0 means never."""
