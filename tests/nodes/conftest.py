"""A clinic of two nodes, which the tests of the module share: each leaves it as it found it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.simulator.pcscd import PrivatePcscd
from tests.ledger import server
from tests.nodes.clinic import Clinic, opened


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    """Two nodes that serve, and a balancer. The paths are short, because sockets are in them."""
    with (
        tempfile.TemporaryDirectory(prefix="nodes-") as folder,
        PrivatePcscd(["Virtual PCD"]) as pcscd,
        server.running() as database,
        opened(Path(folder), database, pcscd) as clinic,
    ):
        yield clinic
