"""
From a request to its answer: the queue, whose turn it is, and the one deadline.

A request waits in the queue until the HSM that serves has a worker with room for it. That is the first HSM in order
that holds the key and has a worker; when it has none, the next one serves, and when it has one again, which is
ready only after each key has signed, it serves again. One deadline counts from a request's arrival to its answer. Who
leaves, or is too late, before a worker has begun costs no signature.

What was handed to a worker that then died, hung or talked nonsense may have been signed. Nobody knows, so such a
challenge is refused from then on, whoever brings it.

No task runs for a request: its caller waits for a future, and workers' answers resolve it where they arrive.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from appliance.errors import ApplianceError, HsmBusy, HsmPinRejected, HsmRequestRefused, HsmUnavailable
from appliance.hsm.crews.crew import Crew
from appliance.hsm.crews.deadlines import Alarm, sweep_line
from appliance.hsm.crews.line import Job, Line
from appliance.hsm.crews.recruit import error_of
from appliance.hsm.crews.unanswered import Unanswered
from appliance.hsm.crews.waiting import WaitingRoom
from appliance.hsm.messages import (
    Answer,
    Canary,
    CanaryResult,
    NotBegun,
    Refusal,
    Signature,
    SignChallenge,
    SignCheckpoint,
    SignScenario,
    SignToken,
    Status,
    StatusReport,
    Terms,
    Verb,
)
from appliance.hsm.observer import Observer

_EXPECTED: dict[type[Verb], type[Answer]] = {
    SignChallenge: Signature,
    SignToken: Signature,
    SignScenario: Signature,
    SignCheckpoint: Signature,
    Canary: CanaryResult,
    Status: StatusReport,
}

T = TypeVar("T")


class Dispatch:
    """
    Hands requests to *crews*, and answers back (`house.House`).

    A request may take *seconds* in all; *queue_limit* may wait. *clock* is monotonic.
    """

    def __init__(
        self, seconds: float, queue_limit: int, observer: Observer, clock: Callable[[], float]
    ) -> None:
        self.crews: tuple[Crew, ...] = ()
        """In order of preference."""
        self.leaving: tuple[Crew, ...] = ()
        """Crews that finish what they have, and serve keys, or terms, that nobody else has."""
        self.unanswered = Unanswered()
        self._seconds = seconds
        self._observer = observer
        self._clock = clock
        self._waiting = WaitingRoom(queue_limit)
        self._alarm = Alarm(self._sweep, clock)
        self._closed = False

    @property
    def all(self) -> tuple[Crew, ...]:
        """All crews, those that leave last."""
        return self.crews + self.leaving if self.leaving else self.crews

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Let nobody in any more, and send away who waits."""
        self._closed = True
        self._alarm.stop()
        for job in self._waiting:
            self._fail(job, HsmUnavailable("the pool is closed"))

    def succeed(self, crews: tuple[Crew, ...]) -> tuple[Crew, ...]:
        """Let *crews* take over; return those that leave, also those that have stayed when this failed before."""
        self.leaving += self.crews
        self.crews = crews
        self._pump()
        return self.leaving

    def left(self, crews: tuple[Crew, ...]) -> None:
        """Forget *crews*: they have left."""
        self.leaving = tuple(crew for crew in self.leaving if crew not in crews)
        self._refuse_hopeless()

    # --- a request's way ------------------------------------------------------------------------------------

    async def ask(self, verb: Verb, key: str | None, expected: type[T], terms: Terms | None = None) -> T:
        """Have *verb* answered by a worker that holds *key*, and admits by *terms* if there is one."""
        crew = self.serving(key, terms)
        if crew is None or self._closed:
            self._refuse_unserved(key, terms)
        elif not self._waiting and (line := crew.free_line()) is not None:
            job = self._job(verb, key, terms)
            self._give(line, job)
            return await self._outcome(job, expected)
        if self._waiting.is_full:
            raise HsmBusy(f"{len(self._waiting)} requests wait already")
        job = self._job(verb, key, terms)
        self._waiting.enter(job)
        self._alarm.set(job.deadline)
        return await self._outcome(job, expected)

    async def ask_crew(self, crew: Crew, verb: Verb, expected: type[T]) -> T:
        """Have *verb* answered by a worker of *crew*, whoever waits."""
        line = crew.free_line() or (crew.lines[0] if crew.lines else None)
        if line is None or self._closed:
            raise self._refusal((crew,))
        job = self._job(verb, None)
        self._give(line, job)
        return await self._outcome(job, expected)

    def _refuse_unserved(self, key: str | None, terms: Terms | None) -> None:
        """Raise why nobody will sign with *key*, unless it is worth while to wait."""
        holders = self._holders(key, terms)
        if not holders:
            raise HsmRequestRefused("no HSM holds that key")
        if self._closed or all(crew.refusing for crew in holders):
            for crew in holders:
                crew.demand()
            raise self._refusal(holders)

    def _job(self, verb: Verb, key: str | None, terms: Terms | None = None) -> Job:
        now = self._clock()
        return Job(verb, key, asyncio.get_running_loop().create_future(), now, now + self._seconds, terms)

    async def _outcome(self, job: Job, expected: type[T]) -> T:
        try:
            answer = await job.future
        except asyncio.CancelledError:
            if job.line is None:
                self._waiting.leave(job)
            else:
                job.line.withdraw(job)
            raise
        if not isinstance(answer, expected):
            raise TypeError("checked in _answer")
        return answer

    def _pump(self) -> None:
        """Hand over what waits, as far as workers have room."""
        while (job := self._waiting.first) is not None and self._hand_over(job):
            pass
        if len(self._waiting) > 1 and len(self.all) > 1:
            # Another key may be with another HSM, which has room.
            for job in self._waiting:
                self._hand_over(job)

    def _hand_over(self, job: Job) -> bool:
        crew = self.serving(job.key, job.terms)
        line = None if crew is None else crew.free_line()
        if line is None:
            return False
        self._waiting.leave(job)
        if isinstance(job.verb, SignChallenge) and job.verb.challenge in self.unanswered:
            # It was brought twice, and the other one went first.
            self._fail(job, HsmRequestRefused("this challenge was given to the HSM before"))
            return True
        self._give(line, job)
        return True

    def _give(self, line: Line, job: Job) -> None:
        if isinstance(job.verb, SignChallenge):
            self.unanswered.given(job.verb.challenge)
        line.give(job)
        self._alarm.set(job.deadline)

    def serving(self, key: str | None, terms: Terms | None = None) -> Crew | None:
        """Return the first crew in order that holds *key*, has a worker, and admits by *terms* if any crew does."""
        for crew in self.all:
            if crew.lines and crew.holds(key) and (terms is None or crew.terms == terms):
                return crew
        if terms is None:
            return None
        return next((crew for crew in self._holders(key, terms) if crew.lines), None)

    def _holders(self, key: str | None, terms: Terms | None) -> list[Crew]:
        """Return the crews that hold *key*; those that admit by *terms* alone where there are such."""
        holders = [crew for crew in self.all if crew.holds(key)]
        if terms is None:
            return holders
        return [crew for crew in holders if crew.terms == terms] or holders

    # --- what crews tell (`crew.House`) ---------------------------------------------------------------------

    def answered(self, crew: Crew, line: Line, job: Job, answer: Answer) -> None:
        """Deliver the *answer* to *job*."""
        if isinstance(answer, NotBegun):
            self._come_back(job)
        elif isinstance(answer, Refusal):
            self._refused(job, answer)
        elif type(answer) is not _EXPECTED[type(job.verb)]:
            self._fail(job, HsmUnavailable("a worker gave an answer to another question"))
            crew.discard(line, f"a worker answered {type(answer).__name__} to {type(job.verb).__name__}")
        else:
            if isinstance(answer, Signature) and job.key is not None:
                now = self._clock()
                label = crew.pinned[job.key].label
                self._observer.signed(crew.hsm.alias, label, job.started - job.arrived, now - job.started)
            if not job.future.done():
                job.future.set_result(answer)
        self._pump()

    def lost(self, crew: Crew, jobs: tuple[Job, ...], error: HsmUnavailable) -> None:
        """Tell the callers of *jobs* that nobody knows."""
        for job in jobs:
            self._fail(job, HsmUnavailable(f"{crew.hsm.alias}: {error.detail}; the outcome is unknown"))

    def changed(self) -> None:
        """Look again who can be served."""
        if not self._closed:
            self._pump()
            self._refuse_hopeless()
            self._sweep()

    def _refused(self, job: Job, refusal: Refusal) -> None:
        if refusal.unsigned:
            self._forget(job)
            # The worker is gone, this HSM may be too, and surely nothing was signed: another one may do it.
            if not refusal.usable and not job.again and self.serving(job.key, job.terms) is not None:
                job.again = True
                self._come_back(job)
                return
        self._fail(job, error_of(refusal))

    def _come_back(self, job: Job) -> None:
        """Have *job* wait again: it was not begun."""
        self._forget(job)
        if job.future.done():
            return
        if self._closed:
            self._fail(job, HsmUnavailable("the pool is closed"))
            return
        self._waiting.enter_again(job)
        self._alarm.set(job.deadline)
        self._refuse_hopeless()

    def _forget(self, job: Job) -> None:
        if isinstance(job.verb, SignChallenge):
            self.unanswered.forget(job.verb.challenge)

    # --- deadlines ------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """End what is too late, and come back when the next thing will be."""
        self._alarm.stop()
        if self._closed:
            return
        now = self._clock()
        for job in self._waiting:
            if job.deadline <= now:
                self._fail(job, self._too_late(job))
        pending = [job.deadline for job in self._waiting]
        for crew in self.all:
            for line in tuple(crew.lines):
                pending += sweep_line(crew, line, now, self._seconds, self._fail)
        if pending:
            self._alarm.set(min(pending))

    def _too_late(self, job: Job) -> ApplianceError:
        if self.serving(job.key, job.terms) is not None:
            return HsmBusy(f"no worker became free in {self._seconds:g} s")
        return self._refusal(self._holders(job.key, job.terms))

    def _refuse_hopeless(self) -> None:
        """Let nobody wait for HSMs that are down."""
        for job in self._waiting:
            holders = self._holders(job.key, job.terms)
            if all(crew.refusing for crew in holders):
                for crew in holders:
                    crew.demand()
                self._fail(job, self._refusal(holders))

    def _refusal(self, crews: Sequence[Crew]) -> ApplianceError:
        """Return what a caller hears when *crews* have no worker."""
        if self._closed:
            return HsmUnavailable("the pool is closed")
        if not crews:
            return HsmRequestRefused("no HSM holds that key any more")
        cause = crews[0].cause
        if len(crews) == 1 and isinstance(cause, HsmPinRejected):
            return HsmPinRejected(cause.detail)
        return HsmUnavailable(
            "; ".join(f"{crew.hsm.alias}: {crew.cause or 'no worker is ready'}" for crew in crews)
        )

    def _fail(self, job: Job, error: ApplianceError) -> None:
        self._waiting.leave(job)
        if not job.future.done():
            job.future.set_exception(error)
            job.future.exception()  # seen: nobody may be waiting for a canary's
