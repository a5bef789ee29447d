"""Ports that are chosen before anybody listens there: nobody has them, and the system gives them to nobody."""

import socket
from pathlib import Path

import pytest

from appliance.cli.benches.daemon import site
from appliance.simulator import ports
from tests.daemon import process


def test_a_port_that_somebody_has_is_not_chosen() -> None:
    """Of two neighbours the other one is, and none where both are taken."""
    first = ports.free(process.PORTS)
    with socket.create_server(("127.0.0.1", first)):
        assert not ports.is_free(first)
        with pytest.raises(OSError, match=f"{first} to {first}"):
            ports.free(range(first, first + 1))
    assert ports.is_free(first)


def test_the_system_gives_them_to_nobody() -> None:
    """Who connects, or listens wherever it may be, gets another port; neither do the bench and the tests share any."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    assert max(*process.PORTS, *site.PORTS) < lowest
    assert not {*process.PORTS} & {*site.PORTS}


def test_no_two_tests_get_one() -> None:
    """A daemon that does not run at the moment still finds its port when it starts again."""
    given = [process.free_port() for _ in range(10)]
    assert len({*given}) == 10
    assert {*given} <= {*process.PORTS}
