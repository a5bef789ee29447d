"""The collector of cycles no longer looks at what lives as long as the daemon, and what is gone is gone."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from appliance.daemon.memory import settle


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
