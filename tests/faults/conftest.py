"""A bad day's parts: a token, an HSM across a wire, a module that follows rules, and a pool under load."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from appliance.hsm import softhsm
from appliance.hsm.messages import TokenSetup, fingerprint
from appliance.hsm.place import Hsm
from appliance.hsm.pool import Pool
from tests.faults.crowd import Crowd
from tests.faults.remote import CLIENT, P11KitServer
from tests.faults.witness import Witness
from tests.hsm.conftest import LOOPS, Token, no_process_left, provisioned, rules, shim, token
from tests.shim.rules import Rules

__all__ = ["no_process_left", "provisioned", "rules", "shim", "token"]

SIGN_SECONDS = 2.0
_ALONE = "SOAK_SECONDS" in os.environ
"""Whether no other tests keep the machine busy (`make soak`). Else times say nothing, but that it does not take for ever."""
PATIENCE = SIGN_SECONDS + (3.0 if _ALONE else 18.0)
"""No caller waits longer: the deadline of its request, and what busy cores may add."""
RETURN_SECONDS = 5.0 if _ALONE else 20.0
"""How soon after an HSM is back signatures come again."""
_LOOK_SECONDS = 0.002
"""How often to look: turning without a pause would take the processor from those who are waited for."""


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Have bad days on the daemon's loop."""
    return {"uvloop": LOOPS["uvloop"]}


@pytest.fixture
def setup(token: Token) -> TokenSetup:
    """What workers are told of the token; eight callers are more than any counter has."""
    return replace(token.setup, challenges_per_minute=100_000)


@pytest.fixture
def local(token: Token, setup: TokenSetup) -> Hsm:
    """The token as an HSM in the machine, with two workers."""
    return Hsm("local", setup, token.environment)


@pytest.fixture
def server(token: Token) -> Iterator[P11KitServer]:
    """A server for the token."""
    with P11KitServer(str(softhsm.MODULE), softhsm.TOKEN_LABEL, token.environment) as started:
        yield started


@pytest.fixture
def remote(setup: TokenSetup, server: P11KitServer) -> Hsm:
    """The token as an HSM across a wire."""
    return Hsm("remote", replace(setup, module=str(CLIENT)), server.environment)


@pytest.fixture
def ruled(token: Token, setup: TokenSetup, shim: Path, rules: Rules) -> Hsm:
    """The token behind the shim."""
    return Hsm("ruled", replace(setup, module=str(shim)), {**token.environment, **rules.environment})


@dataclass(frozen=True, slots=True)
class Day:
    """A pool that works, callers who keep it busy, and who is told what happens."""

    pool: Pool
    crowd: Crowd
    witness: Witness


@asynccontextmanager
async def busy(hsms: list[Hsm], token: Token, folder: Path, **options: Any) -> AsyncIterator[Day]:  # noqa: ANN401
    """Give a pool on *hsms* with eight callers at it, each of whom has had a signature or two."""
    witness = Witness()
    options = {"state": folder, "sign_seconds": SIGN_SECONDS, "observer": witness, **options}
    async with (
        Pool(hsms, **options) as pool,
        Crowd(signing(pool, hsms[0].setup), token.institution_key, patience=PATIENCE) as crowd,
    ):
        await crowd.signatures(20)
        yield Day(pool, crowd, witness)
        await crowd.signatures(20)


def signing(pool: Pool, setup: TokenSetup) -> "Signing":
    """Return what has *pool* sign a challenge with the preferred institution key of *setup*."""
    return Signing(pool, fingerprint(setup.institution_keys[0]))


@dataclass(frozen=True, slots=True)
class Signing:
    """Has *pool* sign challenges with *key*."""

    pool: Pool
    key: str

    async def __call__(self, challenge: bytes) -> bytes:
        """Return the signature."""
        return await self.pool.sign_challenge(challenge, self.key)


def worker_pids() -> list[int]:
    """Return the workers of this process: each leads a session of its own, which a server's child does not."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in map(int, children) if _leads_a_session(pid)]


def _leads_a_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Let the event loop turn until *condition* holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(_LOOK_SECONDS)
