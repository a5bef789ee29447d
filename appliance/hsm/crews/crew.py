"""
The workers of one HSM, and what becomes of them: the ladder's upper rungs.

A keeper starts the workers that are missing, one after another; that is rung 4 where one was lost. When that fails
and no worker is left, the breaker is open (rung 5): callers are refused at once, and the keeper tries again with
growing pauses. A worker is ready when every key has signed a canary, so each try is the canary.

    starting ──▶ up ◀──▶ recovering ──▶ down ──▶ up
                                  any  ──▶ pin-rejected ──▶ (a person removes the marker) ──▶ up
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable

from appliance.errors import ApplianceError, HsmPinRejected, HsmUnavailable
from appliance.hsm.crews.breaker import Breaker
from appliance.hsm.crews.canaries import Canaries
from appliance.hsm.crews.child import Child
from appliance.hsm.crews.errands import Errands, Processes
from appliance.hsm.crews.house import House, Limits
from appliance.hsm.crews.line import DEPTH, Job, Line
from appliance.hsm.crews.logins import LoginGate
from appliance.hsm.crews.notices import Notices
from appliance.hsm.crews.recruit import StartFailed, bring_up, error_of, started
from appliance.hsm.health import HsmHealth, HsmState, WorkerState
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.marker import Marker
from appliance.hsm.messages import (
    Answer,
    Canary,
    CanaryResult,
    Climbed,
    Climbing,
    LoginNeeded,
    Progress,
    Refusal,
)
from appliance.hsm.observer import Observer
from appliance.hsm.place import Hsm

_NEARLY = 0.99
"""A timer may ring a moment early."""

_LOG = logging.getLogger(__name__)


class Crew:
    """The workers of *hsm*. All of it happens on one event loop; *clock* is monotonic."""

    def __init__(  # noqa: PLR0913 - what a pool shares with its crews
        self,
        hsm: Hsm,
        gate: LoginGate,
        *,
        limits: Limits,
        house: House,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self.hsm = hsm
        self.lines: list[Line] = []
        self.cause: ApplianceError | None = None
        """What stopped the last try."""
        self._gate = gate
        self._limits = limits
        self._house = house
        self._observer = observer
        self._notices = Notices(hsm.alias, observer)
        self._clock = clock
        self._breaker = Breaker()
        self._out_of_patience = False
        self._down_since = 0.0
        self._was_up = False
        self._lost = 0
        """How many workers are to be replaced."""
        self._closed = False
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        """Set when all workers are there, or a try has failed."""
        self._keeper: asyncio.Task[None] | None = None
        self._errands = Errands()
        self._processes = Processes()
        self._starting: tuple[int, Child] | None = None
        self._canaries = Canaries(hsm, limits.canary, observer)
        self.pinned = self._canaries.pinned
        self.terms = hsm.setup.terms

    # --- what the pool asks ---------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether there is a worker."""
        return bool(self.lines)

    @property
    def refusing(self) -> bool:
        """Whether callers should not wait for it."""
        return not self.lines and (self._breaker.is_open or self._out_of_patience or self._closed)

    @property
    def state(self) -> HsmState:
        """How the HSM is."""
        if self.lines:
            return HsmState.UP
        if isinstance(self.cause, HsmPinRejected):
            return HsmState.PIN_REJECTED
        if self.refusing:
            return HsmState.DOWN
        return HsmState.RECOVERING if self._was_up else HsmState.STARTING

    @property
    def marker(self) -> Marker:
        """Where a rejected PIN would be written down."""
        return self._gate.marker

    @property
    def children(self) -> frozenset[Child]:
        """All processes that have not been seen to end."""
        return self._processes.all

    @property
    def operation_seconds(self) -> float:
        """How long a worker may be silent over one job before it counts as hung."""
        return min(self.hsm.setup.vendor.limits.operation_seconds, self._limits.sign)

    def holds(self, key: str | None) -> bool:
        """Whether *key* is one of this HSM's; None stands for any."""
        return key is None or key in self.pinned

    def free_line(self) -> Line | None:
        """Return the line with the least to do, where one has room."""
        best: Line | None = None
        least = DEPTH
        for line in self.lines:
            if line.load < least and not line.climbing:
                best, least = line, line.load
        return best

    def demand(self) -> None:
        """Try again soon: somebody was refused."""
        self._breaker.demand()
        self._wake.set()

    async def start(self) -> None:
        """Have all workers started, and return when they are there or a try has failed."""
        self._settled.clear()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        elif len(self.lines) == self.hsm.crew_size:
            return
        self.demand()
        await self._settled.wait()

    def hang_up(self) -> None:
        """Begin to end: nothing is started any more, and workers hear that they are not needed."""
        self._closed = True
        self._errands.stop()
        self._processes.hang_up()
        self._wake.set()
        self._settled.set()

    async def ended(self) -> None:
        """
        Wait for the end of all workers.

        One that is logging in is waited for as long as a start may take, and then left to end when its login does.
        """
        if self._keeper is not None:
            await asyncio.wait([self._keeper], timeout=self._limits.start)
        await self._errands.done()
        for child in self.children:
            await self._processes.dismiss(child)
            if child.logging_in and not await child.exited(self._limits.start):
                _LOG.error("hsm worker left behind while logging in hsm=%s pid=%d", self.hsm.alias, child.pid)

    async def drained(self) -> None:
        """Wait until no job is in the hands of a worker."""
        while jobs := [job.future for line in self.lines for job in line.jobs if not job.future.done()]:
            await asyncio.wait(jobs)

    def health(self) -> HsmHealth:
        """Return how the HSM is now."""
        workers = Counter(line.state for line in self.lines)
        missing = self.hsm.crew_size - len(self.lines)
        if self._starting is not None and missing:
            logging_in = self._starting[1].logging_in
            workers[WorkerState.LOGGING_IN if logging_in else WorkerState.STARTING] += 1
            missing -= 1
        workers[WorkerState.ABSENT] += missing
        marker = self.marker
        return HsmHealth(
            alias=self.hsm.alias,
            state=self.state,
            workers={state: workers[state] for state in WorkerState},
            keys=self._canaries.health(),
            breaker_open=self.refusing,
            last_failure=self._notices.last_failure,
            marker=str(marker.path) if marker.is_set() else None,
        )

    # --- what lines tell ------------------------------------------------------------------------------------

    def answered(self, line: Line, job: Job, answer: Answer) -> None:
        """Note the last *answer* to *job*, and hand it on (`line.Crewman`)."""
        match answer, job.verb:
            case CanaryResult(seconds), Canary(key):
                self._canaries.sang(key, seconds)
            case Refusal(), _ if answer.ckr or not answer.usable:
                self._refused(line, job, answer)
            case _:
                pass
        if job.seen_failing and line in self.lines:
            self._observer.worker_changed(self.hsm.alias, line.worker, WorkerState.READY)
        self._house.answered(self, line, job, answer)
        if line not in self.lines and not line.load:
            # The worker has given back what reached it, and ends when it sees that nothing more comes.
            line.child.hang_up()

    def progressed(self, line: Line, job: Job, progress: Progress) -> None:
        """Count a rung, or give the word for a login (`line.Crewman`)."""
        match progress:
            case Climbing(_, ckr, error_class):
                job.seen_failing = True
                self._notices.failed(HsmUnavailable(f"a worker is recovering from {ckr}"), ckr, error_class)
            case Climbed(rung, healed):
                self._observer.recovered(self.hsm.alias, rung, healed=healed)
            case LoginNeeded():
                self._errands.run(self._grant_login(line))
            case _:
                pass
        self._observer.worker_changed(self.hsm.alias, line.worker, line.state)

    def lost(self, line: Line, jobs: tuple[Job, ...], error: HsmUnavailable) -> None:
        """Replace the worker, and hand its jobs back (`line.Crewman`)."""
        if line in self.lines:
            if not self._closed:
                self._notices.failed(error, "", ErrorClass.TRANSIENT)
            self._remove(line)
        self._errands.run(self._processes.dismiss(line.child))
        self._house.lost(self, jobs, error)
        self._house.changed()

    def discard(self, line: Line, why: str) -> None:
        """End the worker at *line* at once, unless it is logging in: it is hung, or talks nonsense."""
        self._notices.failed(HsmUnavailable(why), "", ErrorClass.TRANSIENT)
        self._remove(line)
        line.child.kill()
        line.child.hang_up()

    # --- how workers come -----------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Start what is missing, whenever it is time to; whatever fails, there is a next time."""
        while not self._closed:
            self._wake.clear()
            missing = len(self.lines) < self.hsm.crew_size
            pause = self._breaker.next_try(self._clock()) if missing else math.inf
            if pause <= 0:
                try:
                    await self._try()
                except Exception:  # noqa: BLE001 - logged; an HSM without its keeper would never come back
                    _LOG.exception("hsm worker cannot be started hsm=%s", self.hsm.alias)
                    self._breaker.failed(self._clock())
                    self._settled.set()
                continue
            if not missing:
                self._settled.set()
            try:
                async with asyncio.timeout(None if pause == math.inf else pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _try(self) -> None:
        """Have one worker started, and tell how it went."""
        rung = Rung.BREAKER if self._breaker.is_open else Rung.RESTART if self._lost else None
        number = min(set(range(self.hsm.crew_size)) - {line.worker for line in self.lines})
        try:
            line = await self._recruited(number)
        except StartFailed as failed:
            self._observer.worker_changed(self.hsm.alias, number, WorkerState.ABSENT)
            if self._closed:
                return
            self._notices.failed(failed.error, failed.ckr, failed.error_class)
            self.cause = failed.error
            self._breaker.failed(self._clock())
        else:
            self._breaker.healed()
            self._out_of_patience = False
            self._lost = max(0, self._lost - 1)
            self._was_up = True
            self.cause = None
            self.lines.append(line)
            line.open()
        finally:
            self._starting = None
        if rung is not None:
            self._observer.recovered(self.hsm.alias, rung, healed=not self._breaker.is_open)
        if self._breaker.is_open or len(self.lines) == self.hsm.crew_size:
            self._settled.set()
        self._announce()
        self._house.changed()

    async def _recruited(self, number: int) -> Line:
        """Return a line to a new worker, or raise StartFailed."""
        at_work = frozenset(line.child for line in self.lines)
        child = await started(self.hsm, self._gate, self._processes, at_work)
        if self._closed:
            await self._processes.dismiss(child)
            raise StartFailed(HsmUnavailable("the pool is closed"), "", ErrorClass.TRANSIENT)
        self._starting = (number, child)
        try:
            self._observer.worker_changed(self.hsm.alias, number, WorkerState.STARTING)
            ready = await bring_up(self.hsm, child, self._gate, self._limits.start, self._slow)
            # Nor does what fails from here on leave a process that is logged in and that nobody uses.
            for key, seconds in zip(self.pinned, ready.seconds, strict=True):
                self._canaries.sang(key, seconds)
            line = Line(number, child, self, self._clock)
            self._observer.worker_changed(self.hsm.alias, number, WorkerState.READY)
        except StartFailed:
            await self._processes.dismiss(child)
            raise
        except Exception as error:
            _LOG.exception("hsm worker cannot be started hsm=%s", self.hsm.alias)
            await self._processes.dismiss(child)
            bug = HsmUnavailable(f"{type(error).__name__} while a worker was started")
            raise StartFailed(bug, "", ErrorClass.PERMANENT) from error
        self._errands.later(self._canaries.interval, lambda: self._send_canaries(line))
        return line

    async def _grant_login(self, line: Line) -> None:
        """Give *line* the word for its login when it is its turn; the turn lasts until the login is over."""
        try:
            async with self._gate.turn():
                if line in self.lines and line.jobs:
                    await line.log_in()
        except HsmPinRejected as error:
            self.cause = error
            line.child.kill()

    def _slow(self, error: ApplianceError) -> None:
        """A login takes too long: callers are refused until it is over, and whoever looks hears why."""
        self._notices.failed(error, "", ErrorClass.TRANSIENT)
        self.cause = error
        self._out_of_patience = True
        self._settled.set()
        self._announce()
        self._house.changed()

    def _lose_patience(self) -> None:
        if not self.lines and self._clock() >= self._down_since + self._limits.sign * _NEARLY:
            self._out_of_patience = True
            self._announce()
            self._house.changed()

    # --- canaries -------------------------------------------------------------------------------------------

    def _send_canaries(self, line: Line) -> None:
        """Have every key prove itself in this worker; the next time comes whatever becomes of it."""
        if line not in self.lines:
            return
        now = self._clock()
        if not line.climbing:
            for key in self.pinned:
                future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
                line.give(Job(Canary(key), key, future, now, now + self._limits.sign))
            self._house.changed()
        self._errands.later(self._canaries.interval, lambda: self._send_canaries(line))

    # --- the rest -------------------------------------------------------------------------------------------

    def _refused(self, line: Line, job: Job, refusal: Refusal) -> None:
        error = error_of(refusal)
        if line.login_failed and isinstance(error, HsmPinRejected):
            self._gate.rejected(self.hsm, error)
        if not job.seen_failing or refusal.error_class is ErrorClass.AUTH:
            self._notices.failed(error, refusal.ckr, refusal.error_class)
        if not refusal.usable and line in self.lines:
            # The worker ends by itself. Nothing more is given to it.
            self.cause = error
            self._remove(line)
            self._errands.run(self._processes.see_off(line.child))
            if refusal.error_class is not ErrorClass.TRANSIENT and not self.lines:
                self._breaker.failed(self._clock())
                self._announce()

    def _remove(self, line: Line) -> None:
        if line not in self.lines:
            return
        self.lines.remove(line)
        self._lost += 1
        self._settled.set()  # whoever waits for all workers would wait as long as they come and go
        self._observer.worker_changed(self.hsm.alias, line.worker, WorkerState.ABSENT)
        if not self.lines and not self._closed:
            self._down_since = self._clock()
            self._errands.later(self._limits.sign, self._lose_patience)
        self._wake.set()

    def _announce(self) -> None:
        self._notices.down(is_down=self.refusing, was_up=self._was_up)
