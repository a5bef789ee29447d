"""The queue before the HSMs, where crews come and go and nobody has a worker."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from appliance.errors import HsmRequestRefused
from appliance.hsm.crews.crew import Crew
from appliance.hsm.crews.dispatch import Dispatch
from appliance.hsm.crews.line import Job
from appliance.hsm.messages import Signature, SignChallenge
from appliance.hsm.observer import Unobserved

CHALLENGE = b"0123456789abcdef"


class FakeLine:
    """Takes one job, and keeps it."""

    def __init__(self) -> None:
        self.given: list[Job] = []
        self.load = 0

    def give(self, job: Job) -> None:
        """Keep *job*."""
        self.given.append(job)


class FakeCrew:
    """An HSM that holds *key*, with workers or without."""

    refusing = False
    cause = terms = None

    def __init__(self, key: str) -> None:
        self.key = key
        self.lines: list[Any] = []
        self.busy = False

    def holds(self, key: str | None) -> bool:
        """Whether it is its key."""
        return key in {None, self.key}

    def free_line(self) -> FakeLine | None:
        """Return a line unless busy."""
        return None if self.busy else self.lines[0]

    def demand(self) -> None:
        """Ignore."""


def crew(key: str) -> tuple[FakeCrew, tuple[Crew, ...]]:
    """Return a fake for *key*, and the same as a dispatch takes it."""
    fake = FakeCrew(key)
    return fake, (cast("Crew", fake),)


@pytest.fixture
async def dispatch() -> AsyncIterator[Dispatch]:
    """A queue in which a request may wait for five seconds."""
    made = Dispatch(5.0, 8, Unobserved(), time.monotonic)
    yield made
    made.close()


async def _asked(dispatch: Dispatch, key: str) -> "asyncio.Task[Signature]":
    asking = asyncio.create_task(dispatch.ask(SignChallenge(CHALLENGE, key), key, Signature))
    await asyncio.sleep(0)
    return asking


async def test_request_for_a_key_that_leaves_is_refused(dispatch: Dispatch) -> None:
    """Who waits for a key that the last HSM takes along hears so at once, and the change goes on."""
    _, old = crew("old")
    _, new = crew("new")
    dispatch.crews = old
    waiting = await _asked(dispatch, "old")
    dispatch.left(dispatch.succeed(new))
    with pytest.raises(HsmRequestRefused, match="holds"):
        await waiting
    assert (dispatch.all, dispatch.queued) == (new, 0)


async def test_challenge_that_is_brought_twice_is_given_once(dispatch: Dispatch) -> None:
    """Two callers with one challenge who wait together: a worker gets it once, and the second caller is refused."""
    fake, crews = crew("key")
    line = FakeLine()
    fake.lines.append(line)
    fake.busy = True
    dispatch.crews = crews
    first, second = await _asked(dispatch, "key"), await _asked(dispatch, "key")
    fake.busy = False
    dispatch._pump()
    with pytest.raises(HsmRequestRefused, match="before"):
        await second
    assert len(line.given) == 1
    first.cancel()
