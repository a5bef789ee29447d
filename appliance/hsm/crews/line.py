"""
A worker that is ready, and the requests in its hands.

It has two at most: one that it works on, and the next one in its socket, so that it never waits for the daemon. What
was handed over may have been read. If the worker dies, the outcome is unknown for both.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from appliance.errors import HsmUnavailable
from appliance.hsm.crews.child import Child
from appliance.hsm.health import WorkerState
from appliance.hsm.messages import (
    Answer,
    Climbed,
    Climbing,
    LoggedIn,
    LogIn,
    LoginNeeded,
    NotBegun,
    Progress,
    Reply,
    Request,
    Terms,
    Verb,
    Withdraw,
)

DEPTH: Final = 2


class Job:
    """
    A request on its way, and the *future* its caller waits for.

    *key* is the fingerprint of the key it needs; None where any worker will do. *terms* are those it is to be admitted by,
    where there are workers with others; None where it does not matter.
    """

    __slots__ = (
        "again",
        "arrived",
        "deadline",
        "future",
        "key",
        "line",
        "number",
        "seen_failing",
        "started",
        "terms",
        "verb",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - made in two places
        self,
        verb: Verb,
        key: str | None,
        future: "asyncio.Future[Answer]",
        arrived: float,
        deadline: float,
        terms: Terms | None = None,
    ) -> None:
        self.verb = verb
        self.key = key
        self.terms = terms
        self.future = future
        self.arrived = arrived
        self.deadline = deadline
        self.started = arrived
        self.number = 0
        self.line: Line | None = None
        """Where it was handed over to; None while it waits."""
        self.again = False
        """Whether it came back from a worker once."""
        self.seen_failing = False
        """Whether its failure has been counted."""


class Crewman(Protocol):
    """Who is told what happens at a line."""

    def answered(self, line: "Line", job: Job, answer: Answer) -> None:
        """*job* has its last *answer*."""

    def progressed(self, line: "Line", job: Job, progress: Progress) -> None:
        """The worker climbs the ladder for *job*."""

    def lost(self, line: "Line", jobs: tuple[Job, ...], error: HsmUnavailable) -> None:
        """The worker is gone; nobody knows what became of *jobs*."""


class Line:
    """Worker number *worker* of an HSM, ready. *clock* is monotonic."""

    __slots__ = (
        "_clock",
        "_crew",
        "_jobs",
        "_sequence",
        "child",
        "climbing",
        "login_failed",
        "login_over",
        "since",
        "worker",
    )

    def __init__(self, worker: int, child: Child, crew: Crewman, clock: Callable[[], float]) -> None:
        self.worker = worker
        self.child = child
        self._crew = crew
        self._clock = clock
        self._jobs: deque[Job] = deque()
        self._sequence = 0
        self.since = 0.0
        """When the worker last showed that it works on its first job."""
        self.climbing = False
        self.login_over: asyncio.Future[None] | None = None
        self.login_failed = False
        """Whether the worker has not got through the last login for the job in its hands."""

    def open(self) -> None:
        """Begin to listen."""
        self.child.listen(self._heard, self._lost)

    @property
    def state(self) -> WorkerState:
        """What the worker is doing."""
        if self.climbing:
            return WorkerState.LOGGING_IN if self.child.logging_in else WorkerState.RECOVERING
        return WorkerState.BUSY if self._jobs else WorkerState.READY

    @property
    def load(self) -> int:
        """How many jobs are in its hands."""
        return len(self._jobs)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """What is in its hands, in order."""
        return tuple(self._jobs)

    def give(self, job: Job) -> None:
        """Hand *job* over."""
        self._sequence += 1
        job.number = self._sequence
        job.line = self
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self.since = job.started = self._clock()
        self.child.tell(Request(job.number, job.verb, job.deadline))

    def withdraw(self, job: Job) -> None:
        """Have the worker leave *job* out, if it has not begun it."""
        if self._jobs and self._jobs[0] is not job:
            self.child.tell(Request(job.number, Withdraw(job.number)))

    def log_in(self) -> "asyncio.Future[None]":
        """Give the word for the login the worker asked for; return what is done when it is over."""
        self.login_over = asyncio.get_running_loop().create_future()
        self.login_failed = False
        self.child.logging_in = True
        self.child.tell(Request(self._jobs[0].number, LogIn()))
        return self.login_over

    def _heard(self, reply: Reply) -> None:
        job = self._job_of(reply)
        answer = reply.answer
        if first := job is self._jobs[0]:
            self.since = self._clock()
            if self.child.logging_in:
                # Whatever the worker says of the job in its hands, success or not, its login is over.
                self.child.logging_in = False
                self.login_failed = not isinstance(answer, LoggedIn)
            if isinstance(answer, Climbing | LoginNeeded | LoggedIn | Climbed):
                if not self.login_failed:
                    self._end_login()
                self.climbing = not isinstance(answer, Climbed)
                self._crew.progressed(self, job, answer)
                return
            # Why a login has failed is in the last answer: the next one's turn comes after it.
            self._end_login()
            self.climbing = False
        self._jobs.remove(job)
        job.line = None
        if self._jobs:
            self._jobs[0].started = self.since
        self._crew.answered(self, job, answer)
        if first:
            self.login_failed = False

    def _job_of(self, reply: Reply) -> Job:
        """Return the job that *reply* belongs to, or raise HsmUnavailable: the worker talks nonsense."""
        for job in self._jobs:
            if job.number == reply.number:
                return job
            if not isinstance(reply.answer, NotBegun):
                break
        raise HsmUnavailable("the worker answered another request")

    def _lost(self, error: HsmUnavailable) -> None:
        # A worker that is alive and logging in is still left alone: only the waiting for it ends.
        logging_in = self.child.logging_in and not self.child.ended
        self._end_login()
        self.child.logging_in = logging_in
        jobs = tuple(self._jobs)
        self._jobs.clear()
        for job in jobs:
            job.line = None
        self._crew.lost(self, jobs, error)

    def _end_login(self) -> None:
        self.child.logging_in = False
        if self.login_over is not None and not self.login_over.done():
            self.login_over.set_result(None)
