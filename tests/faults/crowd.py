"""Callers who keep asking a pool for signatures while things go wrong, and a record of what each of them got."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.errors import ApplianceError
from tests.hsm.conftest import CHALLENGE_BYTES

_PAUSE_SECONDS = 0.02
"""How soon a caller who was refused comes again: people do not come back within microseconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a caller got who asked at *asked* and was answered at *answered*: a signature that verifies, or a *code*."""

    asked: float
    answered: float
    code: str | None = None

    @property
    def seconds(self) -> float:
        """How long the caller waited."""
        return self.answered - self.asked


class Crowd:
    """
    *callers* at once who have *sign* sign challenges, one after another each, until the context ends.

    A signature that *key* does not verify, and anything that is not an error of ours, fails the test. Nobody waits
    longer than *patience*.
    """

    def __init__(
        self,
        sign: Callable[[bytes], Awaitable[bytes]],
        key: rsa.RSAPublicKey,
        *,
        callers: int = 8,
        patience: float,
    ) -> None:
        self._sign = sign
        self._key = key
        self._callers = callers
        self._patience = patience
        self._ending = asyncio.Event()
        self._news = asyncio.Condition()
        self._tasks: asyncio.TaskGroup
        self.outcomes: list[Outcome] = []

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        for _ in range(self._callers):
            self._tasks.create_task(self._call())
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._ending.set()
        await self._tasks.__aexit__(*raised)  # type: ignore[arg-type]  # what a context manager is given

    @property
    def codes(self) -> Counter[str | None]:
        """How often each answer was given; None is a signature."""
        return Counter(outcome.code for outcome in self.outcomes)

    async def until(self, condition: Callable[[Outcome], bool], seconds: float = 20.0) -> Outcome:
        """Wait for an outcome, from now on, that fulfils *condition*."""
        seen = len(self.outcomes)
        async with asyncio.timeout(seconds), self._news:
            while True:
                for outcome in self.outcomes[seen:]:
                    if condition(outcome):
                        return outcome
                seen = len(self.outcomes)
                await self._news.wait()

    async def signatures(self, number: int) -> None:
        """Wait until *number* more signatures have come."""
        wanted = self.codes[None] + number
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: self.codes[None] >= wanted)

    async def _call(self) -> None:
        while not self._ending.is_set():
            outcome = await self._ask()
            async with self._news:
                self.outcomes.append(outcome)
                self._news.notify_all()
            if outcome.code is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), _PAUSE_SECONDS)

    async def _ask(self) -> Outcome:
        clock = asyncio.get_running_loop().time
        challenge = os.urandom(CHALLENGE_BYTES)
        asked = clock()
        try:
            async with asyncio.timeout(self._patience):
                signature = await self._sign(challenge)
        except ApplianceError as error:
            return Outcome(asked, clock(), error.code)
        answered = clock()
        self._key.verify(signature, challenge, padding.PKCS1v15(), SHA256())
        return Outcome(asked, answered)
