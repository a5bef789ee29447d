"""The collector of cycles no longer looks at what lives as long as the daemon, and what is gone is gone."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.daemon.memory import settle
from tests.daemon.process import SECONDS, Site

ROOT = Path(__file__).parents[2]


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


def test_a_daemon_settles_at_its_start_and_after_a_reload(site: Site) -> None:
    """What it has is frozen before anybody can ask, and again when another configuration counts."""
    done = subprocess.run(
        (sys.executable, "-m", "tests.daemon.settling", str(site.file)),
        cwd=ROOT,
        env=site.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * SECONDS,
    )
    told = ["at the start, closed", "after a reload, open"]
    assert (done.returncode, done.stdout.splitlines()) == (0, told), done.stderr
