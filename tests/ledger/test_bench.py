"""What measures the ledger."""

from pathlib import Path

from appliance.ledger import bench

SMALL = 10_000
"""Entries of the log that a large one is compared with."""


def test_a_large_log_may_be_as_small_as_the_one_it_is_compared_with(tmp_path: Path) -> None:
    """The two logs are two, whatever their sizes, and each has its own cost."""
    growth = bench.growth(tmp_path, SMALL)
    assert (growth.small, growth.large) == (SMALL, SMALL)
    assert growth.small_seconds > 0
    assert growth.large_seconds > 0
    assert len(list(tmp_path.glob("*.sqlite3"))) == 2
