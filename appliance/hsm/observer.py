"""
What the pool tells whoever counts: one method for each event, named as the event.

The pool knows no metrics library. An observer must not raise and must not wait: it is called in the middle of
things, on the event loop.
"""

from typing import Protocol

from appliance.hsm.health import WorkerState
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.messages import KeyLabel


class Observer(Protocol):
    """Who is told. *hsm* is always the configured alias."""

    def signed(self, hsm: str, key: KeyLabel, queue_seconds: float, execution_seconds: float) -> None:
        """A signature was made for a caller, who waited in the queue and then for the HSM."""

    def failed(self, hsm: str, ckr: str, error_class: ErrorClass) -> None:
        """The module, or a worker, failed; *ckr* is the return value's name, or our code where there is none."""

    def recovered(self, hsm: str, rung: Rung, *, healed: bool) -> None:
        """A rung of the ladder was tried."""

    def worker_changed(self, hsm: str, worker: int, state: WorkerState) -> None:
        """Worker number *worker* is in another state now."""

    def canary(self, hsm: str, key: KeyLabel, seconds: float) -> None:
        """The key has signed a message of the worker's own."""

    def breaker(self, hsm: str, *, is_open: bool) -> None:
        """The breaker opened or closed."""

    def pin_tries_low(self, hsm: str) -> None:
        """The HSM refused a PIN, or says that few tries are left."""


class Unobserved:
    """Tells nobody."""

    def signed(self, hsm: str, key: KeyLabel, queue_seconds: float, execution_seconds: float) -> None:
        """Ignore."""

    def failed(self, hsm: str, ckr: str, error_class: ErrorClass) -> None:
        """Ignore."""

    def recovered(self, hsm: str, rung: Rung, *, healed: bool) -> None:
        """Ignore."""

    def worker_changed(self, hsm: str, worker: int, state: WorkerState) -> None:
        """Ignore."""

    def canary(self, hsm: str, key: KeyLabel, seconds: float) -> None:
        """Ignore."""

    def breaker(self, hsm: str, *, is_open: bool) -> None:
        """Ignore."""

    def pin_tries_low(self, hsm: str) -> None:
        """Ignore."""
