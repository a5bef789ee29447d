"""How the HSMs are, as frozen snapshots: what `Pool.health` returns and `hsm status` prints."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from appliance.hsm.messages import KeyLabel


class HsmState(StrEnum):
    """Whether an HSM serves."""

    STARTING = "starting"
    """No worker has been ready yet."""
    UP = "up"
    """At least one worker signs."""
    RECOVERING = "recovering"
    """No worker signs; one is being started, and callers wait for it until their deadlines."""
    DOWN = "down"
    """The breaker is open: callers are refused at once, and canaries are tried with pauses."""
    PIN_REJECTED = "pin-rejected"
    """The HSM refused the PIN, or would soon lock: nothing is tried until a person has looked."""


class WorkerState(StrEnum):
    """What a worker is doing."""

    ABSENT = "absent"
    STARTING = "starting"
    LOGGING_IN = "logging-in"
    READY = "ready"
    BUSY = "busy"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True)
class KeyHealth:
    """A key and its last canary: when (Unix time) and how long it took; None before the first."""

    label: KeyLabel
    fingerprint: str
    canary_at: float | None
    canary_seconds: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong last: our *code*, the return value's name where there is one, in words, and when (Unix time)."""

    code: str
    ckr: str | None
    detail: str
    at: float


@dataclass(frozen=True, slots=True)
class HsmHealth:
    """One HSM."""

    alias: str
    state: HsmState
    workers: Mapping[WorkerState, int]
    keys: tuple[KeyHealth, ...]
    breaker_open: bool
    last_failure: Failure | None
    marker: str | None
    """Path of the marker that a rejected PIN has left."""


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """All HSMs in order of preference, and the queue before them."""

    hsms: tuple[HsmHealth, ...]
    serving: str | None
    """Alias of the HSM that gets the next request."""
    queued: int

    @property
    def up(self) -> bool:
        """Whether there is an HSM that signs."""
        return self.serving is not None
