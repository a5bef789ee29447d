"""What all resources have in common, over a real socket: ids, problems, strict input, limits, and hostile bytes."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import BudgetSettings
from appliance.errors import RequestMalformed
from appliance.gateway import http, request_id
from appliance.gateway.connections import Limits
from appliance.gateway.http import parse_json
from appliance.gateway.verification import TokenQuestion
from tests.gateway.house import House, condition, peer, services, serving, until

GET = b"GET /healthz HTTP/1.1\r\nHost: appliance\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: appliance\r\nConnection: close\r\n\r\n"
ALIVE = b'{"alive":true}'
VERIFY = "/v1/tokens/verify"
JSON = {"Content-Type": "application/json"}


async def told(answer: aiohttp.ClientResponse) -> tuple[int, str]:
    """Return status and code of a problem, which it has to be."""
    assert answer.content_type == "application/problem+json", await answer.text()
    content = await answer.json(content_type=None)
    assert content["status"] == answer.status
    assert content["request_id"] == answer.headers["X-Request-Id"]
    return answer.status, content["code"]


# --- ids and problems ----------------------------------------------------------------------------------------------


async def test_every_answer_has_an_id_and_the_headers_of_all_answers(tmp_path: Path) -> None:
    """Successes and failures alike: not to be kept, not to be guessed at, and by nobody's software."""
    async with serving(services([peer()]), tmp_path) as house:
        session, ids = house.session(), set()
        for path in ("/healthz", "/v1/terminals", "/nowhere"):
            async with session.get(path) as answer:
                ids.add(answer.headers["X-Request-Id"])
                assert answer.headers["Cache-Control"] == "no-store"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert "Server" not in answer.headers
        assert len(ids) == 3


@pytest.mark.parametrize(
    ("offered", "is_taken"),
    [("visit-4711", True), ("a" * 64, True), ("short", False), ("a" * 65, False), ("-begins-wrong", False)],
)
async def test_a_callers_id_is_taken_where_it_is_one(offered: str, is_taken: bool, tmp_path: Path) -> None:  # noqa: FBT001  # a parameter of the test
    """An id of the right shape is repeated, anything else replaced: it stands in log lines."""
    async with (
        serving(services([peer()]), tmp_path) as house,
        house.session().get("/healthz", headers={"X-Request-Id": offered}) as answer,
    ):
        assert (answer.headers["X-Request-Id"] == offered) is is_taken


async def test_every_line_of_the_log_has_the_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is logged for a request names it, who asked, and the resource; never the caller's own words."""
    caplog.set_level(logging.INFO, "appliance.gateway")
    caplog.handler.addFilter(request_id.LogFilter())
    async with serving(services([peer()]), tmp_path) as house:
        session = house.session()
        async with session.get("/v1/terminals", headers={"X-Request-Id": "visit-4711"}) as answer:
            assert answer.status == 200
        async with session.get("/secret%0aforged?pin=1234") as answer:
            assert await told(answer) == (404, "resource_absent")
    lines = [(record.__dict__["request_id"], record.getMessage()) for record in caplog.records]
    assert lines[0][0] == "visit-4711"
    assert "resource=/v1/terminals status=200" in lines[0][1]
    assert "peer=reception-1" in lines[0][1]
    assert not any("secret" in line or "1234" in line for _, line in lines)


async def test_what_is_not_there_and_what_is_not_meant_are_problems(tmp_path: Path) -> None:
    """404, 405 with the methods that are known, and an expectation nobody fulfils."""
    async with serving(services([peer()]), tmp_path) as house:
        session = house.session()
        async with session.get("/v1/nothing") as answer:
            assert await told(answer) == (404, "resource_absent")
        async with session.put("/healthz") as answer:
            assert await told(answer) == (405, "method_refused")
            assert answer.headers["Allow"] == "GET"
        async with session.head("/v1/terminals") as answer:
            assert answer.status == 405
        async with session.get("/v1/terminals?a=1") as answer:
            assert await told(answer) == (400, "request_malformed")
        async with session.get("/healthz", headers={"Expect": "miracles"}) as answer:
            assert await told(answer) == (400, "request_malformed")


async def test_problems_speak_the_readers_language(tmp_path: Path) -> None:
    """Accept-Language decides, and the answer says what it is in."""
    async with serving(services([peer()]), tmp_path) as house:
        session = house.session()
        for asked, language, end in (("ja", "ja", "。"), ("en", "en", "."), ("fr", "en", ".")):
            async with session.get("/nowhere", headers={"Accept-Language": asked}) as answer:
                assert answer.headers["Content-Language"] == language
                assert (await answer.json(content_type=None))["title"].endswith(end)


async def test_a_bug_is_told_without_what_it_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """500 `internal` with the id; the traceback is in the log, under that id, and nowhere else."""

    async def broken(_request: web.Request) -> web.Response:
        raise ZeroDivisionError("with a secret in it")

    caplog.handler.addFilter(request_id.LogFilter())
    route = web.post("/v1/authentications", broken)
    async with (
        serving(services([peer()]), tmp_path, more=[route]) as house,
        house.session().post("/v1/authentications") as answer,
    ):
        assert await told(answer) == (500, "internal")
        assert "secret" not in await answer.text()
        failed = [record for record in caplog.records if record.exc_info]
        assert [record.__dict__["request_id"] for record in failed] == [answer.headers["X-Request-Id"]]


async def test_an_answer_that_fails_in_its_middle_breaks_off(tmp_path: Path) -> None:
    """No second answer follows the first: the caller sees that it is not whole."""

    async def breaking(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"the first half")
        raise ZeroDivisionError

    route = http.get("/v1/authentications/{id}", breaking)
    async with serving(services([peer()]), tmp_path, more=[route]) as house:
        answer = await house.raw(b"GET /v1/authentications/x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.count(b"HTTP/1.1") == 1
        assert answer.endswith(b"e\r\nthe first half\r\n")


# --- input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b'{"token":"a","more":1}', JSON, (400, "request_malformed")),
        (b'{"token":1}', JSON, (400, "request_malformed")),
        (b'{"token":"a"', JSON, (400, "request_malformed")),
        (b'{"token":"\xff"}', JSON, (400, "request_malformed")),
        (b"[" * 10_000, JSON, (400, "request_malformed")),
        (b"", JSON, (400, "request_malformed")),
        (b'{"token":"a"}', {"Content-Type": "text/plain"}, (415, "media_type_refused")),
        (b'{"token":"a"}', {"Content-Type": "application/json; charset=utf-16"}, (415, "media_type_refused")),
        (b'{"token":"a"}', JSON | {"Content-Encoding": "gzip"}, (415, "media_type_refused")),
        (b" " * (16 << 10) + b"1", JSON, (413, "request_too_large")),
        (b'{"token":"a"}', JSON, (422, "token_invalid")),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_bodies_are_taken_strictly(
    body: bytes, headers: dict[str, str], expected: tuple[int, str], tmp_path: Path
) -> None:
    """Unknown members, other types, broken or endless JSON, other media types, packed and oversized bodies."""
    async with (
        serving(services([peer()]), tmp_path) as house,
        house.session().post(VERIFY, data=body, headers=headers) as answer,
    ):
        assert await told(answer) == expected


@given(
    body=st.binary(max_size=100)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    """Any bytes are what is expected, or our error, and nothing else."""
    try:
        parse_json(body, TokenQuestion)
    except RequestMalformed:
        return


async def test_a_body_without_a_length_is_bounded_too(tmp_path: Path) -> None:
    """A chunked body ends where it gets too long, not when its sender likes."""

    async def endless() -> Any:  # noqa: ANN401  # an asynchronous generator, as aiohttp takes it
        while True:
            yield b" " * 4096

    async with serving(services([peer()]), tmp_path) as house:
        try:
            async with house.session().post(VERIFY, data=endless(), headers=JSON) as answer:
                assert await told(answer) == (413, "request_too_large")
        except aiohttp.ClientError:
            # It was cut off while it was still sending, which is as good.
            pass


# --- budgets, draining, readiness ----------------------------------------------------------------------------------


async def test_who_has_used_up_the_budget_is_told_when_to_come_again(tmp_path: Path) -> None:
    """429 with Retry-After; what is open, and looking, go on."""
    offered = services([peer(budget=BudgetSettings(per_minute=2))])
    async with serving(offered, tmp_path) as house:
        session, body = house.session(), b'{"token":"a"}'
        for _ in range(2):
            async with session.post(VERIFY, data=body, headers=JSON) as answer:
                assert answer.status == 422
        async with session.post(VERIFY, data=body, headers=JSON) as answer:
            assert await told(answer) == (429, "budget_spent")
            assert answer.headers["Retry-After"] == "30"
        for path in ("/healthz", "/v1/terminals"):
            async with session.get(path) as answer:
                assert answer.status == 200


async def test_what_does_not_exist_costs_too(tmp_path: Path) -> None:
    """Who tries addresses out comes to an end."""
    async with serving(services([peer(budget=BudgetSettings(per_minute=1))]), tmp_path) as house:
        session = house.session()
        statuses = []
        for _ in range(12):
            async with session.get("/nowhere") as answer:
                statuses.append(answer.status)
        assert statuses == [404] * 10 + [429] * 2


async def test_nothing_new_begins_while_it_drains(tmp_path: Path) -> None:
    """503 with Retry-After for what would begin; results can still be fetched."""

    async def begun(_request: web.Request) -> web.Response:
        return web.Response(status=201)

    route = web.post("/v1/authentications", begun)
    async with serving(services([peer()]), tmp_path, more=[route]) as house:
        session = house.session()
        async with session.post("/v1/authentications") as answer:
            assert answer.status == 201
        house.services.is_draining = True
        async with session.post("/v1/authentications") as answer:
            assert await told(answer) == (503, "gateway_draining")
            assert int(answer.headers["Retry-After"]) >= 1
            # A load balancer can send only a new connection elsewhere.
            assert answer.headers["Connection"] == "close"
        async with session.get("/v1/terminals") as answer:
            assert answer.status == 200
        async with session.get("/readyz") as answer:
            assert (answer.status, (await answer.json())["causes"]) == (503, ["draining"])


@pytest.mark.parametrize("part", ["hsm", "ledger", "revocation"])
async def test_readiness_names_what_is_missing_and_life_goes_on(part: str, tmp_path: Path) -> None:
    """Each part alone makes it not ready; it lives all the same, and the operator sees the rest."""
    offered = services([peer(role="operator")], how=lambda: condition(**{part: False}))
    async with serving(offered, tmp_path) as house:
        session = house.session()
        async with session.get("/readyz") as answer:
            assert answer.status == 503
            assert await answer.json() == {"ready": False, "causes": [part]}
            assert answer.headers["Retry-After"]
        async with session.get("/healthz") as answer:
            assert answer.status == 200
        async with session.get("/v1/status") as answer:
            content = await answer.json()
            assert (content["ready"], content["causes"]) == (False, [part])
            assert content["condition"]["ledger"]["size"] == 12


# --- hostile bytes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def quick() -> Limits:
    """Return limits that a test can wait for."""
    return Limits(connections=8, each=4, head_seconds=0.2, write_seconds=0.2, keepalive_seconds=0.5)


async def alive(house: House) -> None:
    """Check that it still answers."""
    assert ALIVE in await house.raw(LAST)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00" * 5000 + b"\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHo\x00st: a\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 500 + b"\r\n",
        b"POST /v1/tokens/verify HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/tokens/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 1e9\r\n\r\n",
        b"POST /v1/tokens/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /v1/tokens/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/tokens/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:40]),
)
async def test_what_is_no_http_gets_a_problem_and_the_connection_ends(
    sent: bytes, tmp_path: Path, quick: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    """Other protocols, broken lines, endless heads, lengths that contradict: 400 or 413, no traceback, no hang."""
    async with serving(services([peer()]), tmp_path, limits=quick) as house:
        # What follows must never be taken for a request of its own.
        answer = await house.raw(sent + GET)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split(b" ")[1] in {b"400", b"413"}
        assert json.loads(body)["code"] in {"request_malformed", "request_too_large"}
        assert ALIVE not in answer
        await alive(house)
    assert not [record for record in caplog.records if record.exc_info]


@given(sent=st.binary(min_size=1, max_size=400))
def test_any_bytes_get_a_problem_or_a_close(sent: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is sent, the connection ends, with a problem or without, and never with a traceback."""

    async def ask() -> bytes:
        folder = tmp_path_factory.mktemp("any")
        async with serving(services([]), folder, limits=Limits(head_seconds=0.05)) as house:
            return await house.raw(sent, eof=True)

    answer = asyncio.run(ask())
    assert answer == b"" or answer.startswith(b"HTTP/1.")
    assert b" 500 " not in answer.split(b"\r\n")[0]


async def test_a_head_that_does_not_end_is_ended(tmp_path: Path, quick: Limits) -> None:
    """One byte now and then keeps no connection open (slow loris), neither the first request nor a later one."""
    async with serving(services([peer()]), tmp_path, limits=quick) as house:
        for before in (b"", GET):
            reader, writer = await asyncio.open_unix_connection(str(house.path))
            writer.write(before)
            if before:
                assert ALIVE in await reader.readuntil(b"}")
            with pytest.raises(ConnectionError):  # noqa: PT012  # it is cut off at some byte
                for byte in b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 1000:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.02)
            writer.close()
        await alive(house)


async def test_a_body_that_does_not_come_is_a_problem(
    tmp_path: Path, quick: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408 after the body's time, and the connection ends."""
    monkeypatch.setattr(http, "BODY_SECONDS", 0.1)
    head = b"POST /v1/tokens/verify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    async with serving(services([peer()]), tmp_path, limits=quick) as house:
        answer = await house.raw(head + b"{")
        assert b" 408 " in answer.split(b"\r\n")[0]
        assert b"request_late" in answer


async def test_a_body_that_breaks_off_leaves_nothing_behind(
    tmp_path: Path, quick: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    """Half open, or gone in the middle of a body, or with a chunk that is none: an answer or a close, no traceback."""
    head = b"POST /v1/tokens/verify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    async with serving(services([peer()]), tmp_path, limits=quick) as house:
        await house.raw(head + b"Content-Length: 100\r\n\r\n{", eof=True)
        answer = await house.raw(head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{")
        assert b" 400 " in answer.split(b"\r\n")[0]
        await alive(house)
    assert not [record for record in caplog.records if record.exc_info]


async def test_who_does_not_read_is_cut_off(tmp_path: Path, quick: Limits) -> None:
    """Answers that nobody takes do not wait for ever."""

    async def much(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(8 << 20))

    route = http.get("/v1/authentications/{id}", much)
    async with serving(services([peer()]), tmp_path, limits=quick, more=[route]) as house:
        _reader, writer = await asyncio.open_unix_connection(str(house.path), limit=1024)
        writer.write(b"GET /v1/authentications/x HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: house.runner.door.inside == 1)
        await until(lambda: house.runner.door.inside == 0)
        writer.close()


async def test_silent_connections_end_by_themselves(tmp_path: Path, quick: Limits) -> None:
    """Who connects and says nothing, or nothing more, is let go."""
    async with serving(services([peer()]), tmp_path, limits=quick) as house:
        assert await house.raw() == b""
        assert (await house.raw(GET)).endswith(ALIVE)


async def test_requests_in_a_row_are_answered_in_order(tmp_path: Path, quick: Limits) -> None:
    """Pipelining works, and a broken request at its end gets its problem after the good answers."""
    async with serving(services([peer()]), tmp_path, limits=quick) as house:
        assert (await house.raw(GET * 20 + LAST)).count(ALIVE) == 21
        answer = await house.raw(GET * 3 + b"nonsense\r\n\r\n")
        assert answer.count(ALIVE) in range(4)
        assert b"request_malformed" in answer


async def test_nobody_takes_up_all_the_room(tmp_path: Path) -> None:
    """One account gets so many connections and no more; when one ends, there is room again."""
    limits = Limits(connections=8, each=4)
    async with serving(services([peer()]), tmp_path, limits=limits) as house:
        opened = [await asyncio.open_unix_connection(str(house.path)) for _ in range(limits.most_each)]
        for reader, writer in opened:
            writer.write(GET)
            assert ALIVE in await reader.readuntil(b"}")
        assert await house.raw(GET) == b""
        opened[0][1].close()
        await until(lambda: house.runner.door.inside < limits.most_each)
        await alive(house)
        for _, writer in opened:
            writer.close()
