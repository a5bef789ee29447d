"""Who is told what the pool does, and remembers it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from appliance.hsm.health import WorkerState
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.messages import KeyLabel


@dataclass(slots=True)
class Witness:
    """An observer of one pool. Everything is in the order in which it happened."""

    failures: list[tuple[str, ErrorClass]] = field(default_factory=list)
    rungs: list[tuple[Rung, bool]] = field(default_factory=list)
    """What was tried, and whether it healed."""
    breakers: list[bool] = field(default_factory=list)
    serving: list[str] = field(default_factory=list)
    """The HSMs that signed, each once for as long as it went on."""
    queue_seconds: list[float] = field(default_factory=list)
    pins_low: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def healed(self) -> list[Rung]:
        """The rungs that healed."""
        return [rung for rung, healed in self.rungs if healed]

    async def until(self, condition: Callable[["Witness"], bool], seconds: float = 20.0) -> None:
        """Wait until *condition* holds."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    def signed(self, hsm: str, key: KeyLabel, queue_seconds: float, execution_seconds: float) -> None:  # noqa: ARG002
        """Remember who signed and how long callers waited for their turn."""
        if not self.serving or self.serving[-1] != hsm:
            self.serving.append(hsm)
        self.queue_seconds.append(queue_seconds)
        self._news.set()

    def failed(self, hsm: str, ckr: str, error_class: ErrorClass) -> None:  # noqa: ARG002 - one HSM is enough here
        """Remember a failure."""
        self.failures.append((ckr, error_class))
        self._news.set()

    def recovered(self, hsm: str, rung: Rung, *, healed: bool) -> None:  # noqa: ARG002
        """Remember a rung."""
        self.rungs.append((rung, healed))
        self._news.set()

    def worker_changed(self, hsm: str, worker: int, state: WorkerState) -> None:  # noqa: ARG002
        """Only wake who waits."""
        self._news.set()

    def canary(self, hsm: str, key: KeyLabel, seconds: float) -> None:  # noqa: ARG002
        """Only wake who waits."""
        self._news.set()

    def breaker(self, hsm: str, *, is_open: bool) -> None:  # noqa: ARG002
        """Remember what the breaker did."""
        self.breakers.append(is_open)
        self._news.set()

    def pin_tries_low(self, hsm: str) -> None:  # noqa: ARG002
        """Count."""
        self.pins_low += 1
        self._news.set()
