"""
What a module returns at a signature, and what follows: the ladder's words, on a real token.

A test goes through many return values with one pool, so a failure that leaves anything behind fails the next one.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.errors import ApplianceError
from appliance.hsm.ladder import WRONG_SIGNATURE, ErrorClass, Operation, Rung, treatment
from appliance.hsm.place import Hsm
from appliance.hsm.pool import Pool
from tests.faults.conftest import Signing, signing
from tests.faults.witness import Witness
from tests.hsm.conftest import CHALLENGE_BYTES, Token
from tests.shim.rules import NUMBERS, Action, Function, Rules

pytestmark = pytest.mark.usefixtures("no_process_left")

BEFORE = (
    "CKR_KEY_HANDLE_INVALID",
    "CKR_OBJECT_HANDLE_INVALID",
    "CKR_OPERATION_ACTIVE",
    "CKR_OPERATION_NOT_INITIALIZED",
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_TOKEN_NOT_RECOGNIZED",
    "CKR_USER_NOT_LOGGED_IN",
    "CKR_CRYPTOKI_NOT_INITIALIZED",
)
"""Return values that come before there can be a signature."""
UNCLEAR = (
    "CKR_FUNCTION_FAILED",
    "CKR_SESSION_CLOSED",
    "CKR_SESSION_COUNT",
    "CKR_DEVICE_ERROR",
    "CKR_DEVICE_MEMORY",
    "CKR_DEVICE_REMOVED",
    "CKR_GENERAL_ERROR",
    "CKR_HOST_MEMORY",
    "CKR_VENDOR_DEFINED",
)
"""Return values after which nobody knows."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller of a pool with one worker behind the shim."""

    sign: Signing
    token: Token
    witness: Witness

    async def outcome(self, challenge: bytes) -> str | None:
        """Have *challenge* signed; return the error's code, or None for a signature that verifies."""
        try:
            signature = await self.sign(challenge)
        except ApplianceError as error:
            return error.code
        self.token.institution_key.verify(signature, challenge, padding.PKCS1v15(), SHA256())
        return None


def new_challenge() -> bytes:
    """Return a challenge nobody has seen."""
    return os.urandom(CHALLENGE_BYTES)


def check_climb(witness: Witness, first: Rung | None) -> None:
    """
    Check that the climb began with *first*, went up, and ended when it had healed; and forget it.

    It need not end where it began: a value that C_Sign must not return leaves the operation active in the real
    module, and only another session gets rid of that.
    """
    rungs = [rung for rung, _ in witness.rungs]
    assert rungs[0] is first
    assert rungs == sorted(rungs)
    assert [healed for _, healed in witness.rungs] == [False] * (len(rungs) - 1) + [True]
    witness.rungs.clear()


@asynccontextmanager
async def calling(ruled: Hsm, token: Token, folder: Path, seconds: float) -> AsyncIterator[Caller]:
    """Give a caller; the pool makes no canaries of its own accord, so a rule meets the caller's signature."""
    witness = Witness()
    one = Hsm("ruled", ruled.setup, ruled.environment, workers=1)
    async with Pool(
        [one], state=folder / "state", sign_seconds=seconds, canary_seconds=3600, observer=witness
    ) as pool:
        yield Caller(signing(pool, one.setup), token, witness)


@pytest.fixture
async def caller(ruled: Hsm, token: Token, tmp_path: Path) -> AsyncIterator[Caller]:
    """A caller who waits for what has to be started first, however long that takes."""
    async with calling(ruled, token, tmp_path, 20.0) as one:
        yield one


@pytest.mark.parametrize("function", [Function.SIGN_INIT, Function.SIGN_LENGTH, Function.SIGN])
async def test_failure_before_the_signature(function: Function, caller: Caller, rules: Rules) -> None:
    """What surely came before a signature is healed by its rung, and the caller who waits gets a signature."""
    for name in BEFORE:
        rules.set(function, Action.RETURN, NUMBERS[name], times=1)
        assert await caller.outcome(new_challenge()) is None, name
        assert not rules.active(function)
        assert caller.witness.failures.pop() == (name, ErrorClass.TRANSIENT)
        check_climb(caller.witness, treatment(name, Operation.SIGN).rung)


@pytest.mark.parametrize("action", [Action.RETURN, Action.RETURN_AFTERWARDS])
async def test_failure_of_unclear_outcome(action: Action, caller: Caller, rules: Rules) -> None:
    """Where a signature may have been made its challenge is given up for good, and the next one is signed."""
    for name in UNCLEAR:
        rules.set(Function.SIGN, action, NUMBERS[name], times=1)
        challenge = new_challenge()
        assert await caller.outcome(challenge) == "hsm_signing_failed", name
        assert await caller.outcome(challenge) == "hsm_request_refused", name
        assert await caller.outcome(new_challenge()) is None, name
        assert caller.witness.failures.pop() == (name, ErrorClass.TRANSIENT)
        check_climb(caller.witness, treatment(name, Operation.SIGN).rung)


async def test_impossible_signature(caller: Caller, rules: Rules) -> None:
    """What no rung changes opens the breaker at once, and a canary closes it when a person has changed it."""
    rules.set(Function.SIGN_INIT, Action.RETURN, NUMBERS["CKR_KEY_FUNCTION_NOT_PERMITTED"])
    assert await caller.outcome(new_challenge()) == "hsm_signing_failed"
    await caller.witness.until(lambda witness: witness.breakers == [True])
    assert await caller.outcome(new_challenge()) == "hsm_unavailable"
    rules.lift(Function.SIGN_INIT)
    await caller.witness.until(lambda witness: witness.breakers == [True, False])
    assert caller.witness.healed == [Rung.BREAKER]
    assert await caller.outcome(new_challenge()) is None


async def test_wrong_signature(caller: Caller, rules: Rules) -> None:
    """A signature that the pinned key does not verify reaches nobody, and the module is initialised anew."""
    rules.set(Function.SIGN, Action.LIE, times=1)
    assert await caller.outcome(new_challenge()) == "hsm_signing_failed"
    assert await caller.outcome(new_challenge()) is None
    assert caller.witness.failures == [(WRONG_SIGNATURE, ErrorClass.TRANSIENT)]
    assert caller.witness.rungs == [(Rung.REINITIALISE, True)]


@pytest.mark.parametrize("function", [Function.SIGN_INIT, Function.SIGN_LENGTH, Function.SIGN])
async def test_crash(function: Function, caller: Caller, rules: Rules) -> None:
    """A module that crashes at a signature costs that one; the next is signed by another worker."""
    rules.set(function, Action.ABORT, times=1)
    challenge = new_challenge()
    assert await caller.outcome(challenge) == "hsm_unavailable"
    assert await caller.outcome(challenge) == "hsm_request_refused"
    assert await caller.outcome(new_challenge()) is None
    assert caller.witness.healed == [Rung.RESTART]


@pytest.mark.parametrize("function", [Function.SIGN_INIT, Function.SIGN])
async def test_hang(function: Function, ruled: Hsm, token: Token, rules: Rules, tmp_path: Path) -> None:
    """A module that hangs at a signature is ended with its worker at the deadline; the next one is signed."""
    # The next one waits for another worker, and no longer than that.
    async with calling(ruled, token, tmp_path, 4.0) as caller:
        rules.set(function, Action.HANG, times=1)
        assert await caller.outcome(new_challenge()) == "hsm_timeout"
        assert await caller.outcome(new_challenge()) is None
        assert caller.witness.healed == [Rung.RESTART]


async def test_slow_signature(caller: Caller, rules: Rules) -> None:
    """A signature that takes long, but not too long, is a signature."""
    rules.set(Function.SIGN, Action.DELAY, 600)
    assert await caller.outcome(new_challenge()) is None
    assert caller.witness.failures == []
