"""A pool whose workers go: killed, hung, in a login, at the end. On the daemon's event loop, and on that of the commands."""

import asyncio
import logging
import os
import signal
import time
from dataclasses import replace

import pytest
from msgspec.structs import replace as struct_replace

from appliance.errors import (
    HsmError,
    HsmPinRejected,
    HsmRequestRefused,
    HsmTimeout,
    HsmUnavailable,
)
from appliance.hsm.health import HsmState, WorkerState
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.messages import KeyLabel, fingerprint
from appliance.hsm.pool import Pool
from appliance.hsm.vendor import SOFTHSM
from tests.hsm.calls import pids, random_challenge, sign, until
from tests.hsm.conftest import Misbehaving, Token
from tests.hsm.processes import running
from tests.hsm.witness import Witness
from tests.shim.rules import NUMBERS, Action, Function

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


async def test_challenge_of_unknown_outcome_is_not_repeated(token: Token) -> None:
    """After a timeout nobody knows whether a challenge was signed; it is never given to the HSM again."""
    challenge = random_challenge()
    async with Pool([token.hsm()], state=token.state, sign_seconds=2.0) as pool:
        os.kill((await pool.status()).pid, signal.SIGSTOP)
        with pytest.raises(HsmTimeout):
            await pool.sign_challenge(challenge, token.key)
        with pytest.raises(HsmRequestRefused, match="unknown outcome"):
            await pool.sign_challenge(challenge, token.key)
        await until(lambda: pool.health().up)
        assert (await pool.status()).signatures == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_pin_rejected_in_a_recovery_is_final(misbehaving: Misbehaving, workers: int) -> None:
    """A PIN that is refused when workers log in again is tried once, by one of them; then the marker stops everybody."""
    rules, witness = misbehaving.rules, Witness()
    hsm = replace(misbehaving.hsm, workers=workers)
    key = fingerprint(misbehaving.setup.institution_keys[0])
    async with Pool([hsm], state=misbehaving.state, sign_seconds=30.0, observer=witness) as pool:
        before = rules.calls(Function.LOGIN)
        rules.set(Function.LOGIN, Action.RETURN, NUMBERS["CKR_PIN_INCORRECT"])
        rules.set(Function.SIGN, Action.RETURN, NUMBERS["CKR_DEVICE_ERROR"])
        calls = [pool.sign_challenge(random_challenge(), key) for _ in range(workers)]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, HsmError)
        # The keeper has looked again, and has left the token alone.
        await until(lambda: ("hsm_pin_rejected", ErrorClass.AUTH) in witness.failures)
        with pytest.raises(HsmPinRejected):
            await pool.sign_challenge(random_challenge(), key)
        (health,) = pool.health().hsms
    assert rules.calls(Function.LOGIN) == before + 1
    assert (health.state, health.marker is not None) == (HsmState.PIN_REJECTED, True)
    assert ("CKR_PIN_INCORRECT", ErrorClass.AUTH) in witness.failures
    assert witness.pins_low


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


async def test_worker_is_not_killed_in_its_login(
    misbehaving: Misbehaving, caplog: pytest.LogCaptureFixture
) -> None:
    """A login that takes too long is reported and refused to wait for, but goes on, and no other begins."""
    misbehaving.rules.set(Function.LOGIN, Action.HANG)
    witness = Witness()
    pool = Pool([misbehaving.hsm], state=misbehaving.state, start_seconds=3.0, observer=witness)
    key = pool._key_called(KeyLabel.INSTITUTION)
    with caplog.at_level(logging.ERROR), pytest.raises(HsmTimeout):
        await pool.start()
    assert "still logging in" in caplog.text
    (child,) = pool._dispatch.crews[0].children
    with pytest.raises(HsmUnavailable, match="logging in"):
        await pool.sign_challenge(random_challenge(), key)
    health = pool.health().hsms[0]
    assert health.workers[WorkerState.LOGGING_IN] == 1
    assert health.last_failure is not None
    assert (health.last_failure.code, "logging in" in health.last_failure.detail) == ("hsm_timeout", True)
    assert [name for name, _ in witness.failures] == ["hsm_timeout"]
    misbehaving.rules.lift(Function.LOGIN)
    await until(lambda: pool.health().up)
    assert (await pool.status()).pid == child.pid
    await pool.close()
    assert child.status == 0


async def test_hung_login_keeps_no_other_hsm_down(misbehaving: Misbehaving, other_token: Token) -> None:
    """A standby whose PIN is in the same file comes up while the login to the first HSM takes for ever."""
    misbehaving.rules.set(Function.LOGIN, Action.HANG)
    standby = other_token.hsm(alias="hsm-2", pin_file=misbehaving.setup.pin_file)
    pool = Pool([misbehaving.hsm, standby], state=misbehaving.state, start_seconds=3.0)
    await pool.start()
    assert [one.state for one in pool.health().hsms] == [HsmState.DOWN, HsmState.UP]
    await pool.sign_challenge(random_challenge(), other_token.key)
    misbehaving.rules.lift(Function.LOGIN)
    await until(lambda: pool.health().hsms[0].state is HsmState.UP)
    await pool.close()


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


async def test_close_during_a_start(token: Token) -> None:
    """A pool that is closed while it comes up leaves no process."""
    pool = Pool([token.hsm()], state=token.state)
    starting = asyncio.create_task(pool.start())
    await until(lambda: bool(pool._dispatch.crews[0].children))
    await pool.close()
    with pytest.raises(HsmUnavailable):
        await starting


async def test_cancelled_start_is_ended_by_close(token: Token) -> None:
    """Giving up the start of a pool leaves no process behind either."""
    async with asyncio.timeout(30):
        entering = asyncio.create_task(Pool([token.hsm()], state=token.state).__aenter__())
        await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
