"""
Authentications under way, and finished ones for a while: whose they are, how far, and how they ended.

    create ──> running ──> authenticated | refused | cancelled ──keep_seconds──> forgotten

Nothing here knows of HTTP. An authentication is its owner's alone, and it goes on when the request that began it is
gone. Whoever looks is given how things stand now: a slow one misses what came and went meanwhile, holds nobody
up and piles nothing up. Durations are the loop's, so that no clock that is set ends or keeps anything.
"""

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeAlias

from appliance.authentication import CheckMethod
from appliance.card.jpki import Mode
from appliance.errors import ApplianceError, GatewayBusy, GatewayDraining, ResourceAbsent
from appliance.gateway.comparison import Comparison
from appliance.gateway.desks import Stage
from appliance.gateway.eligibility import Outcome

_LOG = logging.getLogger(__name__)
_ID_BYTES: Final = 16
_LETTING_GO_SECONDS: Final = 5.0
"""How long a cancelled authentication may take to let go of its card before nobody waits for it any more."""


class State(StrEnum):
    """Whether an authentication is over, and how it ended."""

    RUNNING = "running"
    AUTHENTICATED = "authenticated"
    REFUSED = "refused"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """How far a running authentication is: what a desk tells (`Stage`), and what is before and after."""

    STARTING = "starting"
    WAITING_FOR_CARD = "waiting-for-card"
    READING = "reading"
    """The card's front."""
    AWAITING_DECISION = "awaiting-decision"
    """The front is shown, for somebody to say whether it is the same person."""
    TALKING = "talking"
    WAITING_FOR_PIN = "waiting-for-pin"
    DECIDING = "deciding"
    """The card has done its part."""
    ASKING_ELIGIBILITY = "asking-eligibility"
    """The authentication has succeeded, whatever comes of this."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an authentication is of, for whoever is shown it: its desk and mode, and the id of the request for it."""

    desk: str
    mode: Mode
    request: str
    can_ask: bool = False
    """Whether there is an eligibility service, so that its owner is shown what came of asking it."""
    check: CheckMethod | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a successful authentication leaves to its owner: a *token*, and *evidence* and *eligibility* where asked for."""

    token: str = field(repr=False)
    evidence: bytes | None = field(default=None, repr=False)
    eligibility: Outcome | None = field(default=None, repr=False)


Tell: TypeAlias = Callable[[Phase], None]
Work: TypeAlias = Callable[[Tell], Awaitable[Result]]
"""Authenticates, telling how far it is; raises ApplianceError where that is refused."""
Then: TypeAlias = Callable[[], None]
Later: TypeAlias = Callable[[float, Then], object]
"""Calls a function after seconds, as the loop's `call_later` does."""


def _nothing() -> None:
    """Nobody wants to know."""


def phase(stage: Stage) -> Phase:
    """Return *stage* as a phase."""
    return Phase(stage.value)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How an authentication stands. The *number* rises with every change; *phase* is None at the end."""

    number: int
    state: State
    phase: Phase | None

    @property
    def is_final(self) -> bool:
        """Whether nothing changes any more."""
        return self.state is not State.RUNNING


class Job:
    """One authentication of the peer *owner*. Made by `Jobs.create`."""

    def __init__(
        self, owner: str, asked: Asked, created_at: datetime, comparison: Comparison | None = None
    ) -> None:
        self.id: Final = secrets.token_hex(_ID_BYTES)
        self.owner: Final = owner
        self.asked: Final = asked
        self.created_at: Final = created_at
        self.comparison: Final = comparison
        """Of holder and front, where that is how the holder is checked."""
        self.result: Result | None = None
        """What it ended with, until it is forgotten."""
        self.error: ApplianceError | None = None
        """Why it was refused or cancelled."""
        self.now = Snapshot(0, State.RUNNING, Phase.STARTING)
        self.has_begun = False
        """Whether it has come to any phase after the first."""
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._changed = asyncio.Event()

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return self._clock() - self._began

    async def news(self, after: int, seconds: float) -> Snapshot | None:
        """Return how it stands once that is newer than the number *after*; None where it is not within *seconds*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.now.number <= after:
                    await self._changed.wait()
        return self.now if self.now.number > after else None

    async def begun(self, seconds: float) -> Snapshot:
        """Wait, *seconds* at most, until it has begun or ended, and return how it stands."""
        return await self.news(0, seconds) or self.now

    async def ended(self, seconds: float) -> Snapshot:
        """Wait, *seconds* at most, until it has ended, and return how it stands."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.now.is_final:
                    await self._changed.wait()
        return self.now

    def tell(self, phase: Phase) -> None:
        """Have it known that it came to *phase*."""
        if not self.now.is_final and phase is not self.now.phase:
            self.has_begun = True
            self._change(State.RUNNING, phase)

    def end(self, state: State, result: Result | None = None, error: ApplianceError | None = None) -> None:
        """Have it known that it ended in *state*."""
        self.result, self.error = result, error
        self._change(state, None)

    def _change(self, state: State, phase: Phase | None) -> None:
        self.now = Snapshot(self.now.number + 1, state, phase)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


@dataclass(slots=True)
class _Known:
    """A job, the task that does it, and whom to tell of its end."""

    job: Job
    task: asyncio.Task[Result]
    ended: Then
    forgotten: Then


class Jobs:
    """
    At most *at_once* authentications under way; finished ones are known for *keep_seconds*, *kept* for each owner.

    *clock* tells when one was created, and decides nothing. *later* is the loop's `call_later` where it is None.
    """

    def __init__(
        self,
        *,
        at_once: int,
        keep_seconds: float,
        kept: int = 1024,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        later: Later | None = None,
    ) -> None:
        self._at_once = at_once
        self.keep_seconds: Final = keep_seconds
        self.kept: Final = kept
        self._clock, self._later = clock, later
        self._known: dict[str, _Known] = {}
        self._finished: defaultdict[str, dict[str, Job]] = defaultdict(dict)
        """By owner, the oldest first."""
        self._under_way: set[asyncio.Task[object]] = set()
        self._draining = False

    @property
    def under_way(self) -> int:
        """How many authentications, and other conversations with cards, are under way."""
        return len(self._under_way)

    @property
    def is_draining(self) -> bool:
        """Whether nothing new is begun any more."""
        return self._draining

    def create(  # noqa: PLR0913 - each has its name at the call
        self,
        owner: str,
        asked: Asked,
        work: Work,
        *,
        comparison: Comparison | None = None,
        ended: Then = _nothing,
        forgotten: Then = _nothing,
    ) -> Job:
        """
        Begin *work* for *owner*, who has *asked* for it, and return the job that it is; *comparison* is the work's own.

        When it has *ended*, however that comes about, and when it is *forgotten*, the functions of these names are
        called, once. Raises GatewayDraining and GatewayBusy; then neither is.
        """
        self._require_room()
        job = Job(owner, asked, self._clock(), comparison)
        task: asyncio.Task[Result] = asyncio.create_task(_do(work, job.tell), name=f"authentication-{job.id}")
        self._known[job.id] = _Known(job, task, ended, forgotten)
        self._under_way.add(task)
        task.add_done_callback(lambda task: self._ended(job, task))
        return job

    def find(self, owner: str, identity: str) -> Job:
        """Return the job *identity* of *owner*, or raise ResourceAbsent: also where it is somebody else's."""
        known = self._known.get(identity)
        if known is None or known.job.owner != owner:
            raise ResourceAbsent("there is no such authentication, or not any more")
        return known.job

    def running(self) -> list[tuple[Job, Phase]]:
        """Return the jobs of all owners that have not ended, and how far they are; the oldest first."""
        jobs = (known.job for known in self._known.values())
        return [(job, phase) for job in jobs if (phase := job.now.phase) is not None]

    async def cancel(self, job: Job) -> Snapshot:
        """Cancel *job* if it is running, and return how it stands once it has let go of its card."""
        known = self._known.get(job.id)
        if known is not None and not known.task.done():
            known.task.cancel()
            await asyncio.wait((known.task,), timeout=_LETTING_GO_SECONDS)
        return job.now

    def forget(self, job: Job) -> None:
        """Know *job*, which has ended, no longer: nothing of what it ended with stays."""
        known = self._known.pop(job.id, None)
        if known is not None:
            job.result = None
            self._finished[job.owner].pop(job.id, None)
            known.forgotten()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """
        Have the present task count as under way, and be cancelled with the rest at the end.

        Raises GatewayDraining and GatewayBusy.
        """
        self._require_room()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("what is under way is a task")
        self._under_way.add(task)
        try:
            yield
        finally:
            self._under_way.discard(task)

    async def drain(self, seconds: float) -> None:
        """Begin nothing new, give what is under way *seconds* to end by itself, and cancel what is left."""
        self._draining = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
        left = set(self._under_way)
        for task in left:
            task.cancel()
        if left:
            _LOG.warning("cancelled at the end count=%d", len(left))
            await asyncio.wait(left, timeout=_LETTING_GO_SECONDS)

    def _require_room(self) -> None:
        if self._draining:
            raise GatewayDraining("the appliance is about to end")
        if len(self._under_way) >= self._at_once:
            raise GatewayBusy(f"{self._at_once} authentications are under way")

    def _ended(self, job: Job, task: asyncio.Task[Result]) -> None:
        self._under_way.discard(task)
        if task.cancelled():
            ending = GatewayDraining("the appliance has ended meanwhile") if self._draining else None
            job.end(State.CANCELLED, error=ending)
        elif (error := task.exception()) is None:
            job.end(State.AUTHENTICATED, task.result())
        elif isinstance(error, ApplianceError):
            job.end(State.REFUSED, error=error)
        else:
            # A bug: where it is goes into the log, what it said does not, for that may speak of a person.
            _LOG.error("authentication failed unexpectedly id=%s error=%s at=%s", job.id, *_place(error))
            job.end(State.REFUSED, error=ApplianceError("an authentication failed unexpectedly"))
        asked = job.asked
        _LOG.info(
            "authentication ended id=%s desk=%s mode=%s check=%s outcome=%s milliseconds=%d peer=%s",
            *(
                job.id,
                asked.desk,
                asked.mode,
                asked.check or "-",
                _outcome(job),
                job.seconds * 1000,
                job.owner,
            ),
        )
        self._known[job.id].ended()
        later = self._later or asyncio.get_running_loop().call_later
        later(self.keep_seconds, lambda: self.forget(job))
        finished = self._finished[job.owner]
        finished[job.id] = job
        if len(finished) > self.kept:
            self.forget(next(iter(finished.values())))


def _outcome(job: Job) -> str:
    """Return the code that *job* ended with, or its state."""
    return str(job.now.state) if job.error is None else job.error.code


async def _do(work: Work, tell: Tell) -> Result:
    return await work(tell)


def _place(error: BaseException) -> tuple[str, str]:
    """Return what kind of error it is, and the innermost line that raised it."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return type(error).__name__, place
