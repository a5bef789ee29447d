"""The pool on a real token: what callers get, whatever happens to the workers."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec.structs import replace

from appliance.errors import (
    HsmError,
    HsmPinRejected,
    HsmRequestRefused,
    HsmSigningFailed,
    HsmTimeout,
    HsmUnavailable,
)
from appliance.hsm import softhsm
from appliance.hsm.messages import Role
from appliance.hsm.pool import Pool
from appliance.trust.jwk import thumbprint
from tests.hsm.conftest import CHALLENGE_BYTES, Misbehaving, Token
from tests.hsm.jwt_parts import signing_input
from tests.hsm.processes import openssl_verifies, running

pytestmark = pytest.mark.usefixtures("no_process_left")


def _challenge() -> bytes:
    return os.urandom(CHALLENGE_BYTES)


def _verify(token: Token, signature: bytes, challenge: bytes) -> None:
    token.institution_key.verify(signature, challenge, padding.PKCS1v15(), SHA256())


async def _until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until *condition* holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


async def test_challenge_is_signed(token: Token, pool: Pool, tmp_path: Path) -> None:
    """OpenSSL verifies the institution's signature over a challenge, and over no other."""
    challenge = _challenge()
    signature = await pool.sign_challenge(challenge)
    public_key = token.folder / softhsm.INSTITUTION_KEY
    assert openssl_verifies(tmp_path, public_key, challenge, signature)
    assert not openssl_verifies(tmp_path, public_key, _challenge(), signature)


async def test_token_is_signed(token: Token, pool: Pool, tmp_path: Path) -> None:
    """OpenSSL verifies the signature over a result token, which is DER."""
    text = signing_input(thumbprint(token.token_key))
    signature = await pool.sign_token(text)
    assert openssl_verifies(tmp_path, token.folder / softhsm.TOKEN_KEY, text, signature)


@pytest.mark.parametrize("role", Role)
async def test_canary_tells_how_long_it_took(pool: Pool, role: Role) -> None:
    """A canary signs and verifies with either key and counts as no challenge."""
    assert 0 < await pool.canary(role) < 3


async def test_status_names_the_token(pool: Pool, token: Token) -> None:
    """The report says what the worker speaks with, and nothing secret."""
    report = await pool.status()
    assert (report.token, report.model) == (softhsm.TOKEN_LABEL, "SoftHSM v2")
    assert token.pin not in repr(report)


async def test_refusals_leave_the_worker_in_place(pool: Pool, token: Token) -> None:
    """A wrong length or a token of somebody else is refused, and the same worker goes on."""
    before = await pool.status()
    with pytest.raises(HsmRequestRefused):
        await pool.sign_challenge(b"short")
    with pytest.raises(HsmRequestRefused):
        await pool.sign_token(b"not a token")
    with pytest.raises(HsmRequestRefused):
        await pool.sign_token(signing_input("another key"))
    _verify(token, await pool.sign_challenge(challenge := _challenge()), challenge)
    assert (await pool.status()).pid == before.pid


async def test_rate_is_held_by_the_worker(token: Token) -> None:
    """More challenges in a minute than configured are refused; tokens and canaries are not affected."""
    setup = replace(token.setup, challenges_per_minute=2)
    async with Pool(setup, environment=token.environment) as pool:
        for _ in range(2):
            await pool.sign_challenge(_challenge())
        with pytest.raises(HsmRequestRefused, match="more than 2"):
            await pool.sign_challenge(_challenge())
        await pool.canary(Role.INSTITUTION)


async def test_many_callers_get_their_own_signatures(token: Token) -> None:
    """Callers queue for two workers, and each gets the signature over what it gave."""
    async with Pool(token.setup, environment=token.environment, workers=2) as pool:
        challenges = [_challenge() for _ in range(40)]
        signatures = await asyncio.gather(*map(pool.sign_challenge, challenges))
    for challenge, signature in zip(challenges, signatures, strict=True):
        _verify(token, signature, challenge)


async def test_hung_worker_is_ended(token: Token) -> None:
    """A signature that does not come fails at its deadline, the worker is gone, and the next call has a new one."""
    async with Pool(token.setup, environment=token.environment, sign_seconds=2.0) as pool:
        hung = (await pool.status()).pid
        os.kill(hung, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(HsmTimeout):
            await pool.sign_challenge(_challenge())
        assert 1.9 < time.monotonic() - began < 4
        assert not running(hung)
        challenge = _challenge()
        _verify(token, await pool.sign_challenge(challenge), challenge)


async def test_killed_worker_is_replaced(token: Token, pool: Pool) -> None:
    """A worker that dies with a request fails that call; the next one has a new worker."""
    killed = (await pool.status()).pid
    os.kill(killed, signal.SIGSTOP)
    call = asyncio.create_task(pool.sign_challenge(_challenge()))
    await _until(lambda: bool(pool._unanswered))
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(HsmUnavailable):
        await call
    challenge = _challenge()
    _verify(token, await pool.sign_challenge(challenge), challenge)
    assert (await pool.status()).pid != killed


async def test_worker_that_died_idle_costs_no_call(token: Token, pool: Pool) -> None:
    """A worker found dead before it was given anything is replaced, and the call succeeds."""
    os.kill((await pool.status()).pid, signal.SIGKILL)
    await _until(lambda: all(child.ended for child in pool._children))
    challenge = _challenge()
    _verify(token, await pool.sign_challenge(challenge), challenge)


async def test_challenge_of_unknown_outcome_is_not_repeated(token: Token) -> None:
    """After a timeout nobody knows whether a challenge was signed; it is never given to the HSM again."""
    challenge = _challenge()
    async with Pool(token.setup, environment=token.environment, sign_seconds=2.0) as pool:
        os.kill((await pool.status()).pid, signal.SIGSTOP)
        with pytest.raises(HsmTimeout):
            await pool.sign_challenge(challenge)
        with pytest.raises(HsmRequestRefused, match="unknown outcome"):
            await pool.sign_challenge(challenge)
        signatures = (await pool.status()).signatures
        assert signatures == len(Role)  # the new worker's canaries at its start


async def test_answered_challenge_may_come_again(pool: Pool) -> None:
    """A challenge whose signature was delivered is the caller's matter, and RSA signs it to the same."""
    challenge = _challenge()
    assert await pool.sign_challenge(challenge) == await pool.sign_challenge(challenge)


async def test_cancelled_caller_leaves_requests_in_step(token: Token, pool: Pool) -> None:
    """The answer to a caller who went away reaches nobody else, and his challenge is not signed again."""
    worker = (await pool.status()).pid
    abandoned = _challenge()
    os.kill(worker, signal.SIGSTOP)
    call = asyncio.create_task(pool.sign_challenge(abandoned))
    await _until(lambda: abandoned in pool._unanswered)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    os.kill(worker, signal.SIGCONT)
    text = signing_input(thumbprint(token.token_key))
    token.token_key.verify(await pool.sign_token(text), text, ec.ECDSA(SHA256()))
    challenge = _challenge()
    _verify(token, await pool.sign_challenge(challenge), challenge)
    assert (await pool.status()).pid == worker
    with pytest.raises(HsmRequestRefused):
        await pool.sign_challenge(abandoned)


async def test_caller_cancelled_in_the_queue_asks_nothing(pool: Pool) -> None:
    """A caller who goes away while he waits for a worker has had nothing signed."""
    worker = (await pool.status()).pid
    os.kill(worker, signal.SIGSTOP)
    first = asyncio.create_task(pool.sign_challenge(_challenge()))
    await _until(lambda: bool(pool._unanswered))
    waiting = _challenge()
    second = asyncio.create_task(pool.sign_challenge(waiting))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    os.kill(worker, signal.SIGCONT)
    await first
    assert await pool.sign_challenge(waiting)


async def test_waiting_has_an_end(token: Token) -> None:
    """A caller who gets no worker in time hears that none was free, and may come again with his challenge."""
    challenge = _challenge()
    async with Pool(token.setup, environment=token.environment, sign_seconds=2.0) as pool:
        occupied = await pool._free.get()
        with pytest.raises(HsmUnavailable, match="became free"):
            await pool.sign_challenge(challenge)
        pool._free.put_nowait(occupied)
        _verify(token, await pool.sign_challenge(challenge), challenge)


async def test_rejected_pin_is_final(token: Token) -> None:
    """After one rejected PIN no other worker is started, whoever asks."""
    (token.folder / softhsm.USER_PIN).write_text("000000000000")
    pool = Pool(token.setup, environment=token.environment)
    with pytest.raises(HsmPinRejected, match="CKR_PIN_INCORRECT"):
        await pool.start()
    with pytest.raises(HsmPinRejected, match="no other login is tried"):
        await pool.sign_challenge(_challenge())
    with pytest.raises(HsmPinRejected, match="no other login is tried"):
        await pool.start()
    await pool.close()


async def test_failure_to_start_is_shared(token: Token, pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """Callers who wait while a start fails share its failure; each does not start a worker of its own."""
    os.kill((await pool.status()).pid, signal.SIGKILL)
    await _until(lambda: all(child.ended for child in pool._children))
    (token.folder / softhsm.TOKENS).rename(token.folder / "elsewhere")
    calls = [asyncio.create_task(pool.canary(Role.TOKEN)) for _ in range(10)]
    started: set[int] = set()
    while not all(call.done() for call in calls):
        started |= {child.pid for child in pool._children if not child.ended}
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert len(started) == 1
    assert sum(isinstance(outcome, HsmUnavailable) for outcome in outcomes) >= 9
    assert token.pin not in caplog.text
    (token.folder / "elsewhere").rename(token.folder / softhsm.TOKENS)
    await pool.canary(Role.TOKEN)


async def test_lost_token_heals(token: Token, pool: Pool) -> None:
    """A token that goes away fails signatures, and they work again once it is back, with a new worker."""
    before = (await pool.status()).pid
    (token.folder / softhsm.TOKENS).rename(token.folder / "elsewhere")
    with pytest.raises(HsmSigningFailed, match="CKR_"):
        await pool.canary(Role.INSTITUTION)
    (token.folder / "elsewhere").rename(token.folder / softhsm.TOKENS)
    await pool.canary(Role.INSTITUTION)
    assert (await pool.status()).pid != before


async def test_module_that_never_loads(misbehaving: Callable[[str], Misbehaving]) -> None:
    """A worker that hangs before its login is ended when its time to start is over."""
    hanging = misbehaving("hang_load")
    pool = Pool(hanging.setup, environment=hanging.environment, start_seconds=2.0)
    with pytest.raises(HsmTimeout):
        await pool.start()
    assert not pool._children
    await pool.close()


async def test_worker_is_not_killed_in_its_login(
    misbehaving: Callable[[str], Misbehaving], caplog: pytest.LogCaptureFixture
) -> None:
    """A login that takes too long is given up but not killed; no other begins before it has ended by itself."""
    slow = misbehaving("slow_login")
    os.mkfifo(slow.file)
    pool = Pool(slow.setup, environment=slow.environment, start_seconds=2.0)
    with caplog.at_level(logging.ERROR), pytest.raises(HsmTimeout):
        await pool.start()
    assert "given up while logging in" in caplog.text
    (child,) = pool._children
    with pytest.raises(HsmUnavailable, match="still logging in"):
        await pool.sign_challenge(_challenge())
    await pool.close()
    assert running(child.pid)
    assert "left behind while logging in" in caplog.text
    slow.file.write_bytes(b"\n")
    await pool.close()
    assert child.status == 0


async def test_close_ends_hung_workers(token: Token) -> None:
    """Closing ends a worker that does not answer, and its caller hears of it."""
    pool = Pool(token.setup, environment=token.environment, sign_seconds=30)
    await pool.start()
    hung = (await pool.status()).pid
    os.kill(hung, signal.SIGSTOP)
    call = asyncio.create_task(pool.sign_challenge(_challenge()))
    await _until(lambda: bool(pool._unanswered))
    queued = asyncio.create_task(pool.sign_challenge(_challenge()))
    await asyncio.sleep(0)
    await pool.close()
    for waiting in (call, queued):
        with pytest.raises(HsmUnavailable):
            await waiting
    assert not running(hung)


async def test_closed_pool_refuses(token: Token) -> None:
    """After it was closed, once or twice, a pool starts nothing and says so."""
    pool = Pool(token.setup, environment=token.environment)
    await pool.start()
    await pool.close()
    await pool.close()
    with pytest.raises(HsmUnavailable, match="closed"):
        await pool.sign_challenge(_challenge())


async def test_pool_comes_up_later(token: Token) -> None:
    """A pool that could not start is not lost: all its workers come up once the token is there."""
    (token.folder / softhsm.TOKENS).rename(token.folder / "elsewhere")
    pool = Pool(token.setup, environment=token.environment, workers=2)
    for _ in range(2):
        with pytest.raises(HsmError):
            await pool.start()
    (token.folder / "elsewhere").rename(token.folder / softhsm.TOKENS)
    await pool.canary(Role.TOKEN)
    await pool.start()
    assert len(pool._children) == 2
    await pool.close()


async def test_close_during_a_start(token: Token) -> None:
    """A pool that is closed while it comes up leaves no process."""
    pool = Pool(token.setup, environment=token.environment)
    starting = asyncio.create_task(pool.start())
    await _until(lambda: bool(pool._children))
    await pool.close()
    with pytest.raises(HsmUnavailable):
        await starting


async def test_cancelled_start_is_ended_by_close(token: Token) -> None:
    """Giving up the start of a pool leaves no process behind either."""
    async with asyncio.timeout(30):
        entering = asyncio.create_task(Pool(token.setup, environment=token.environment).__aenter__())
        await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering


def test_pool_without_workers_is_a_bug(token: Token) -> None:
    """A pool has at least one worker."""
    with pytest.raises(ValueError, match="at least one"):
        Pool(token.setup, environment={}, workers=0)
