"""
Whether the appliance works, found out by trying: what systemd's watchdog and `/readyz` go by.

The watchdog gets a sign of life after each look that found, in this order,

  1. the event loop turning: the look itself is made by it;
  2. workers answering, or known to be down: where an HSM is said to serve, one of its keys has signed lately;
  3. the ledger writing: its newest checkpoint was written again, onto the disk, and what keeps it runs.

A timer alone would feed the watchdog of a daemon that does nothing any more. An HSM that is down is no reason to start
again, because that is waited for; a pool that believes in workers which have not signed for long, is.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from appliance.daemon.notify import Notifier
from appliance.errors import LedgerError, LedgerUnavailable
from appliance.hsm.health import WorkerState
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.messages import KeyLabel
from appliance.hsm.observer import Observer
from appliance.hsm.pool import Pool
from appliance.ledger.keeper import Keeper
from appliance.ledger.merkle import Frontier
from appliance.ledger.store import Writer

_LOG = logging.getLogger(__name__)
_LOOKS_IN_A_DEADLINE: Final = 3
_LONGEST_PAUSE: Final = 10.0
_CANARIES_MISSED: Final = 3


@dataclass(frozen=True, slots=True)
class Trouble:
    """What does not work: its *cause*, a word with fields that may leave the site, and *words* for who looks at systemd."""

    cause: str
    words: str


class Pulse:
    """Hears of every signature, and passes everything on to *observer* (`hsm.observer.Observer`)."""

    def __init__(self, observer: Observer, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._observer, self._monotonic = observer, monotonic
        self._last: dict[str, float] = {}

    def silence(self, hsm: str) -> float:
        """Return for how long *hsm* has not signed; the count begins when this is asked for the first time."""
        now = self._monotonic()
        return now - self._last.setdefault(hsm, now)

    def signed(self, hsm: str, key: KeyLabel, queue_seconds: float, execution_seconds: float) -> None:
        """Note a signature."""
        self._last[hsm] = self._monotonic()
        self._observer.signed(hsm, key, queue_seconds, execution_seconds)

    def canary(self, hsm: str, key: KeyLabel, seconds: float) -> None:
        """Note a canary."""
        self._last[hsm] = self._monotonic()
        self._observer.canary(hsm, key, seconds)

    def failed(self, hsm: str, ckr: str, error_class: ErrorClass) -> None:
        """Pass it on."""
        self._observer.failed(hsm, ckr, error_class)

    def recovered(self, hsm: str, rung: Rung, *, healed: bool) -> None:
        """Pass it on."""
        self._observer.recovered(hsm, rung, healed=healed)

    def worker_changed(self, hsm: str, worker: int, state: WorkerState) -> None:
        """Pass it on."""
        self._observer.worker_changed(hsm, worker, state)

    def breaker(self, hsm: str, *, is_open: bool) -> None:
        """Pass it on."""
        self._observer.breaker(hsm, is_open=is_open)

    def pin_tries_low(self, hsm: str) -> None:
        """Pass it on."""
        self._observer.pin_tries_low(hsm)


@dataclass(slots=True)
class Vigil:
    """
    Looks again and again whether *pool* and *ledger* work, and tells *notifier*.

    *keeping* is the task that keeps the ledger; *canary_seconds* and *sign_seconds* are how often keys sign at least,
    and how long that may take.
    """

    pool: Pool
    pulse: Pulse
    ledger: Keeper
    keeping: asyncio.Task[None]
    notifier: Notifier
    canary_seconds: float
    sign_seconds: float
    ledger_code: str | None = None
    """Why the ledger did not write when it was last tried; None where it did."""
    _trouble: Trouble | None = field(default=None)

    @property
    def pause(self) -> float:
        """Seconds between two looks."""
        wanted = self.notifier.watchdog_seconds
        return _LONGEST_PAUSE if wanted is None else min(_LONGEST_PAUSE, wanted / _LOOKS_IN_A_DEADLINE)

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self.pause)

    async def look(self) -> bool:
        """Look once; give systemd a sign of life, or tell it what is wrong. Return which."""
        trouble = self._silent_workers() or await self._silent_ledger()
        if trouble is None:
            self.notifier.alive()
            if self._trouble is not None:
                _LOG.info("works again after=%s", self._trouble.cause)
        elif trouble != self._trouble:
            self.notifier.status(trouble.words)
            _LOG.error("does not work cause=%s", trouble.cause)
        self._trouble = trouble
        return trouble is None

    def _silent_workers(self) -> Trouble | None:
        serving = self.pool.health().serving
        if serving is None:
            return None  # known to be down, or coming up
        if self.pulse.silence(serving) <= _CANARIES_MISSED * self.canary_seconds + self.sign_seconds:
            return None
        return Trouble(f"workers-silent hsm={serving}", f"the workers of {serving} are silent")

    async def _silent_ledger(self) -> Trouble | None:
        try:
            await self.ledger.log.run(_write)
        except LedgerError as error:
            self.ledger_code = error.code
            return Trouble(f"ledger-unwritable code={error.code}", f"the ledger does not write: {error.code}")
        except Exception:  # noqa: BLE001 - a bug is no sign of life either
            self.ledger_code = LedgerUnavailable.code
            _LOG.exception("ledger cannot be tried")
            return Trouble("ledger-untried", "the ledger does not write")
        self.ledger_code = None
        return Trouble("ledger-unkept", "the ledger is not kept any more") if self.keeping.done() else None


def _write(writer: Writer, _frontier: Frontier) -> None:
    """Write what is there already once more: nothing is changed, and a disk that is full or gone shows."""
    newest, settled = writer.newest_checkpoint(), writer.head().settled
    if newest is not None:
        writer.save_checkpoint(newest, settled)
