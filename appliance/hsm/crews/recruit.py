"""
Bringing one worker up: start it, let it load, let it log in when it is its turn, see that it is ready.

Loading and finding the keys have a limit, and a worker that exceeds it is killed. The login has none: a worker that
is logging in is never killed and never given up (`messages` says why). If it takes longer than a start may, that is
reported, and callers are refused meanwhile; when the HSM comes back, the login goes on, and the worker is there.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from appliance.errors import (
    BY_CODE,
    ApplianceError,
    ConfigurationError,
    HsmError,
    HsmPinRejected,
    HsmTimeout,
    HsmUnavailable,
    InstitutionError,
)
from appliance.hsm.crews.child import Child
from appliance.hsm.crews.errands import Processes
from appliance.hsm.crews.logins import LoginGate
from appliance.hsm.ladder import ErrorClass
from appliance.hsm.messages import Answer, Loaded, LoggedIn, LogIn, Ready, Refusal, Request
from appliance.hsm.place import Hsm

_WORKER = (sys.executable, "-I", "-m", "appliance.hsm.worker")
"""Isolated: neither the current folder nor PYTHON* variables say what is imported."""
_BASE_ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}

_LOG = logging.getLogger(__name__)


class StartFailed(Exception):
    """A worker did not come up: *error*, and what the module said where it was the module."""

    def __init__(self, error: ApplianceError, ckr: str, error_class: ErrorClass) -> None:
        super().__init__(str(error))
        self.error = error
        self.ckr = ckr
        self.error_class = error_class


async def started(hsm: Hsm, gate: LoginGate, processes: Processes, at_work: frozenset[Child]) -> Child:
    """
    Start the process of a worker for *hsm*, one of *processes*, or raise StartFailed.

    None is started where no login would be let through, or while one that is not *at_work* is still logging in.
    """
    try:
        gate.check()
    except HsmPinRejected as error:
        raise StartFailed(error, "", ErrorClass.AUTH) from error
    if any(child.logging_in for child in processes.all - at_work):
        stuck = HsmUnavailable("a worker that is given up is still logging in")
        raise StartFailed(stuck, "", ErrorClass.TRANSIENT)
    try:
        child = await Child.start(_WORKER, {**_BASE_ENVIRONMENT, **hsm.environment})
    except HsmUnavailable as error:
        raise StartFailed(error, "", ErrorClass.PERMANENT) from error
    except OSError as error:
        # No descriptors or memory are left for another process. That passes, or a person sees to it.
        raise StartFailed(HsmUnavailable(str(error)), "", ErrorClass.TRANSIENT) from error
    processes.add(child)
    return child


async def bring_up(
    hsm: Hsm, child: Child, gate: LoginGate, seconds: float, told_slow: Callable[[HsmTimeout], None]
) -> Ready:
    """
    Have *child* come up through *gate*; return what it said when it was ready, or raise StartFailed.

    Loading and finding the keys may each take so many *seconds*. A login that takes longer is *told_slow*.
    """
    try:
        await _expect(child.ask(Request(0, hsm.setup)), Loaded, seconds)
        async with gate.turn():
            await _log_in(hsm, child, gate, seconds, told_slow)
        answer = await _expect(child.hear(), Ready, seconds)
    except TimeoutError as error:
        child.kill()
        late = HsmTimeout(f"a worker was not ready in {seconds:g} s")
        raise StartFailed(late, "", ErrorClass.TRANSIENT) from error
    except HsmPinRejected as error:
        raise StartFailed(error, "", ErrorClass.AUTH) from error
    except HsmError as error:
        raise StartFailed(error, "", ErrorClass.TRANSIENT) from error
    if not isinstance(answer, Ready):
        raise TypeError("checked by _expect")
    if child.unheard or len(answer.seconds) != len(hsm.setup.pinned):
        # A key that has not signed, or an answer to nothing: no better than any other nonsense.
        nonsense = HsmUnavailable("a worker's last word while it was started was out of order")
        raise StartFailed(nonsense, "", ErrorClass.PERMANENT)
    return answer


async def _log_in(
    hsm: Hsm, child: Child, gate: LoginGate, seconds: float, told_slow: Callable[[HsmTimeout], None]
) -> None:
    def report() -> None:
        _LOG.error("hsm worker is still logging in hsm=%s pid=%d", hsm.alias, child.pid)
        told_slow(HsmTimeout(f"a worker has been logging in for {seconds:g} s"))

    if not child.alive:
        raise HsmUnavailable("the worker has ended before its turn to log in")
    slow = asyncio.get_running_loop().call_later(seconds, report)
    try:
        child.logging_in = True
        child.tell(Request(0, LogIn()))
        # Whatever it says next, success or not, the login is over.
        answer = await child.hear()
        child.logging_in = False
        _check(answer, LoggedIn)
    except StartFailed as failed:
        if isinstance(failed.error, HsmPinRejected):
            gate.rejected(hsm, failed.error)
        raise
    finally:
        slow.cancel()


async def _expect(hearing: Coroutine[Any, Any, Answer], expected: type[Answer], seconds: float) -> Answer:
    async with asyncio.timeout(seconds):
        answer = await hearing
    _check(answer, expected)
    return answer


def _check(answer: Answer, expected: type[Answer]) -> None:
    if isinstance(answer, Refusal):
        raise StartFailed(error_of(answer), answer.ckr, answer.error_class)
    if not isinstance(answer, expected):
        nonsense = HsmUnavailable(f"a worker answered {type(answer).__name__} while it was started")
        raise StartFailed(nonsense, "", ErrorClass.PERMANENT)


def error_of(refusal: Refusal) -> ApplianceError:
    """Return the error a worker refuses with. It can only be one of those that are about the HSM."""
    kind = BY_CODE.get(refusal.code)
    if kind is None or not issubclass(kind, HsmError | InstitutionError | ConfigurationError):
        return HsmUnavailable(f"a worker refused with an unknown code: {refusal.detail}")
    return kind(refusal.detail)
