"""The client against the daemon as it runs, and against what only pretends to be one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.conftest import daemon, site

__all__ = ["daemon", "place", "site"]


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a socket can be: its path is short."""
    with tempfile.TemporaryDirectory(prefix="client-") as folder:
        yield Path(folder) / "s"
