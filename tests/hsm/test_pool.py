"""The pool on real workers and SoftHSM: what callers get, whatever becomes of workers."""

import asyncio
import logging
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance.errors import (
    HsmBusy,
    HsmError,
    HsmPinRejected,
    HsmRequestRefused,
    HsmSigningFailed,
    HsmTimeout,
    HsmUnavailable,
    InstitutionKeyMismatch,
)
from appliance.hsm import softhsm
from appliance.hsm.health import HsmState, WorkerState
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.messages import KeyLabel, fingerprint
from appliance.hsm.pool import Pool
from appliance.trust.jwk import thumbprint
from tests.hsm.calls import LOOK_SECONDS, pids, random_challenge, sign, until, verify
from tests.hsm.conftest import Misbehaving, Token, spki
from tests.hsm.jwt_parts import scenario_input, signing_input
from tests.hsm.processes import openssl_verifies, probe
from tests.hsm.witness import Witness
from tests.shim.rules import NUMBERS, Action, Function

pytestmark = pytest.mark.usefixtures("no_process_left")


async def test_challenge_is_signed(token: Token, pool: Pool, tmp_path: Path) -> None:
    """OpenSSL verifies the institution's signature over a challenge, and over no other."""
    challenge = random_challenge()
    signature = await pool.sign_challenge(challenge, token.key)
    public_key = token.folder / softhsm.INSTITUTION_KEY
    assert openssl_verifies(tmp_path, public_key, challenge, signature)
    assert not openssl_verifies(tmp_path, public_key, random_challenge(), signature)


async def test_token_is_signed(token: Token, pool: Pool, tmp_path: Path) -> None:
    """OpenSSL verifies the signature over a result token, which is DER."""
    text = signing_input(thumbprint(token.token_key))
    signature = await pool.sign_token(text)
    assert openssl_verifies(tmp_path, token.folder / softhsm.TOKEN_KEY, text, signature)


async def test_scenario_is_signed(token: Token, pool: Pool, tmp_path: Path) -> None:
    """OpenSSL verifies the token key's signature over a scenario; neither verb signs what the other is for."""
    kid = thumbprint(token.token_key)
    text = scenario_input(kid)
    signature = await pool.sign_scenario(text)
    assert openssl_verifies(tmp_path, token.folder / softhsm.TOKEN_KEY, text, signature)
    with pytest.raises(HsmRequestRefused):
        await pool.sign_scenario(signing_input(kid))
    with pytest.raises(HsmRequestRefused):
        await pool.sign_token(text)


@pytest.mark.parametrize("label", [KeyLabel.INSTITUTION, KeyLabel.TOKEN])
async def test_canary_tells_how_long_it_took(pool: Pool, label: KeyLabel) -> None:
    """A canary signs and verifies with either key and counts as no challenge."""
    assert 0 < await pool.canary(label) < 3


async def test_status_names_the_token(pool: Pool, token: Token) -> None:
    """The report says what the worker speaks with, and nothing secret."""
    report = await pool.status()
    assert (report.token, report.model) == (softhsm.TOKEN_LABEL, "SoftHSM v2")
    assert token.pin not in repr(report)
    assert await pool.status("hsm-1") == report
    with pytest.raises(ValueError, match="no HSM is called"):
        await pool.status("hsm-9")


async def test_refusals_leave_the_worker_in_place(pool: Pool, token: Token) -> None:
    """A wrong length, a foreign key or a token of somebody else is refused, and the same worker goes on."""
    before = await pool.status()
    with pytest.raises(HsmRequestRefused):
        await pool.sign_challenge(b"short", token.key)
    with pytest.raises(HsmRequestRefused, match="holds"):
        await pool.sign_challenge(random_challenge(), "0" * 64)
    with pytest.raises(HsmRequestRefused):
        await pool.sign_challenge(random_challenge(), pool._key_called(KeyLabel.TOKEN))
    with pytest.raises(HsmRequestRefused, match="called"):
        await pool.canary(KeyLabel.INSTITUTION_NEXT)
    with pytest.raises(HsmRequestRefused):
        await pool.sign_token(b"not a token")
    with pytest.raises(HsmRequestRefused):
        await pool.sign_token(signing_input("another key"))
    await sign(pool, token)
    assert (await pool.status()).pid == before.pid


async def test_rate_is_held_by_the_worker(token: Token) -> None:
    """More challenges in a minute than configured are refused; tokens and canaries are not affected."""
    async with Pool([token.hsm(challenges_per_minute=2)], state=token.state) as pool:
        for _ in range(2):
            await sign(pool, token)
        with pytest.raises(HsmRequestRefused, match="more than 2"):
            await sign(pool, token)
        await pool.canary()


async def test_many_callers_get_their_own_signatures(token: Token) -> None:
    """Callers queue for two workers, and each gets the signature over what it gave."""
    async with Pool([token.hsm(workers=2)], state=token.state) as pool:
        challenges = [random_challenge() for _ in range(40)]
        signatures = await asyncio.gather(*(pool.sign_challenge(each, token.key) for each in challenges))
    for challenge, signature in zip(challenges, signatures, strict=True):
        verify(token, signature, challenge)


async def test_crew_is_bounded_by_the_vendor(token: Token) -> None:
    """There are no more workers than the module has sessions."""
    vendor = token.setup.vendor
    limits = type(vendor.limits)(sessions=1)
    hsm = token.hsm(
        workers=3, vendor=type(vendor)(name="few", status=vendor.status, module=vendor.module, limits=limits)
    )
    async with Pool([hsm], state=token.state) as pool:
        assert len(pids(pool)) == 1


async def test_full_queue_refuses_at_once(token: Token) -> None:
    """A caller who finds the queue full hears so at once, and the challenge may come again."""
    async with Pool([token.hsm()], state=token.state, queue_limit=2) as pool:
        (worker,) = pids(pool)
        os.kill(worker, signal.SIGSTOP)
        calls = [asyncio.create_task(sign(pool, token)) for _ in range(4)]
        await until(lambda: pool.health().queued == 2)
        refused = random_challenge()
        with pytest.raises(HsmBusy):
            await pool.sign_challenge(refused, token.key)
        os.kill(worker, signal.SIGCONT)
        await asyncio.gather(*calls)
        verify(token, await pool.sign_challenge(refused, token.key), refused)


async def test_one_deadline_for_queue_and_signature(token: Token) -> None:
    """Whoever waits too long hears that nothing was signed; whoever was handed over, that nobody knows."""
    async with Pool([token.hsm()], state=token.state, sign_seconds=2.0) as pool:
        (worker,) = pids(pool)
        os.kill(worker, signal.SIGSTOP)
        began = time.monotonic()
        calls = [asyncio.create_task(sign(pool, token)) for _ in range(3)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert 1.9 < time.monotonic() - began < 10
    assert [type(outcome) for outcome in outcomes[:2]] == [HsmTimeout, HsmTimeout]
    # The third never reached the worker: it was refused for its lateness, or signed by the worker's successor.
    assert isinstance(outcomes[2], HsmBusy | HsmUnavailable | None)


async def test_answered_challenge_may_come_again(token: Token, pool: Pool) -> None:
    """A challenge whose signature was delivered is the caller's matter, and RSA signs it to the same."""
    challenge = random_challenge()
    first = await pool.sign_challenge(challenge, token.key)
    assert first == await pool.sign_challenge(challenge, token.key)


async def test_cancelled_caller_leaves_requests_in_step(token: Token, pool: Pool) -> None:
    """The answer to a caller who went away reaches nobody else, and his challenge is not signed again."""
    worker = (await pool.status()).pid
    abandoned = random_challenge()
    os.kill(worker, signal.SIGSTOP)
    call = asyncio.create_task(pool.sign_challenge(abandoned, token.key))
    await until(lambda: abandoned in pool._dispatch.unanswered)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    os.kill(worker, signal.SIGCONT)
    text = signing_input(thumbprint(token.token_key))
    token.token_key.verify(await pool.sign_token(text), text, ec.ECDSA(SHA256()))
    await sign(pool, token)
    assert (await pool.status()).pid == worker
    with pytest.raises(HsmRequestRefused):
        await pool.sign_challenge(abandoned, token.key)


async def test_callers_who_left_cost_no_signature(token: Token, pool: Pool) -> None:
    """Who goes away while he waits, in the queue or already in the worker's hands, has had nothing signed."""
    worker = (await pool.status()).pid
    os.kill(worker, signal.SIGSTOP)
    first = asyncio.create_task(sign(pool, token))
    await until(lambda: bool(pool._dispatch.unanswered))
    challenges = [random_challenge(), random_challenge()]
    left = [asyncio.create_task(pool.sign_challenge(each, token.key)) for each in challenges]
    await until(lambda: pool.health().queued == 1)
    for call in left:
        call.cancel()
    assert [type(each) for each in await asyncio.gather(*left, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 2
    os.kill(worker, signal.SIGCONT)
    await first
    assert (await pool.status()).signatures == 1
    for challenge in challenges:
        verify(token, await pool.sign_challenge(challenge, token.key), challenge)


async def test_module_that_fails_once_is_healed_in_place(misbehaving: Misbehaving) -> None:
    """The rung that healed is told, the worker stays, and the challenge of unknown outcome is not signed again."""
    witness = Witness()
    async with Pool([misbehaving.hsm], state=misbehaving.state, sign_seconds=30.0, observer=witness) as pool:
        key = pool._key_called(KeyLabel.INSTITUTION)
        worker = (await pool.status()).pid
        misbehaving.rules.set(Function.SIGN, Action.RETURN, NUMBERS["CKR_DEVICE_ERROR"], times=1)
        challenge = random_challenge()
        with pytest.raises(HsmSigningFailed, match="CKR_DEVICE_ERROR"):
            await pool.sign_challenge(challenge, key)
        with pytest.raises(HsmRequestRefused, match="unknown outcome"):
            await pool.sign_challenge(challenge, key)
        await pool.sign_challenge(random_challenge(), key)
        assert (await pool.status()).pid == worker
    assert witness.rungs == [(Rung.REINITIALISE, True)]
    assert witness.failures == [("CKR_DEVICE_ERROR", ErrorClass.TRANSIENT)]


async def test_lost_token_heals(token: Token, pool: Pool) -> None:
    """A token that goes away fails signatures with the cause, and they work again once it is back."""
    (token.folder / softhsm.TOKENS).rename(token.folder / "elsewhere")
    with pytest.raises(HsmError, match=r"CKR_|token"):
        await pool.canary()
    await until(lambda: pool.health().hsms[0].breaker_open)
    with pytest.raises(HsmUnavailable, match="hsm-1: hsm_"):
        await pool.canary()
    assert pool.health().hsms[0].state is HsmState.DOWN
    (token.folder / "elsewhere").rename(token.folder / softhsm.TOKENS)
    async with asyncio.timeout(20):
        while not pool.health().up:
            try:
                await sign(pool, token)
            except HsmUnavailable:
                await asyncio.sleep(LOOK_SECONDS)


async def test_next_hsm_takes_over_and_hands_back(token: Token, other_token: Token) -> None:
    """When the first HSM is lost the second one signs; when the first has proved itself it serves again."""
    witness = Witness()
    hsms = [token.hsm(), other_token.hsm(alias="hsm-2")]
    async with Pool(hsms, state=token.state, observer=witness) as pool:
        assert pool.health().serving == "hsm-1"
        (token.folder / softhsm.TOKENS).rename(token.folder / "elsewhere")
        challenges = [random_challenge() for _ in range(20)]
        for challenge in challenges:
            # Losing the token shows before the signature, so the caller does not notice.
            verify(token, await pool.sign_challenge(challenge, token.key), challenge)
        assert pool.health().serving == "hsm-2"
        await until(lambda: pool.health().hsms[0].breaker_open)
        (token.folder / "elsewhere").rename(token.folder / softhsm.TOKENS)
        async with asyncio.timeout(20):
            while pool.health().serving != "hsm-1":
                await sign(pool, token)
    assert ("hsm-2", KeyLabel.INSTITUTION) in witness.signed_by
    assert witness.breakers == [("hsm-1", True), ("hsm-1", False)]


async def test_one_rejected_pin_leaves_the_other_hsm_alone(token: Token, other_token: Token) -> None:
    """An HSM that refuses the PIN at the start is left alone, and the next one serves."""
    (token.folder / softhsm.USER_PIN).write_text("000000000000")
    hsms = [token.hsm(), other_token.hsm(alias="hsm-2")]
    async with Pool(hsms, state=token.state) as pool:
        await sign(pool, token)
        first, second = pool.health().hsms
    assert (first.state, second.state) == (HsmState.PIN_REJECTED, HsmState.UP)


async def test_rejected_pin_is_final_and_survives_a_restart(token: Token) -> None:
    """After one rejected PIN no other worker is started, whoever asks, also in another pool, until it is unlocked."""
    right = token.pin
    pin_file = token.folder / softhsm.USER_PIN
    pin_file.write_text("000000000000")
    pool = Pool([token.hsm()], state=token.state)
    with pytest.raises(HsmPinRejected, match="CKR_PIN_INCORRECT"):
        await pool.start()
    with pytest.raises(HsmPinRejected):
        await pool.sign_challenge(random_challenge(), token.key)
    with pytest.raises(HsmPinRejected, match="no other login is tried"):
        await pool.start()
    await pool.close()
    pin_file.write_text(right)
    # Not even a module that does not exist is looked at.
    later = Pool([token.hsm()], state=token.state)
    with pytest.raises(HsmPinRejected, match=r"pin-rejected-.*CKR_PIN_INCORRECT"):
        await later.start()
    assert not later._dispatch.crews[0].children
    health = later.health().hsms[0]
    assert (health.state, health.marker is not None) == (HsmState.PIN_REJECTED, True)
    assert right not in (token.state / Path(health.marker or "").name).read_text()
    await later.close()


async def test_what_waits_behind_a_failure_is_signed_by_another_worker(misbehaving: Misbehaving) -> None:
    """A request that reached a worker while it failed for good is not begun, known as such, and goes to the next one."""
    rules = misbehaving.rules
    key = fingerprint(misbehaving.setup.institution_keys[0])
    async with Pool([misbehaving.hsm], state=misbehaving.state) as pool:
        (line,) = pool._dispatch.crews[0].lines
        before = rules.calls(Function.SIGN_INIT)
        rules.set(Function.SIGN_INIT, Action.HANG)
        first = asyncio.create_task(pool.sign_challenge(random_challenge(), key))
        await until(lambda: rules.calls(Function.SIGN_INIT) > before)
        second = asyncio.create_task(pool.sign_challenge(random_challenge(), key))
        await until(lambda: line.load == 2)
        rules.set(Function.SIGN, Action.RETURN, NUMBERS["CKR_HOST_MEMORY"], times=1)
        rules.lift(Function.SIGN_INIT)
        with pytest.raises(HsmError):
            await first
        assert await second


async def test_failure_to_start_is_shared(token: Token, pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """Callers who wait while a start fails share its failure; each does not start a worker of its own."""
    killed = (await pool.status()).pid
    os.kill(killed, signal.SIGKILL)
    await until(lambda: not pids(pool))
    (token.folder / softhsm.TOKENS).rename(token.folder / "elsewhere")
    calls = [asyncio.create_task(pool.canary()) for _ in range(10)]
    started: set[int] = set()
    while not all(call.done() for call in calls):
        started |= {child.pid for crew in pool._dispatch.crews for child in crew.children if not child.ended}
        await asyncio.sleep(LOOK_SECONDS)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    # The end of a killed worker is heard of at its pipe before it is at its process.
    assert len(started - {killed}) == 1
    assert all(isinstance(outcome, HsmUnavailable) for outcome in outcomes)
    assert token.pin not in caplog.text


async def test_module_that_never_loads(misbehaving: Misbehaving) -> None:
    """A worker that hangs before its login is ended when its time to start is over."""
    misbehaving.rules.set(Function.GET_FUNCTION_LIST, Action.HANG)
    pool = Pool([misbehaving.hsm], state=misbehaving.state, start_seconds=2.0)
    with pytest.raises(HsmTimeout):
        await pool.start()
    assert not pool._dispatch.crews[0].children
    await pool.close()


async def test_closed_pool_refuses(token: Token) -> None:
    """After it was closed, once or twice, a pool starts nothing and says so."""
    pool = Pool([token.hsm()], state=token.state)
    await pool.start()
    await pool.close()
    await pool.close()
    with pytest.raises(HsmUnavailable, match="closed"):
        await sign(pool, token)
    with pytest.raises(HsmUnavailable, match="closed"):
        await pool.start()


async def test_pool_comes_up_later(token: Token) -> None:
    """A pool that could not start is not lost: all its workers come up once the token is there."""
    (token.folder / softhsm.TOKENS).rename(token.folder / "elsewhere")
    pool = Pool([token.hsm(workers=2)], state=token.state)
    for _ in range(2):
        with pytest.raises(HsmError):
            await pool.start()
    (token.folder / "elsewhere").rename(token.folder / softhsm.TOKENS)
    await pool.start()
    assert len(pids(pool)) == 2
    await pool.canary(KeyLabel.TOKEN)
    await pool.close()


async def test_keys_prove_themselves_without_being_asked(token: Token) -> None:
    """Every key signs a canary at the start and each canary interval, and health tells when and how long."""
    witness = Witness()
    async with Pool([token.hsm()], state=token.state, canary_seconds=0.05, observer=witness) as pool:
        await until(lambda: witness.canaries[KeyLabel.TOKEN] >= 3)
        (hsm,) = pool.health().hsms
    assert [key.label for key in hsm.keys] == [KeyLabel.INSTITUTION, KeyLabel.TOKEN]
    for key in hsm.keys:
        assert key.canary_at is not None
        assert 0 <= time.time() - key.canary_at < 30
        assert 0 < (key.canary_seconds or 0) < 5


async def test_idle_loss_is_noticed_by_the_canary(token: Token) -> None:
    """Without any caller a lost token is noticed, and noticed to be back."""
    async with Pool([token.hsm()], state=token.state, canary_seconds=0.1) as pool:
        (token.folder / softhsm.TOKENS).rename(token.folder / "elsewhere")
        await until(lambda: pool.health().hsms[0].state is HsmState.DOWN)
        (token.folder / "elsewhere").rename(token.folder / softhsm.TOKENS)
        await until(lambda: pool.health().up)


async def test_rotation_fails_nobody(token: Token) -> None:
    """While eight callers sign without a pause, a second institution key comes, takes over, and the first one goes."""
    pem = probe(token, "make_another", "next")
    new = load_pem_public_key(pem.encode())
    assert isinstance(new, rsa.RSAPublicKey)
    new_spki, old_spki = spki(new), spki(token.institution_key)
    stopping = asyncio.Event()
    using = [token.key]

    async def caller() -> int:
        signed = 0
        while not stopping.is_set():
            challenge = random_challenge()
            key = using[-1]
            signature = await pool.sign_challenge(challenge, key)
            public = token.institution_key if key == token.key else new
            public.verify(signature, challenge, padding.PKCS1v15(), SHA256())
            signed += 1
        return signed

    one, both, other = (
        token.hsm(workers=2, challenges_per_minute=100_000, institution_keys=keys)
        for keys in ((old_spki,), (new_spki, old_spki), (new_spki,))
    )
    async with Pool([one], state=token.state, sign_seconds=5.0) as pool:
        before = pids(pool)
        callers = [asyncio.create_task(caller()) for _ in range(8)]
        await pool.reconfigure([both])
        assert [key.label for key in pool.health().hsms[0].keys][:2] == [
            KeyLabel.INSTITUTION_NEXT,
            KeyLabel.INSTITUTION,
        ]
        using.append(fingerprint(new_spki))
        await pool.reconfigure([other])
        stopping.set()
        assert min(await asyncio.gather(*callers)) > 0
        assert not before & pids(pool)
        with pytest.raises(HsmRequestRefused, match="holds"):
            await pool.sign_challenge(random_challenge(), token.key)


async def test_what_began_by_other_terms_is_signed_by_them(token: Token, tmp_path: Path) -> None:
    """
    Issuer, lifetime and length of challenges change while the keys stay.

    Statements of both kinds are signed as long as callers turn from one to the other, each by a worker that is meant to.
    """
    kid, key = thumbprint(token.token_key), fingerprint(spki(token.token_key))
    before = token.hsm()
    after = token.hsm(issuer="https://renewed.test", token_lifetime_seconds=60, challenge_bytes=8)
    old, new = before.setup.terms, after.setup.terms
    earlier, later = signing_input(kid), signing_input(kid, iss=new.issuer, exp=int(time.time()) + 60)
    async with Pool([before], state=token.state, sign_seconds=2.0) as pool:

        async def turn() -> None:
            for text, terms in ((earlier, old), (later, new), (later, None)):
                signature = await pool.sign_token(text, key, terms)
                assert openssl_verifies(tmp_path, token.folder / softhsm.TOKEN_KEY, text, signature)
            await pool.sign_scenario(scenario_input(kid), key, old)
            await pool.sign_challenge(os.urandom(8), token.key, new)
            await pool.sign_challenge(random_challenge(), token.key, old)
            with pytest.raises(HsmRequestRefused):
                await pool.sign_token(earlier, key, new)

        await pool.reconfigure([after], turn)
        with pytest.raises(HsmRequestRefused, match="issuer"):
            await pool.sign_token(earlier, key, old)
        await pool.sign_token(later, key, new)


async def test_workers_that_nobody_turned_from_stay_for_one_more_rotation(token: Token) -> None:
    """Where callers could not turn to new workers, the old ones stay, and end with the next change."""

    async def fail() -> None:
        raise LookupError

    # A reconfiguration waits for as long as a request may take.
    async with Pool([token.hsm()], state=token.state, sign_seconds=3.0) as pool:
        first = pids(pool)
        with pytest.raises(LookupError):
            await pool.reconfigure([token.hsm()], fail)
        assert first < pids(pool)
        await pool.reconfigure([token.hsm()])
        assert not first & pids(pool)
        assert len(pids(pool)) == 1
        await sign(pool, token)


async def test_failed_rotation_changes_nothing(token: Token, pool: Pool) -> None:
    """A pinned key that the token lacks is refused as that, and the workers that are there go on."""
    worker = (await pool.status()).pid
    absent = spki(rsa.generate_private_key(65537, 2048).public_key())
    with pytest.raises(InstitutionKeyMismatch):
        await pool.reconfigure([token.hsm(institution_keys=(absent, spki(token.institution_key)))])
    await sign(pool, token)
    assert (await pool.status()).pid == worker


async def test_health_tells_state_workers_and_failure(token: Token, pool: Pool) -> None:
    """The snapshot names state, workers by state, breaker and the last failure, and has no secret in it."""
    health = pool.health()
    (hsm,) = health.hsms
    assert (health.up, health.serving, health.queued) == (True, "hsm-1", 0)
    assert (hsm.state, hsm.breaker_open, hsm.last_failure, hsm.marker) == (HsmState.UP, False, None, None)
    assert hsm.workers[WorkerState.READY] == 1
    os.kill((await pool.status()).pid, signal.SIGKILL)
    await until(lambda: not pids(pool))
    (hsm,) = pool.health().hsms
    assert hsm.state is HsmState.RECOVERING
    assert hsm.last_failure is not None
    assert hsm.last_failure.code == "hsm_unavailable"
    assert token.pin not in repr(pool.health())


def test_pool_without_hsms_or_workers_is_a_bug(token: Token) -> None:
    """A pool has at least one HSM, an HSM at least one worker, a queue at least one place."""
    with pytest.raises(ValueError, match="at least one HSM"):
        Pool([], state=token.state)
    with pytest.raises(ValueError, match="at least one worker"):
        token.hsm(workers=0)
    with pytest.raises(ValueError, match="at least one request"):
        Pool([token.hsm()], state=token.state, queue_limit=0)


def test_hsm_shows_no_secret(token: Token) -> None:
    """What the daemon holds of an HSM names the PIN's file and not the PIN."""
    assert token.pin not in repr(replace(token.hsm(), alias="other"))


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
