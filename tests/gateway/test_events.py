"""How an authentication goes on, as server-sent events over a real socket."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.gateway.events import event, last_seen
from tests.gateway.reception import LONG, Reception

PINLESS = {
    "desk": "desk-1",
    "mode": "pinless",
    "identity_check": {"method": "face", "device": "face-1"},
}
PIN = {"desk": "desk-1", "mode": "pin"}


async def told(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a stream, comments among them."""
    block: dict[str, Any] = {}
    async for line in answer.content:
        name, _, value = line.decode().rstrip("\n").partition(":")
        if name or value:
            block[name or "comment"] = value.strip()
        elif line == b":\n":
            block["comment"] = ""
        elif block:
            yield block
            block = {}


async def next_event(stream: AsyncIterator[dict[str, Any]], name: str | None) -> dict[str, Any]:
    """Return the next block of *stream* with the event *name*, or the next comment for None."""
    async with asyncio.timeout(LONG):
        async for block in stream:
            if block.get("event") == name and (name is not None or "comment" in block):
                return block
    raise AssertionError(f"the stream ended without '{name}'")


def test_an_event_is_text_of_three_lines() -> None:
    """Its data is one line, whatever is in it."""
    assert event("stage", 3, {"stage": "a\nb"}) == b'event: stage\nid: 3\ndata: {"stage":"a\\nb"}\n\n'


@given(st.none() | st.text(max_size=12) | st.integers(-9, 10**12).map(str))
def test_any_header_is_a_number_or_nothing(header: str | None) -> None:
    """What is none of our numbers counts as nothing seen."""
    assert -1 <= last_seen(header) < 10**9


async def test_the_stages_are_told_and_then_the_end(reception: Reception) -> None:
    """A follower sees each stage that lasts, and at the end the very answer that a GET gives; then the stream ends."""
    points = ("waiting-for-card", "waiting-for-pin", "deciding")
    reception.gates.close("waiting-for-card")
    at = await reception.begin(PIN)
    async with reception.mine.get(f"{at}/events") as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        stream = told(answer)
        stages = []
        for point, after in zip(points, (*points[1:], None), strict=True):
            block = await next_event(stream, "stage")
            while json.loads(block["data"])["stage"] != point:
                block = await next_event(stream, "stage")
            stages.append(point)
            reception.gates.pass_on(point, closing=after)
        done = await next_event(stream, "done")
        assert [block async for block in stream] == []
    assert stages == list(points)
    assert json.loads(done["data"]) == await reception.end(at)
    assert json.loads(done["data"])["state"] == "authenticated"


async def test_who_comes_after_the_end_is_told_the_end(reception: Reception) -> None:
    """A late follower gets the end at once, and nothing of what was before."""
    at = await reception.begin(PINLESS)
    ended = await reception.end(at)
    async with reception.mine.get(f"{at}/events") as answer:
        blocks = [block async for block in told(answer)]
    assert [block.get("event") for block in blocks] == [None, "done"]
    assert json.loads(blocks[1]["data"]) == ended


async def test_who_comes_back_gets_what_is_newer(reception: Reception) -> None:
    """With the number of the last event nothing is told twice, and once all is told, 204 keeps a browser away."""
    reception.gates.close("talking")
    at = await reception.begin(PINLESS)
    await reception.gates.reached("talking")
    async with reception.mine.get(f"{at}/events") as answer:
        first = await next_event(told(answer), "stage")
    headers = {"Last-Event-ID": first["id"]}
    async with reception.mine.get(f"{at}/events", headers=headers) as answer:
        stream = told(answer)
        reception.gates.open()
        done = await next_event(stream, "done")
    assert int(done["id"]) > int(first["id"])
    async with reception.mine.get(f"{at}/events", headers={"Last-Event-ID": done["id"]}) as answer:
        assert (answer.status, await answer.read()) == (204, b"")


@pytest.mark.parametrize("header", ["x", "-1", "999999999999", "4294967"])
async def test_a_number_that_we_never_told_is_nothing(header: str, reception: Reception) -> None:
    """Whoever comes with another number is told how it stands."""
    reception.gates.close("talking")
    at = await reception.begin(PINLESS)
    await reception.gates.reached("talking")
    async with reception.mine.get(f"{at}/events", headers={"Last-Event-ID": header}) as answer:
        assert json.loads((await next_event(told(answer), "stage"))["data"]) == {"stage": "talking"}


async def test_a_quiet_stream_shows_that_it_lives(reception: Reception) -> None:
    """A comment comes now and then as long as nothing happens."""
    reception.authentications.heartbeat_seconds = 0.02
    reception.gates.close("talking")
    at = await reception.begin(PINLESS)
    async with reception.mine.get(f"{at}/events") as answer:
        stream = told(answer)
        for _ in range(3):
            assert (await next_event(stream, None))["comment"] == ""


async def test_a_reader_who_does_not_read_holds_nobody_up(reception: Reception) -> None:
    """The authentication ends, others are told, and the one who does not read is left behind."""
    reception.authentications.heartbeat_seconds = 0.001
    reception.gates.close("talking")
    at = await reception.begin(PINLESS)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        await asyncio.to_thread(deaf.connect, str(reception.socket))
        deaf.sendall(f"GET {at}/events HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
        async with reception.mine.get(f"{at}/events") as answer:
            stream = told(answer)
            for _ in range(20):
                await next_event(stream, None)
            reception.gates.open()
            assert json.loads((await next_event(stream, "done"))["data"])["state"] == "authenticated"


async def test_a_follower_who_leaves_ends_nothing(reception: Reception) -> None:
    """The stream is closed in the middle, and the authentication goes on."""
    reception.authentications.heartbeat_seconds = 0.001
    reception.gates.close("talking")
    at = await reception.begin(PINLESS)
    async with reception.mine.get(f"{at}/events") as answer:
        await next_event(told(answer), None)
    reception.gates.open()
    assert (await reception.end(at))["state"] == "authenticated"


async def test_draining_ends_the_streams(reception: Reception) -> None:
    """Whoever follows is told of the end that the appliance's end brings."""
    reception.gates.close("talking")
    at = await reception.begin(PINLESS)
    async with reception.mine.get(f"{at}/events") as answer:
        stream = told(answer)
        await next_event(stream, "stage")
        await reception.jobs.drain(0)
        ended = json.loads((await next_event(stream, "done"))["data"])
    assert (ended["state"], ended["problem"]["code"]) == ("cancelled", "gateway_draining")
