"""The collector of cycles no longer looks at what lives as long as the daemon, and what is gone is gone."""

import asyncio
import gc
import os
import signal
import weakref
from collections.abc import Callable, Iterator

import pytest

from appliance.daemon.memory import settle
from appliance.daemon.serve import Daemon
from tests.daemon.process import SECONDS, Site


class Ring:
    """Refers to itself: only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """Leave the collector as it was."""
    yield
    gc.unfreeze()


def test_what_is_there_is_looked_at_no_more() -> None:
    """A full collection does not walk over it."""
    kept = Ring()
    settle()
    assert not any(one is kept for one in gc.get_objects())
    assert gc.get_freeze_count() > 0


def test_what_was_gone_is_collected_before() -> None:
    """Nothing that is gone is kept for ever."""
    gone = weakref.ref(Ring())
    settle()
    assert gone() is None


def test_a_ring_that_was_frozen_is_freed_the_next_time() -> None:
    """What an earlier configuration left goes when a new one counts."""
    ring = Ring()
    watched = weakref.ref(ring)
    settle()
    del ring
    gc.collect()
    assert watched() is not None  # frozen
    settle()
    assert watched() is None


async def until(reached: Callable[[], bool]) -> None:
    """Wait until *reached* is true."""
    async with asyncio.timeout(SECONDS):
        while not reached():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


async def test_a_daemon_settles_at_its_start_and_after_a_reload(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it has when it is ready is frozen, and again when another configuration counts."""
    caplog.set_level("INFO")
    monkeypatch.setenv("PCSCLITE_CSOCK_NAME", str(site.pcscd.socket_path))
    gc.unfreeze()
    serving = asyncio.create_task(Daemon(site.file, {}).run())
    try:
        await until(lambda: serving.done() or "ready version=" in caplog.text)
        await until(lambda: serving.done() or gc.get_freeze_count() > 0)
        assert not serving.done()
        gc.unfreeze()
        assert gc.get_freeze_count() == 0
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: serving.done() or "configuration read again" in caplog.text)
        await until(lambda: serving.done() or gc.get_freeze_count() > 0)
    finally:
        if not serving.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await serving
