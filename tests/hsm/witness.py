"""An observer that remembers."""

from collections import Counter
from dataclasses import dataclass, field

from appliance.hsm.health import WorkerState
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.messages import KeyLabel


@dataclass(slots=True)
class Witness:
    """Remembers what the pool told (`observer.Observer`)."""

    signed_by: list[tuple[str, KeyLabel]] = field(default_factory=list)
    failures: list[tuple[str, ErrorClass]] = field(default_factory=list)
    rungs: list[tuple[Rung, bool]] = field(default_factory=list)
    breakers: list[tuple[str, bool]] = field(default_factory=list)
    canaries: Counter[KeyLabel] = field(default_factory=Counter)
    pins_low: int = 0

    def signed(self, hsm: str, key: KeyLabel, queue_seconds: float, execution_seconds: float) -> None:
        """Remember; neither time can be negative."""
        assert min(queue_seconds, execution_seconds) >= 0
        self.signed_by.append((hsm, key))

    def failed(self, _hsm: str, ckr: str, error_class: ErrorClass) -> None:
        """Remember."""
        self.failures.append((ckr, error_class))

    def recovered(self, _hsm: str, rung: Rung, *, healed: bool) -> None:
        """Remember."""
        self.rungs.append((rung, healed))

    def worker_changed(self, hsm: str, worker: int, state: WorkerState) -> None:
        """Ignore."""

    def canary(self, _hsm: str, key: KeyLabel, seconds: float) -> None:
        """Count."""
        assert seconds > 0
        self.canaries[key] += 1

    def breaker(self, hsm: str, *, is_open: bool) -> None:
        """Remember."""
        self.breakers.append((hsm, is_open))

    def pin_tries_low(self, _hsm: str) -> None:
        """Count."""
        self.pins_low += 1
