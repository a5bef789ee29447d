"""A pool whose workers go: killed, hung, in a login, at the end. On the daemon's event loop, and on that of the commands."""

import asyncio
import os
import signal
import time

import pytest
from msgspec.structs import replace as struct_replace

from appliance.errors import (
    HsmTimeout,
    HsmUnavailable,
)
from appliance.hsm.health import WorkerState
from appliance.hsm.ladder import Rung
from appliance.hsm.pool import Pool
from appliance.hsm.vendor import SOFTHSM
from tests.hsm.calls import pids, sign, until
from tests.hsm.conftest import Misbehaving, Token
from tests.hsm.processes import running
from tests.hsm.witness import Witness
from tests.shim.rules import Action, Function

pytestmark = pytest.mark.usefixtures("no_process_left")


async def test_hung_worker_is_ended(token: Token) -> None:
    """A signature that does not come fails at its deadline, the worker is gone, and the next call has a new one."""
    witness = Witness()
    async with Pool([token.hsm()], state=token.state, sign_seconds=4.0, observer=witness) as pool:
        hung = (await pool.status()).pid
        os.kill(hung, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(HsmTimeout):
            await sign(pool, token)
        assert 3.9 < time.monotonic() - began < 20
        await sign(pool, token)
        assert not running(hung)
    assert witness.rungs == [(Rung.RESTART, True)]


async def test_killed_worker_is_replaced(token: Token, pool: Pool) -> None:
    """A worker that dies with a request fails that call; the next one has a new worker."""
    killed = (await pool.status()).pid
    os.kill(killed, signal.SIGSTOP)
    call = asyncio.create_task(sign(pool, token))
    await until(lambda: bool(pool._dispatch.unanswered))
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(HsmUnavailable, match="unknown"):
        await call
    await sign(pool, token)
    assert (await pool.status()).pid != killed


async def test_worker_that_died_idle_costs_no_call(token: Token, pool: Pool) -> None:
    """A worker found dead before it was given anything is replaced, and the call succeeds."""
    os.kill((await pool.status()).pid, signal.SIGKILL)
    await until(lambda: not pids(pool))
    await sign(pool, token)


async def test_worker_that_dies_before_its_turn_to_log_in(token: Token) -> None:
    """A worker that is gone when the word for its login is due is a failed try, and another one is started."""
    pool = Pool([token.hsm()], state=token.state)
    (crew,) = pool._dispatch.crews
    async with crew._gate.turn():  # somebody else's
        starting = asyncio.create_task(pool.start())
        await until(lambda: bool(crew._gate._lock._waiters))
        assert crew._starting is not None
        _, child = crew._starting
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: child.ended and child._lost is not None)
    with pytest.raises(HsmUnavailable):
        await starting
    await until(lambda: pool.health().up)
    await pool.close()


async def test_bug_in_a_start_is_a_failed_try(token: Token, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong while a worker is started, whoever waits hears of it, and there is another try."""
    long = token.hsm(vendor=struct_replace(SOFTHSM, notes=("n" * 2000,) * 40))  # does not fit into a frame
    pool = Pool([long], state=token.state)
    for _ in range(2):
        with pytest.raises(HsmUnavailable, match="ValueError"):
            await pool.start()
    await pool.close()
    assert "hsm worker cannot be started hsm=hsm-1" in caplog.text


async def test_bug_of_who_is_told_is_no_end(token: Token) -> None:
    """An observer that fails once costs one try, and leaves no process that is logged in."""

    class Failing(Witness):
        told = False

        def worker_changed(self, hsm: str, worker: int, state: WorkerState) -> None:  # noqa: ARG002
            if state is WorkerState.READY and not self.told:
                self.told = True
                raise LookupError(hsm)

    pool = Pool([token.hsm()], state=token.state, observer=Failing())
    with pytest.raises(HsmUnavailable):
        await pool.start()
    (crew,) = pool._dispatch.crews
    left = crew.children
    await until(lambda: pool.health().up)
    await sign(pool, token)
    await pool.close()
    assert not left


async def test_close_leaves_a_login_alone(misbehaving: Misbehaving, caplog: pytest.LogCaptureFixture) -> None:
    """Closing waits for a worker that is logging in, and leaves it behind rather than kill it."""
    misbehaving.rules.set(Function.LOGIN, Action.HANG)
    pool = Pool([misbehaving.hsm], state=misbehaving.state, start_seconds=3.0)
    with pytest.raises(HsmTimeout):
        await pool.start()
    (child,) = pool._dispatch.crews[0].children
    await pool.close()
    assert running(child.pid)
    assert "left behind while logging in" in caplog.text
    misbehaving.rules.lift(Function.LOGIN)
    await pool.close()
    assert child.status == 0


async def test_close_ends_hung_workers(token: Token) -> None:
    """Closing ends a worker that does not answer, and its callers hear of it."""
    pool = Pool([token.hsm()], state=token.state, sign_seconds=30)
    await pool.start()
    hung = (await pool.status()).pid
    os.kill(hung, signal.SIGSTOP)
    calls = [asyncio.create_task(sign(pool, token)) for _ in range(3)]
    await until(lambda: pool.health().queued == 1)
    await pool.close()
    for call in calls:
        with pytest.raises(HsmUnavailable):
            await call
    assert not running(hung)
