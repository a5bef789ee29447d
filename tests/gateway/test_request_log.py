"""The line of each request: who reads a number out is found, and nobody can fill the log."""

import logging
from pathlib import Path

import pytest

from appliance.errors import CardAbsent
from appliance.gateway.ration import LINES
from appliance.gateway.request_log import RequestLog
from tests.gateway.house import peer, services, serving


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Return what is logged on the level that a service has."""
    caplog.set_level(logging.INFO, "appliance.gateway")
    return caplog


def answered(log: RequestLog, *, peer: str | None = None, failure: Exception | None = None) -> None:
    """Have a request told of."""
    log.answered("GET", "/v1/terminals", 403, failure=failure, seconds=0.0123, peer=peer)


def test_the_line_has_the_code(lines: pytest.LogCaptureFixture) -> None:
    """A refusal is found by the code that its caller was told; a bug of ours is `internal`."""
    log = RequestLog(lambda: 0.0)
    answered(log, peer="reception-1")
    answered(log, peer="reception-1", failure=CardAbsent("nothing"))
    answered(log, peer="reception-1", failure=RuntimeError("secret"))
    assert [message.split(" code=")[1] for message in lines.messages] == [
        f"{code} milliseconds=12 peer=reception-1" for code in ("-", "card_absent", "internal")
    ]


def test_strangers_cannot_fill_the_log(lines: pytest.LogCaptureFixture) -> None:
    """So many lines in a minute; the next minute says how many were left out. Who is known is always told of."""
    now = 0.0
    log = RequestLog(lambda: now)
    for _ in range(LINES + 5):
        answered(log)
    assert len(lines.messages) == LINES
    answered(log, peer="reception-1")
    assert lines.messages[-1].endswith("peer=reception-1")
    now = 60.0
    answered(log)
    assert lines.messages[-2:][0] == "requests of strangers left out count=5"
    assert len(lines.messages) == LINES + 3


@pytest.mark.parametrize("by", ["a peer", "a load balancer", "the end"])
def test_what_was_left_out_is_told_although_no_stranger_comes_again(
    by: str, lines: pytest.LogCaptureFixture
) -> None:
    """Once, by whatever comes next; also where the appliance ends before."""
    now = 0.0
    log = RequestLog(lambda: now)
    for _ in range(LINES + 5):
        answered(log)
    now = 60.0
    for _ in range(2):
        if by == "a peer":
            answered(log, peer="reception-1")
        elif by == "a load balancer":
            log.opened("/healthz", 200)
        else:
            log.close()
    assert [line for line in lines.messages if "left out" in line] == [
        "requests of strangers left out count=5"
    ]


async def test_what_was_left_out_is_told_at_the_end(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    """A gateway that ends within the minute tells it as well."""
    async with serving(services([]), tmp_path) as house, house.session() as session:
        for _ in range(LINES + 1):
            async with session.get("/v1/terminals") as answer:
                assert answer.status == 403
    assert lines.messages[-1] == "requests of strangers left out count=1"


async def test_who_is_nobody_here_is_in_the_log(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    """An account that was forgotten in the configuration, and a page of somebody else's, are found by their number."""
    async with serving(services([]), tmp_path) as house, house.session().get("/v1/terminals") as answer:
        assert answer.status == 403
    assert "resource=/v1/terminals status=403 code=peer_unknown" in lines.messages[-1]
    assert lines.messages[-1].endswith("peer=-")


async def test_open_resources_are_not_told_of(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    """A load balancer asks each second."""
    async with serving(services([peer()]), tmp_path) as house, house.session().get("/healthz") as answer:
        assert answer.status == 200
    assert lines.messages == []
