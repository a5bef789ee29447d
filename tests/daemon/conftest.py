"""A site with a software card and a private pcscd, and a daemon that runs there."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.simulator.pcscd import PrivatePcscd
from tests.daemon.process import Daemon, Site, started


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site of the module's own. Its path is short, because sockets are in it."""
    with (
        tempfile.TemporaryDirectory(prefix="site-") as folder,
        PrivatePcscd(["Virtual PCD"]) as pcscd,
    ):
        yield Site.made(Path(folder) / "site", pcscd)


@pytest.fixture(scope="module")
def daemon(site: Site) -> Iterator[Daemon]:
    """A daemon at the module's site, ready to serve, which the tests of the module share."""
    with tempfile.TemporaryDirectory(prefix="daemon-") as folder, started(site, Path(folder)) as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path."""
    with tempfile.TemporaryDirectory(prefix="daemon-") as name:
        yield Path(name)
