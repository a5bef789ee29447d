"""
The daemon's side of the HSM: a fixed number of worker processes, one request at a time for each.

Who may touch a worker: a *place* in the pool is free, or held by exactly one task of the pool. A caller who
waits for such a task and is cancelled leaves it to finish, so request and answer never get out of step. A
caller waits at most *sign_seconds* for a place, and its request takes at most *sign_seconds* from then on.

How a worker ends: it hangs beyond its deadline, dies, or reports that its module failed, and its place is empty
from then on. The next caller to get an empty place has a worker started and waits for it; everybody
who was waiting meanwhile shares a failure instead of trying again, so there is at most one attempt at a time
and no storm of logins. Once the HSM has refused the PIN there is never another.

A worker that is logging in is never killed (`messages` says why). It is hung up on, and ends when its login does;
until then no other is started.
"""

import asyncio
import logging
import sys
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from appliance.errors import (
    BY_CODE,
    ApplianceError,
    ConfigurationError,
    HsmError,
    HsmPinRejected,
    HsmRequestRefused,
    HsmTimeout,
    HsmUnavailable,
    InstitutionError,
)
from appliance.hsm.child import Child
from appliance.hsm.messages import (
    Answer,
    Canary,
    CanaryResult,
    Loaded,
    LoggedIn,
    LogIn,
    Ready,
    Refusal,
    Request,
    Role,
    Signature,
    SignChallenge,
    SignToken,
    Status,
    StatusReport,
    TokenSetup,
    Verb,
)

_WORKER = (sys.executable, "-I", "-m", "appliance.hsm.worker")
"""Isolated: neither the current folder nor PYTHON* variables say what is imported."""
_BASE_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_FAREWELL_SECONDS = 2.0
"""How long a process may take to end by itself, and to be gone once it is killed."""
_UNANSWERED_CHALLENGES = 4096

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


class Place:
    """Where a worker is, or is missing, in the pool."""

    __slots__ = ("child", "failure", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.child: Child | None = None
        self.failure: tuple[float, ApplianceError] | None = None
        """When the last attempt to start a worker here failed, and why."""

    def __lt__(self, other: "Place") -> bool:
        """Places with a worker come first out of the queue."""
        return (self.child is None, self.number) < (other.child is None, other.number)


class Pool:
    """
    Workers on one token. Use as an asynchronous context manager, or `start` and `close`.

    *environment* is what the PKCS#11 module needs, beside PATH and LANG; nothing else is passed on.
    """

    def __init__(
        self,
        setup: TokenSetup,
        *,
        environment: Mapping[str, str],
        workers: int = 1,
        start_seconds: float = 20.0,
        sign_seconds: float = 5.0,
    ) -> None:
        if workers < 1:
            raise ValueError("a pool has at least one worker")
        self._setup = setup
        self._environment = {**_BASE_ENVIRONMENT, **environment}
        self._start_seconds = start_seconds
        self._sign_seconds = sign_seconds
        self._free: asyncio.PriorityQueue[Place] = asyncio.PriorityQueue()
        for number in range(workers):
            self._free.put_nowait(Place(number))
        self._starting = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._children: set[Child] = set()
        self._unanswered: dict[bytes, None] = {}
        self._pin_rejected: HsmPinRejected | None = None
        self._number = 0
        self._closed = False

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """
        Start the workers that are missing, one after another, or raise what stopped the first that failed.

        After a failure the pool may be used all the same: whoever calls it next has a worker started.
        """
        places = [self._free.get_nowait() for _ in range(self._free.qsize())]
        try:
            while places:
                place = places.pop()
                if place.child is None or not place.child.alive:
                    await self._shielded(self._fill(place))
                else:
                    self._free.put_nowait(place)
        finally:
            for place in places:
                self._free.put_nowait(place)

    async def close(self) -> None:
        """
        End all workers; whoever waits for one gets HsmUnavailable.

        A worker that is logging in is waited for as long as a start may take, and then left to end when its login
        does; calling this again waits on.
        """
        self._closed = True
        for child in self._children:
            child.hang_up()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for child in tuple(self._children):
            await self._dismiss(child)
            if child.logging_in and not await child.exited(self._start_seconds):
                _LOG.error("hsm worker left behind while logging in pid=%d", child.pid)
        self._forget_ended()

    async def sign_challenge(self, challenge: bytes) -> bytes:
        """
        Return the institution's signature over a card's *challenge*: PKCS#1 v1.5, SHA-256.

        After HsmTimeout or HsmUnavailable from a worker that had the challenge, nobody knows whether it was
        signed: the same challenge is refused from then on with HsmRequestRefused.
        """
        if challenge in self._unanswered:
            raise HsmRequestRefused("this challenge was given to the HSM before, with unknown outcome")
        answer = await self._call(SignChallenge(challenge), Signature)
        return answer.signature

    async def sign_token(self, signing_input: bytes) -> bytes:
        """Return the token key's signature over *signing_input*: ECDSA P-256, SHA-256, as DER."""
        answer = await self._call(SignToken(signing_input), Signature)
        return answer.signature

    async def canary(self, role: Role) -> float:
        """Have the key of *role* sign a message of the worker's; return the seconds it took, or raise."""
        answer = await self._call(Canary(role), CanaryResult)
        return answer.seconds

    async def status(self) -> StatusReport:
        """Return what a worker speaks with."""
        return await self._call(Status(), StatusReport)

    async def _call(self, verb: Verb, expected: type[T]) -> T:
        place = await self._take()
        answer = await self._shielded(self._exchange(place, verb))
        if not isinstance(answer, expected):
            raise HsmUnavailable(f"the worker answered {type(answer).__name__} to {type(verb).__name__}")
        if isinstance(verb, SignChallenge):
            # Only here has the caller got it; a cancelled one never comes this far.
            self._unanswered.pop(verb.challenge, None)
        return answer

    async def _take(self) -> Place:
        """Return a place with a worker, for the caller alone, or raise HsmUnavailable and what stopped a start."""
        arrived = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._sign_seconds):
                while True:
                    place = await self._free.get()
                    if self._closed:
                        self._free.put_nowait(place)
                        raise HsmUnavailable("the pool is closed")
                    if place.child is not None and place.child.alive:
                        return place
                    if place.failure is not None and place.failure[0] >= arrived:
                        self._free.put_nowait(place)
                        raise HsmUnavailable(f"no worker could be started: {place.failure[1]}")
                    await self._shielded(self._fill(place))
        except TimeoutError as error:
            raise HsmUnavailable("no worker became free in time") from error

    async def _exchange(self, place: Place, verb: Verb) -> Answer:
        """Have the worker at *place* answer *verb*, then free the place."""
        child = place.child
        if child is None:
            raise ValueError("an exchange needs a worker")
        self._number += 1
        if isinstance(verb, SignChallenge):
            while len(self._unanswered) >= _UNANSWERED_CHALLENGES:
                del self._unanswered[next(iter(self._unanswered))]
            self._unanswered[verb.challenge] = None
        try:
            async with asyncio.timeout(self._sign_seconds):
                answer = await child.ask(Request(self._number, verb))
            if isinstance(answer, Refusal):
                raise _error(answer)
        except TimeoutError as error:
            place.child = None
            child.kill()
            await self._dismiss(child)
            raise HsmTimeout(f"no answer to {type(verb).__name__} in {self._sign_seconds} s") from error
        except HsmRequestRefused:
            if isinstance(verb, SignChallenge):
                self._unanswered.pop(verb.challenge, None)
            raise
        except ApplianceError:
            place.child = None
            await self._dismiss(child)
            raise
        else:
            return answer
        finally:
            self._free.put_nowait(place)

    async def _fill(self, place: Place) -> None:
        """Start a worker at *place*, then free the place; raise what stopped it."""
        try:
            async with self._starting:
                place.child = None
                place.child = await self._started()
        except ApplianceError as error:
            place.failure = (asyncio.get_running_loop().time(), error)
            if isinstance(error, HsmPinRejected):
                self._pin_rejected = error
            raise
        finally:
            self._free.put_nowait(place)

    async def _started(self) -> Child:
        """Return a worker that is ready, or raise what stopped it."""
        self._forget_ended()
        if self._closed:
            raise HsmUnavailable("the pool is closed")
        if self._pin_rejected is not None:
            raise HsmPinRejected(f"no other login is tried: {self._pin_rejected.detail}")
        if any(child.logging_in for child in self._children):
            raise HsmUnavailable("a worker that is given up is still logging in")
        child = await Child.start(_WORKER, self._environment)
        self._children.add(child)
        try:
            if self._closed:
                raise HsmUnavailable("the pool is closed")
            async with asyncio.timeout(self._start_seconds):
                await self._bring_up(child)
        except TimeoutError as error:
            if child.logging_in:
                _LOG.error("hsm worker given up while logging in pid=%d", child.pid)
            child.kill()
            await self._dismiss(child)
            raise HsmTimeout(f"a worker was not ready in {self._start_seconds} s") from error
        except ApplianceError:
            await self._dismiss(child)
            raise
        return child

    async def _bring_up(self, child: Child) -> None:
        await _expect(child.ask(Request(0, self._setup)), Loaded)
        child.logging_in = True
        child.tell(Request(0, LogIn()))
        # Whatever it says next, success or not, the login is over.
        answer = await child.hear()
        child.logging_in = False
        if isinstance(answer, Refusal):
            raise _error(answer)
        if not isinstance(answer, LoggedIn):
            raise HsmUnavailable(f"a worker answered {type(answer).__name__} to its login")
        await _expect(child.hear(), Ready)

    async def _dismiss(self, child: Child) -> None:
        """Hang up on *child*, which makes it end, and kill it if it does not, unless it is logging in."""
        child.hang_up()
        if not child.logging_in and not await child.exited(_FAREWELL_SECONDS):
            child.kill()
            if not await child.exited(_FAREWELL_SECONDS):
                _LOG.error("hsm worker does not end pid=%d", child.pid)
        self._forget_ended()

    def _forget_ended(self) -> None:
        for child in tuple(self._children):
            if child.ended:
                child.hang_up()
                self._children.discard(child)

    async def _shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* to its end, whatever happens to the caller who waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: its caller may be gone


async def _expect(hearing: Coroutine[Any, Any, Answer], expected: type[Answer]) -> None:
    answer = await hearing
    if isinstance(answer, Refusal):
        raise _error(answer)
    if not isinstance(answer, expected):
        raise HsmUnavailable(f"a worker answered {type(answer).__name__} while it was started")


def _error(refusal: Refusal) -> ApplianceError:
    """Return the error a worker refuses with. It can only be one of those that are about the HSM."""
    kind = BY_CODE.get(refusal.code)
    if kind is None or not issubclass(kind, HsmError | InstitutionError | ConfigurationError):
        return HsmUnavailable(f"a worker refused with an unknown code: {refusal.detail}")
    return kind(refusal.detail)
