"""What becomes of a question where the line, or the other end, does not do what it should."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from pathlib import Path

import pytest
from aiohttp import web

from appliance.client import (
    ApplianceAnswerInvalid,
    ApplianceError,
    ApplianceLate,
    ApplianceUnreachable,
    AuthenticationCancelled,
    Client,
    FaceCheck,
    Front,
    Language,
    Network,
    Printed,
    Refused,
    Result,
    Socket,
    TokenInvalid,
    VisualCheck,
    blocking,
    told,
)
from appliance.client.exchange import LARGEST_ANSWER
from appliance.errors import ConfigInvalid
from tests.client.pretender import Play, cut, job, pretending, problem, says
from tests.client.tokens import KEY, NOW, OTHER, jwks, token

RUNNING, DONE = job("running"), job("authenticated", token=token())


async def authenticate(
    place: Path, keys: bytes | None = jwks(KEY), *, seconds: float = 20.0, evidence: bool = False
) -> Result:
    """Ask whoever is at *place*."""
    async with Client(Socket(place), audience="a", keys=keys, clock=lambda: NOW) as client:
        return await client.authenticate(
            "desk-1", "pinless", FaceCheck("kiosk-1"), nonce="n", seconds=seconds, evidence=evidence
        )


PRINTED = Printed(date(1980, 2, 17), 2031, "1234")


async def _to_be_compared(request: web.Request) -> web.Response:
    """Answer as an authentication that awaits a decision for ever."""
    if request.path.endswith("/front"):
        front = {"birth": "1980-02-17", "sex": "1", "expires": "2031-02-17"}
        return web.json_response({**front, **dict.fromkeys(("photo_png", "name_png", "address_png"), "")})
    waiting = job("running", stage="awaiting-decision")
    return web.json_response(waiting, status=201 if request.method == "POST" else 200)


@contextlib.asynccontextmanager
async def _answering(
    place: Path, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> AsyncIterator[None]:
    """Have *answer* answer whatever is asked at *place*."""
    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(place)).start()
        yield
    finally:
        await runner.cleanup()


async def test_lost_connections_cost_no_second_authentication(place: Path) -> None:
    """The same request goes out under the same key until it is answered, and waiting begins anew."""
    async with pretending(place, cut, cut, says(RUNNING, 201), cut, says(RUNNING), says(DONE)) as there:
        result = await authenticate(place)
    assert result.claims.sub == "s"
    posts = [one for one in there.heard if one[0] == "POST"]
    assert len(posts) == 3
    assert len(set(posts)) == 1
    assert posts[0][2] is not None
    assert [path.split("?")[0] for _, path, _, _ in there.heard[3:]] == ["/v1/authentications/job-1"] * 3


async def test_an_appliance_that_is_not_there_yet_is_waited_for(place: Path) -> None:
    """A restart takes seconds, for which nobody has to start again."""
    asking = asyncio.create_task(authenticate(place))
    await asyncio.sleep(0)
    async with pretending(place, says(DONE, 201)):
        assert (await asking).claims.sub == "s"


async def test_who_is_asked_to_come_again_does(place: Path) -> None:
    """After the seconds of Retry-After, with 429 and 503."""
    script = (problem("hsm_busy", 503, Retry_After="1"), problem("budget_spent", 429, Retry_After="1"))
    async with pretending(place, *script, says(DONE, 201)) as there:
        await authenticate(place)
    assert len(there.heard) == 3


@pytest.mark.parametrize(
    "play",
    [
        problem("hsm_unavailable", 503, Retry_After="600"),
        problem("certificate_expired", 422),
        problem("reader_busy", 409, Retry_After="1"),
        problem("a_code_of_tomorrow", 503),
    ],
)
async def test_a_refusal_comes_with_what_to_do(place: Path, play: Play) -> None:
    """Its code, the texts for people and the request's number, whether or not the code is known here."""
    async with pretending(place, play) as there:
        with pytest.raises(Refused) as caught:
            await authenticate(place)
    assert len(there.heard) == 1
    error = caught.value
    shown = told(error, Language.JA)
    assert (shown.code, shown.title, shown.clerk, shown.operator) == (error.problem.code, "T", "C", "O")
    assert (error.code, error.request_id, shown.request_id) == (shown.code, "request-1", "request-1")


async def test_a_refused_authentication_is_one_as_well(place: Path) -> None:
    """Whether the request or the authentication is refused makes no difference to who asked."""
    members = {"status": 422, "code": "pin_rejected", "title": "T", "clerk": "C", "operator": "O"}
    refused = job("refused", problem={**members, "request_id": "request-2", "tries_left": 2})
    async with pretending(place, says(refused, 201)):
        with pytest.raises(Refused) as caught:
            await authenticate(place)
    assert (caught.value.code, caught.value.problem.tries_left) == ("pin_rejected", 2)


@pytest.mark.parametrize(
    "play",
    [
        says({}),
        says([]),
        says(job("finished")),
        says(job("authenticated")),
        says({**RUNNING, "id": "../../healthz"}),
        says({"code": "x"}, 500),
        says(DONE, 302, Location="http://elsewhere.test/"),
        lambda _: web.Response(body=b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"}),
        lambda _: web.Response(body=b"{" + b" " * LARGEST_ANSWER),
        lambda _: web.Response(body=b'"\xff"'),
        lambda _: web.Response(body=b"[" * 100_000),
        lambda _: web.Response(status=422, content_type="application/problem+json", body=b"{}"),
    ],
)
async def test_an_answer_that_is_none_is_refused(place: Path, play: Play) -> None:
    """Of another shape, packed, endless, or sending us elsewhere: our error, and nobody is followed."""
    async with pretending(place, play) as there:
        with pytest.raises(ApplianceAnswerInvalid) as caught:
            await authenticate(place)
    # What it has begun, if anything, is cancelled; else there is nothing more to ask of it.
    assert [one[:2] for one in there.heard if one[0] != "DELETE"] == [("POST", "/v1/authentications")]
    assert {one[1] for one in there.heard} == {"/v1/authentications"}
    assert caught.value.request_id
    assert told(caught.value, Language.EN).clerk


async def test_what_is_no_http_is_no_answer(place: Path) -> None:
    """It is asked again while there is time, and then told of."""

    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.jp ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(babble, place)
    with pytest.raises(ApplianceUnreachable):
        await authenticate(place, seconds=0.5)
    server.close()
    await server.wait_closed()


async def test_nobody_there_is_told_in_time(place: Path) -> None:
    """With the kind of failure, and no more words of the library's."""
    with pytest.raises(ApplianceUnreachable) as caught:
        await authenticate(place, seconds=0.5)
    assert told(caught.value, Language.JA).code == "appliance_unreachable"


async def test_who_gives_up_has_it_cancelled(place: Path) -> None:
    """At the end of the time limit, the card is let go of."""
    async with pretending(place, says(RUNNING, 201), says(RUNNING)) as there:
        with pytest.raises(ApplianceLate):
            await authenticate(place, seconds=0.3)
    assert there.heard[-1][:3] == ("DELETE", "/v1/authentications", there.heard[0][2])


async def test_who_never_had_an_answer_has_it_cancelled_all_the_same(place: Path) -> None:
    """The request may have arrived: what it has begun, or will begin, is cancelled by its key, and insistently."""
    heard: list[tuple[str, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        heard.append((request.method, request.headers.get("Idempotency-Key")))
        methods = [method for method, _ in heard]
        if request.method == "POST" or methods.count("DELETE") == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=204)

    async with _answering(place, answer):
        with pytest.raises(ApplianceUnreachable):
            await authenticate(place, seconds=0.5)
    assert [method for method, _ in heard][-3:] == ["POST", "DELETE", "DELETE"]
    assert len({key for _, key in heard}) == 1


async def test_a_refusal_after_a_lost_answer_leaves_nothing_behind(place: Path) -> None:
    """The first try may have begun something, whatever the second one is answered."""
    async with pretending(place, cut, problem("budget_spent", 429), says({}, 200)) as there:
        with pytest.raises(Refused):
            await authenticate(place)
    assert [one[0] for one in there.heard] == ["POST", "POST", "DELETE"]


async def test_an_appliance_that_failed_halfway_leaves_nothing_behind(place: Path) -> None:
    """It may have begun, and failed at saying so: what there may be is cancelled."""
    async with pretending(place, problem("internal", 500)) as there:
        with pytest.raises(Refused):
            await authenticate(place)
    assert [one[:3] for one in there.heard] == [
        (method, "/v1/authentications", there.heard[0][2]) for method in ("POST", "DELETE")
    ]


async def test_a_comparison_ends_with_the_time(place: Path) -> None:
    """However long somebody looks at the front: it is taken off their screen, and the authentication cancelled."""
    ended = asyncio.Event()

    async def compare(_front: Front) -> bool:
        try:
            return await asyncio.Event().wait()
        finally:
            ended.set()

    check = VisualCheck("operator-1", PRINTED, compare)
    async with (
        _answering(place, _to_be_compared),
        Client(Socket(place), audience="a", keys=jwks(KEY), clock=lambda: NOW) as client,
    ):
        with pytest.raises(ApplianceLate):
            await client.authenticate("desk-1", "pinless", check, seconds=2.0)
        assert ended.is_set()


async def test_a_comparison_in_a_thread_ends_once_it_is_told_to(place: Path) -> None:
    """Without an event loop as well: the call returns in time where the comparison passes on that it is over."""
    over = threading.Event()

    async def compare(_front: Front) -> bool:
        try:
            return await asyncio.to_thread(over.wait, 60)
        finally:
            over.set()

    check = VisualCheck("operator-1", PRINTED, compare)
    async with _answering(place, _to_be_compared):
        asking = asyncio.to_thread(
            blocking.authenticate, Socket(place), "a", "desk-1", "pinless", check, jwks(KEY), seconds=2.0
        )
        async with asyncio.timeout(30):
            with pytest.raises(ApplianceLate):
                await asking


@pytest.mark.parametrize("by", ["cancelling", "time"])
async def test_a_comparison_that_is_slow_to_end_holds_no_desk(place: Path, by: str) -> None:
    """The authentication is cancelled at once, while a window is still being closed; its late error is nobody's."""
    comparing, closed, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def compare(_front: Front) -> bool:
        comparing.set()
        try:
            return await asyncio.Event().wait()
        finally:
            # Ends only after the desk is free, or else never.
            await cancelled.wait()
            closed.set()
            raise RuntimeError("the window is gone")

    async def answer(request: web.Request) -> web.Response:
        if request.method == "DELETE":
            cancelled.set()
        return await _to_be_compared(request)

    check = VisualCheck("operator-1", PRINTED, compare)
    async with (
        _answering(place, answer),
        Client(Socket(place), audience="a", keys=jwks(KEY), clock=lambda: NOW) as client,
    ):
        seconds = 2.0 if by == "time" else 60.0
        asking = asyncio.create_task(client.authenticate("desk-1", "pinless", check, seconds=seconds))
        async with asyncio.timeout(20):
            await comparing.wait()
        left = seconds
        if by == "cancelling":
            asking.cancel()
            left = 0
        async with asyncio.timeout(left + 4):  # less than the five seconds that anything is waited for
            await cancelled.wait()
            with pytest.raises(ApplianceLate if by == "time" else asyncio.CancelledError):
                await asking
            await closed.wait()


@pytest.mark.parametrize("after", ["POST", "GET"])
async def test_a_cancelled_task_cancels_the_authentication(place: Path, after: str) -> None:
    """Also where the answer to the request for it is still on its way."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    heard = []

    async def answer(request: web.Request) -> web.Response:
        heard.append(request.method)
        if request.method == after:
            reached.set()
            await (go_on if after == "POST" else asyncio.Event()).wait()
        return web.json_response(RUNNING)

    async with _answering(place, answer):
        asking = asyncio.create_task(authenticate(place))
        await reached.wait()
        asking.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert heard[-1] == "DELETE"


async def test_somebody_else_may_cancel(place: Path) -> None:
    """That is an end of its own."""
    async with pretending(place, says(job("cancelled"), 201)):
        with pytest.raises(AuthenticationCancelled):
            await authenticate(place)


async def test_keys_are_asked_for_again_where_one_is_not_known(place: Path) -> None:
    """A change of keys at the appliance is found by the first token of the new one; pinned keys stay as they are."""
    keys = (says(json.loads(jwks(OTHER))), says(DONE, 201), says(json.loads(jwks(OTHER, KEY))))
    async with (
        pretending(place, says(job("authenticated", token=token(OTHER)), 201), *keys) as there,
        Client(Socket(place), audience="a", clock=lambda: NOW) as client,
    ):
        for _ in range(2):
            await client.authenticate("desk-1", "pinless", FaceCheck("kiosk-1"), nonce="n")
    assert [one[1] for one in there.heard] == ["/v1/authentications", "/.well-known/jwks.json"] * 2


async def test_pinned_keys_are_the_only_ones(place: Path) -> None:
    """Nobody who answers can bring keys of their own."""
    async with pretending(place, says(DONE, 201)) as there:
        with pytest.raises(TokenInvalid):
            await authenticate(place, jwks(OTHER))
    assert len(there.heard) == 1


async def test_evidence_that_was_asked_for_has_to_come(place: Path) -> None:
    """And has to be the one that the token names."""
    for members in ({}, {"evidence": "{}"}):
        async with pretending(place, says({**DONE, **members}, 201)):
            with pytest.raises(ApplianceError):
                await authenticate(place, evidence=True)


def test_nothing_personal_is_shown() -> None:
    """Neither token nor evidence are in any repr."""
    assert "secret" not in repr(Result(None, "secret-token", b"secret"))  # type: ignore[arg-type]  # repr alone


@pytest.mark.parametrize(
    "url", ["http://a", "https://a/path", "https://user@a", "https://", "a", "https://a?q"]
)
def test_an_address_is_a_place_alone(url: str, tmp_path: Path) -> None:
    """Without TLS, or with more than host and port, it is refused."""
    with pytest.raises(ConfigInvalid):
        Network(url, tmp_path, tmp_path, tmp_path)


async def test_a_client_that_is_not_open_asks_nobody(place: Path) -> None:
    """Using it so is a bug of the caller's."""
    with pytest.raises(RuntimeError):
        await Client(Socket(place), audience="a").desks()
