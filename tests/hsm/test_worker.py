"""The worker as a process: what it leaves to be seen, and how it ends."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.errors import EX_CONFIG, EX_REFUSED, HsmUnavailable
from appliance.hsm import softhsm
from appliance.hsm.crews.child import Child
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.messages import (
    Answer,
    Canary,
    Climbed,
    Climbing,
    Loaded,
    LoggedIn,
    LogIn,
    LoginNeeded,
    NotBegun,
    Ready,
    Refusal,
    Reply,
    Request,
    Signature,
    SignChallenge,
    SignToken,
    Status,
    StatusReport,
    TokenSetup,
    Withdraw,
    fingerprint,
)
from appliance.trust.jwk import thumbprint
from tests.hsm.conftest import CHALLENGE_BYTES, Misbehaving, Token
from tests.hsm.jwt_parts import signing_input
from tests.hsm.processes import pkcs11_tool
from tests.shim.rules import NUMBERS, Action, Function

pytestmark = pytest.mark.usefixtures("no_process_left")

COMMAND = (sys.executable, "-I", "-m", "appliance.hsm.worker")


@asynccontextmanager
async def _worker(environment: dict[str, str]) -> AsyncIterator[Child]:
    child = await Child.start(COMMAND, {"PATH": "/usr/bin:/bin", **environment})
    try:
        yield child
    finally:
        child.hang_up()
        child.kill()
        assert await child.exited(10)


async def _brought_up(child: Child, setup: TokenSetup) -> Answer:
    assert await child.ask(Request(0, setup)) == Loaded()
    answer = await child.ask(Request(0, LogIn()))
    return await child.hear() if answer == LoggedIn() else answer


def _variables(child: Child) -> bytes:
    try:
        return _proc(child, "environ").read_bytes()
    except PermissionError:
        # Unless we are root nobody may look, not even the same user: the worker is not dumpable.
        return b""


def _proc(child: Child, name: str) -> Path:
    return Path(f"/proc/{child.pid}") / name


async def test_worker_comes_up_in_steps(token: Token) -> None:
    """A worker reports that it is loaded, logs in when told, and is ready when each key has signed."""
    async with _worker(token.environment) as child:
        assert isinstance(await _brought_up(child, token.setup), Ready)
        report = await child.ask(Request(1, Status()))
        assert isinstance(report, StatusReport)
        assert (report.pid, report.token, report.signatures) == (child.pid, softhsm.TOKEN_LABEL, 0)


async def test_worker_is_one_thread(token: Token) -> None:
    """There is never a second thread that could be inside the module."""
    async with _worker(token.environment) as child:
        assert isinstance(await _brought_up(child, token.setup), Ready)
        assert isinstance(
            await child.ask(Request(1, SignChallenge(bytes(CHALLENGE_BYTES), token.key))), Signature
        )
        assert len(list(_proc(child, "task").iterdir())) == 1


async def test_pin_is_nowhere_to_be_seen(token: Token, capfd: pytest.CaptureFixture[str]) -> None:
    """The PIN is in no argument, variable or output of the worker, nor in what the daemon holds of it."""
    async with _worker(token.environment) as child:
        assert isinstance(await _brought_up(child, token.setup), Ready)
        seen = _proc(child, "cmdline").read_bytes() + _variables(child)
        report = await child.ask(Request(1, Status()))
    captured = capfd.readouterr()
    shown = f"{seen!r} {report!r} {token.setup!r} {captured.out} {captured.err}"
    assert token.pin not in shown


async def test_environment_is_what_was_given(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the daemon's own environment reaches the worker."""
    monkeypatch.setenv("SOMETHING_SECRET", "of the daemon")
    async with _worker(token.environment) as child:
        assert isinstance(await _brought_up(child, token.setup), Ready)
        variables = _variables(child).split(b"\0")
    assert {name.partition(b"=")[0] for name in variables if name} <= {b"PATH", b"SOFTHSM2_CONF"}


async def test_core_dumps_are_off(token: Token) -> None:
    """A crash leaves no file with the PIN or with what the module holds."""
    async with _worker(token.environment) as child:
        assert await child.ask(Request(0, token.setup)) == Loaded()
        limits = _proc(child, "limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [
            ["0", "0"]
        ]


async def test_worker_ends_when_the_daemon_does(token: Token) -> None:
    """A closed channel ends the worker, in each of its phases."""
    for talk in (lambda _: None, lambda child: child.tell(Request(0, token.setup))):
        async with _worker(token.environment) as child:
            talk(child)
            child.hang_up()
            assert await child.exited(10)
            assert child.status == 0
    async with _worker(token.environment) as child:
        assert isinstance(await _brought_up(child, token.setup), Ready)
        child.hang_up()
        assert await child.exited(10)
        assert child.status == 0


async def test_signals_to_the_group_do_not_end_it(token: Token) -> None:
    """A signal that means the daemon, as Ctrl-C or a stopped unit, does not hit a worker in its login."""
    async with _worker(token.environment) as child:
        assert await child.ask(Request(0, token.setup)) == Loaded()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGABRT):
            os.kill(child.pid, number)
        assert await child.ask(Request(0, LogIn())) == LoggedIn()


async def test_wrong_pin_is_tried_once(token: Token) -> None:
    """A rejected PIN ends the worker with status 78, and no worker tries any PIN until a person has logged in."""
    right = token.pin
    pin_file = token.folder / softhsm.USER_PIN
    pin_file.write_text("000000000000")
    async with _worker(token.environment) as child:
        answer = await _brought_up(child, token.setup)
        assert isinstance(answer, Refusal)
        assert (answer.code, "CKR_PIN_INCORRECT" in answer.detail) == ("hsm_pin_rejected", True)
        assert await child.exited(10)
        assert child.status == EX_CONFIG
    # The token now says that a PIN was refused. Not even the right one is tried on such a token.
    pin_file.write_text(right)
    async with _worker(token.environment) as child:
        answer = await child.ask(Request(0, token.setup))
        assert isinstance(answer, Refusal)
        assert answer.code == "hsm_pin_rejected"
        assert answer.detail == "not tried: the token reports CKF_USER_PIN_COUNT_LOW"
        assert await child.exited(10)
        assert child.status == EX_CONFIG
    pkcs11_tool(token, "--list-objects")
    async with _worker(token.environment) as child:
        assert isinstance(await _brought_up(child, token.setup), Ready)


async def test_login_waits_for_the_word(token: Token) -> None:
    """A worker that gets anything but the word to log in does not log in."""
    async with _worker(token.environment) as child:
        assert await child.ask(Request(0, token.setup)) == Loaded()
        answer = await child.ask(Request(0, Status()))
        assert isinstance(answer, Refusal)
        assert await child.exited(10)


async def test_conversation_begins_with_the_setup(token: Token) -> None:
    """A worker that is asked before it was set up ends without an answer."""
    async with _worker(token.environment) as child:
        with pytest.raises(HsmUnavailable):
            await child.ask(Request(0, Status()))
        assert await child.exited(10)
        assert child.status == EX_REFUSED


def test_malformed_frame_ends_the_worker() -> None:
    """A worker that is sent garbage ends, with our error on standard error and nothing on standard output."""
    for garbage in (bytes(4), b"\0\0\0\x01\xc1", b"\xff\xff\xff\xff"):
        ended = subprocess.run(COMMAND, input=garbage, capture_output=True, check=False)
        assert (ended.returncode, ended.stdout) == (EX_REFUSED, b"")
        assert ended.stderr.startswith(b"hsm_unavailable: ")


async def test_chatty_module_does_not_disturb(
    misbehaving: Misbehaving, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a module prints on standard output goes to standard error and not between the frames."""
    misbehaving.rules.set(Function.SIGN, Action.PRINT)
    async with _worker(dict(misbehaving.environment)) as child:
        assert isinstance(await _brought_up(child, misbehaving.setup), Ready)
        key = fingerprint(misbehaving.setup.institution_keys[0])
        assert isinstance(await child.ask(Request(1, SignChallenge(bytes(CHALLENGE_BYTES), key))), Signature)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "the module is in function 43" in captured.err


async def _climb(child: Child, request: Request) -> list[Answer]:
    """Ask, give the word for every login, and return everything the worker said."""
    said = [await child.ask(request)]
    while isinstance(said[-1], Climbing | LoginNeeded | LoggedIn | Climbed):
        if isinstance(said[-1], LoginNeeded):
            child.tell(Request(request.number, LogIn()))
        said.append(await child.hear())
    return said


async def test_signature_of_unknown_outcome_heals_and_is_not_made_again(
    misbehaving: Misbehaving,
) -> None:
    """After CKR_DEVICE_ERROR the module is initialised anew; the challenge is refused, the next one is signed."""
    key = fingerprint(misbehaving.setup.institution_keys[0])
    async with _worker(dict(misbehaving.environment)) as child:
        assert isinstance(await _brought_up(child, misbehaving.setup), Ready)
        misbehaving.rules.set(Function.SIGN, Action.RETURN, NUMBERS["CKR_DEVICE_ERROR"], times=1)
        said = await _climb(child, Request(1, SignChallenge(bytes(CHALLENGE_BYTES), key)))
        assert said[:-1] == [
            Climbing(Rung.REINITIALISE, "CKR_DEVICE_ERROR", ErrorClass.TRANSIENT),
            LoginNeeded(),
            LoggedIn(),
            Climbed(Rung.REINITIALISE, healed=True),
        ]
        refusal = said[-1]
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.unsigned, refusal.usable) == ("hsm_signing_failed", False, True)
        assert isinstance(await child.ask(Request(2, SignChallenge(b"\1" * CHALLENGE_BYTES, key))), Signature)


async def test_token_is_signed_after_healing(misbehaving: Misbehaving, token: Token) -> None:
    """A result token may be signed twice, so its caller notices nothing of a module that failed once."""
    async with _worker(dict(misbehaving.environment)) as child:
        assert isinstance(await _brought_up(child, misbehaving.setup), Ready)
        misbehaving.rules.set(Function.SIGN, Action.RETURN, NUMBERS["CKR_DEVICE_ERROR"], times=1)
        said = await _climb(child, Request(1, SignToken(signing_input(thumbprint(token.token_key)))))
        assert isinstance(said[-1], Signature)


async def test_failing_for_good_ends_the_worker(misbehaving: Misbehaving) -> None:
    """What no rung heals is reported with its return value, and the worker ends."""
    key = fingerprint(misbehaving.setup.institution_keys[0])
    async with _worker(dict(misbehaving.environment)) as child:
        assert isinstance(await _brought_up(child, misbehaving.setup), Ready)
        misbehaving.rules.set(Function.SIGN, Action.RETURN, NUMBERS["CKR_DEVICE_ERROR"])
        said = await _climb(child, Request(1, Canary(key)))
        refusal = said[-1]
        assert isinstance(refusal, Refusal)
        assert (refusal.ckr, refusal.usable) == ("CKR_DEVICE_ERROR", False)
        assert Climbed(Rung.REINITIALISE, healed=False) in said
        assert await child.exited(10)


async def test_what_reaches_a_failing_worker_is_given_back(misbehaving: Misbehaving) -> None:
    """A request that comes while the module fails for good, and one that comes after it, are surely not begun."""
    key, rules = fingerprint(misbehaving.setup.institution_keys[0]), misbehaving.rules
    heard: list[Reply] = []

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - it is another process that counts
                await asyncio.sleep(0.002)

    async with _worker(dict(misbehaving.environment)) as child:
        assert isinstance(await _brought_up(child, misbehaving.setup), Ready)
        child.listen(heard.append, lambda _: None)
        before = rules.calls(Function.SIGN_INIT)
        rules.set(Function.SIGN_INIT, Action.HANG)
        child.tell(Request(1, Canary(key)))
        await until(lambda: rules.calls(Function.SIGN_INIT) > before)
        child.tell(Request(2, SignChallenge(bytes(CHALLENGE_BYTES), key)))
        rules.set(Function.SIGN, Action.RETURN, NUMBERS["CKR_HOST_MEMORY"])
        rules.lift(Function.SIGN_INIT)
        await until(lambda: len(heard) == 2)
        child.tell(Request(3, SignChallenge(bytes(CHALLENGE_BYTES), key)))
        await until(lambda: len(heard) == 3)
        assert isinstance(heard[0].answer, Refusal)
        assert heard[1:] == [Reply(2, NotBegun()), Reply(3, NotBegun())]
        assert await child.exited(10)


async def test_late_and_withdrawn_requests_cost_no_signature(token: Token) -> None:
    """A request that nobody waits for any more when its turn comes is given back."""
    async with _worker(token.environment) as child:
        assert isinstance(await _brought_up(child, token.setup), Ready)
        late = Request(1, SignChallenge(bytes(CHALLENGE_BYTES), token.key), deadline=1.0)
        assert await child.ask(late) == NotBegun()
        os.kill(child.pid, signal.SIGSTOP)
        child.tell(Request(3, SignChallenge(bytes(CHALLENGE_BYTES), token.key)))
        child.tell(Request(3, Withdraw(3)))
        os.kill(child.pid, signal.SIGCONT)
        assert await child.hear() == NotBegun()
        report = await child.ask(Request(4, Status()))
        assert isinstance(report, StatusReport)
        assert report.signatures == 0


async def test_pin_file_open_to_others(token: Token) -> None:
    """A credential others can read is refused before the module is loaded."""
    pin_file = token.folder / softhsm.USER_PIN
    pin_file.chmod(0o644)
    async with _worker(token.environment) as child:
        answer = await child.ask(Request(0, replace(token.setup, module="/nonexistent")))
        assert isinstance(answer, Refusal)
        assert answer.code == "hsm_pin_unavailable"
        assert await child.exited(10)
        assert child.status == EX_CONFIG
