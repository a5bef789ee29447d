"""What tests ask of a pool, and wait for."""

import asyncio
import os
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.hsm.pool import Pool
from tests.hsm.conftest import CHALLENGE_BYTES, Token

LOOK_SECONDS: Final = 0.002
"""How often to look: turning without a pause would take the processor from the workers that are waited for."""


def random_challenge() -> bytes:
    """Return what a card might ask."""
    return os.urandom(CHALLENGE_BYTES)


def verify(token: Token, signature: bytes, challenge: bytes) -> None:
    """Check the institution's *signature* over *challenge*."""
    token.institution_key.verify(signature, challenge, padding.PKCS1v15(), SHA256())


async def sign(pool: Pool, token: Token) -> None:
    """Have *pool* sign a challenge, and check what it gives."""
    challenge = random_challenge()
    verify(token, await pool.sign_challenge(challenge, token.key), challenge)


def pids(pool: Pool) -> set[int]:
    """Return the processes of the workers that are up."""
    return {line.child.pid for crew in pool._dispatch.all for line in crew.lines}


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until *condition* holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(LOOK_SECONDS)
