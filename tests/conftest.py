"""Parts that several test folders share: one test hierarchy, and one private pcscd with virtual readers."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.pki import Hierarchy

# How long an example takes says how busy the machine is, and nothing about the product.
settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def now() -> datetime:
    """The time at which all tests of this run take place."""
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="session")
def hierarchy(now: datetime) -> Hierarchy:
    """The one test hierarchy: making its keys takes time."""
    return Hierarchy.create(now)


@pytest.fixture(scope="session")
def hierarchy_folder(hierarchy: Hierarchy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the hierarchy was saved into; not to be changed."""
    folder = tmp_path_factory.mktemp("hierarchy")
    hierarchy.save(folder)
    return folder


@pytest.fixture(scope="session")
def private_pcscd() -> Iterator[PrivatePcscd]:
    """
    The one pcscd of this run, which this process and those it starts use from now on.

    There is one alone, because libpcsclite reads PCSCLITE_CSOCK_NAME once in a process. A test that stops it
    starts it again.
    """
    with (
        PrivatePcscd(["Test Reader 1", "Test Reader 2", "Test Reader 3"]) as pcscd,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setitem(os.environ, "PCSCLITE_CSOCK_NAME", str(pcscd.socket_path))
        yield pcscd
