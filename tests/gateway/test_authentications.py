"""`/v1/authentications` over a real socket: software cards, a real ledger, keys in memory."""

import asyncio
import contextlib
import json
import logging
import socket
import tempfile
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BudgetSpent, CardAbsent, DeskUnknown, HsmUnavailable, RequestMalformed
from appliance.gateway import request_id
from appliance.gateway import token as tokens
from appliance.gateway.http import parse_json
from appliance.gateway.jobs import Jobs
from appliance.gateway.keys import PublishedKeys
from appliance.gateway.order import Order
from appliance.ledger.entries import Finished
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import Removed, WrongSignature
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import Anchors
from appliance.trust.decision import STEPS, Trust, decide
from tests.gateway.reception import AUDIENCE, OTHER_AUDIENCE, TOKEN_KEY, Reception, card, open_reception

PATH = "/v1/authentications"
FACE = {"method": "face", "device": "face-1"}
PINLESS: dict[str, Any] = {"desk": "desk-1", "mode": "pinless", "identity_check": FACE}
PIN: dict[str, Any] = {"desk": "desk-1", "mode": "pin"}


def verified(token: str, audience: str, now: datetime, nonce: str | None = None) -> dict[str, Any]:
    """Return the claims of *token* as its receiver reads them."""
    jwks = PublishedKeys(TOKEN_KEY.public_key()).encoded(now)
    return dict(tokens.verify(token, jwks, audience, now, nonce))


# --- how it goes well ------------------------------------------------------------------------------------


async def test_an_authentication_is_begun_and_its_result_fetched(reception: Reception, now: datetime) -> None:
    """It is begun at once and has an address; what is there at its end is a token for the caller, with their nonce."""
    body = {**PINLESS, "nonce": "visit 4711"}
    reception.gates.close("waiting-for-card")
    async with reception.mine.post(PATH, json=body) as answer:
        begun = await answer.json()
        assert (answer.status, answer.headers["Location"]) == (201, f"{PATH}/{begun['id']}")
        assert answer.headers["Cache-Control"] == "no-store"
    assert {**begun, "created_at": "", "id": ""} == {
        "id": "",
        "state": "running",
        "stage": "waiting-for-card",
        "desk": "desk-1",
        "mode": "pinless",
        "created_at": "",
    }
    reception.gates.open()
    ended = await reception.end(f"{PATH}/{begun['id']}")
    assert (ended["id"], ended["state"], ended["stage"]) == (begun["id"], "authenticated", None)
    claims = verified(ended["token"], AUDIENCE, now, "visit 4711")
    assert ended["claims"] == claims
    assert (claims["terminal"], claims["identity_check"]) == ("desk-1", FACE)
    assert "evidence" not in ended
    assert "problem" not in ended


async def test_evidence_comes_on_request_and_decides_again(
    reception: Reception, hierarchy: Hierarchy
) -> None:
    """Who asks for the evidence gets the document of which the token has the hash, byte for byte, and at the end only."""
    reception.gates.close("deciding")
    at = await reception.begin({**PINLESS, "evidence": True})
    await reception.gates.reached("deciding")
    async with reception.mine.get(at) as answer:
        assert "evidence" not in await answer.json()
    reception.gates.open()
    ended = await reception.end(at)
    document = ended["evidence"].encode()
    assert ended["claims"]["evidence"] == sha256(document).hexdigest()
    trust = Trust(Anchors(hierarchy.ca_certificates), hierarchy.root_key)
    assert tuple(step.name for step in decide(document, trust)) == STEPS


@pytest.mark.parametrize(
    ("query", "headers", "applied"),
    [
        ("?wait=30", {}, None),
        ("", {"Prefer": "wait=10"}, "wait=10"),
        ("", {"Prefer": "respond-async, wait=100"}, "wait=30"),
    ],
)
async def test_who_waits_gets_the_end_at_once(
    query: str, headers: dict[str, str], applied: str | None, reception: Reception
) -> None:
    """One request does where its caller is ready to wait; a preference is applied as far as possible, and that is told."""
    async with reception.mine.post(PATH + query, json=PINLESS, headers=headers) as answer:
        assert (answer.status, (await answer.json())["state"]) == (201, "authenticated")
        assert answer.headers.get("Preference-Applied") == applied


async def test_with_the_pin_the_holder_enters_it_at_the_desk(reception: Reception, now: datetime) -> None:
    """The stage says that the holder is asked; the PIN is in no request and no answer."""
    reception.gates.close("waiting-for-pin")
    at = await reception.begin(PIN)
    await reception.gates.reached("waiting-for-pin")
    async with reception.mine.get(at) as answer:
        assert (await answer.json())["stage"] == "waiting-for-pin"
    reception.gates.open()
    claims = verified((await reception.end(at))["token"], AUDIENCE, now)
    assert (claims["mode"], claims["identity_check"]["method"]) == ("pin", "pin")


async def test_a_desk_of_a_remote_terminal_is_one_like_others(reception: Reception, now: datetime) -> None:
    """TERMINAL.READER stands in the token and in the ledger."""
    ended = await reception.end(await reception.begin({**PINLESS, "desk": "ward-3.left"}))
    assert verified(ended["token"], AUDIENCE, now)["terminal"] == "ward-3.left"
    assert getattr((await reception.remembered())[0], "terminal", None) == "ward-3.left"


async def test_every_peer_has_tokens_of_their_own(reception: Reception, now: datetime) -> None:
    """The audience is the peer's, and so is the name by which the holder goes."""
    subjects = set()
    for session, audience in ((reception.mine, AUDIENCE), (reception.theirs, OTHER_AUDIENCE)):
        async with session.post(f"{PATH}?wait=30", json={**PINLESS, "desk": "desk-2"}) as answer:
            subjects.add(verified((await answer.json())["token"], audience, now)["sub"])
    assert len(subjects) == 2


# --- what is asked wrongly -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {**PINLESS, "more": 1},
        {**PINLESS, "desk": "Desk 1"},
        {**PINLESS, "desk": "desk-1\n"},
        {**PINLESS, "desk": "a.b.c"},
        {**PINLESS, "mode": "emergency"},
        {**PINLESS, "identity_check": {"method": "face", "operator": "operator-3"}},
        {**PINLESS, "identity_check": {"method": "pin", "device": "face-1"}},
        {**PINLESS, "identity_check": {"method": "visual", "operator": "Yamada Taro"}},
        {**PINLESS, "nonce": ""},
        {**PINLESS, "nonce": "n" * 129},
        {**PINLESS, "nonce": "テスト"},
        {**PINLESS, "nonce": "a\n"},
        {**PINLESS, "evidence": 1},
        {**PINLESS, "last_pin_try": True},
        {**PIN, "identity_check": FACE},
    ],
)
async def test_a_body_that_is_not_in_the_contract_is_refused(body: object, reception: Reception) -> None:
    """Unknown members, names of other shapes, and what would be without effect: nothing is begun."""
    async with reception.mine.post(PATH, json=body) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "request_malformed")
    assert reception.desks.places["desk-1"].works == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=80) | st.fixed_dictionaries(
    {"desk": _JSON | st.just("desk-1"), "mode": _JSON | st.just("pin")},
    optional={"identity_check": _JSON, "nonce": _JSON, "evidence": _JSON},
).map(msgspec.json.encode))  # fmt: skip
def test_any_body_is_an_order_or_refused(body: bytes) -> None:
    """Any bytes are an order or RequestMalformed."""
    try:
        order = parse_json(body, Order)
    except RequestMalformed:
        return
    assert order.desk.isascii()


@pytest.mark.parametrize("query", ["wait=31", "wait=-1", "wait=1.5", "wait=", "wait=1&wait=2", "more=1"])
async def test_a_query_that_is_not_in_the_contract_is_refused(query: str, reception: Reception) -> None:
    """Nobody waits longer than is possible, and a misspelt parameter is not ignored."""
    async with reception.mine.post(f"{PATH}?{query}", json=PINLESS) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "request_malformed")


async def test_without_an_identity_check_no_desk_is_touched(reception: Reception) -> None:
    """A holder whom nobody has looked at is not authenticated without a PIN, and nothing is begun."""
    async with reception.mine.post(PATH, json={"desk": "desk-1", "mode": "pinless"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (422, "identity_check_missing")
    assert reception.desks.places["desk-1"].works == []


async def test_a_desk_that_is_somebody_elses_is_refused(reception: Reception) -> None:
    """A reception uses the desks that the configuration names for it."""
    async with reception.theirs.post(PATH, json=PINLESS) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "access_denied")


async def test_a_desk_that_does_not_exist_begins_nothing(reception: Reception) -> None:
    """What cannot begin is the answer's own problem and leaves nothing behind, its key included."""
    body, key = {**PINLESS, "desk": "desk-9"}, {"Idempotency-Key": "k"}
    for _ in range(2):
        async with reception.mine.post(PATH, json=body, headers=key) as answer:
            problem = await answer.json()
            assert (answer.status, problem["code"]) == (404, DeskUnknown.code)
            assert answer.content_type == "application/problem+json"
    assert len(reception.authentications.repeats) == 0
    await reception.begin(PINLESS, **key)


async def test_a_foreign_authentication_is_as_if_it_were_not_there(reception: Reception) -> None:
    """Reading, following and cancelling what is somebody else's is answered as for an id that never was."""
    reception.gates.close("waiting-for-card")
    at = await reception.begin(PINLESS)
    answers = []
    for address in (at, f"{PATH}/{'0' * 32}", f"{PATH}/x"):
        for method, suffix in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
            async with reception.theirs.request(method, address + suffix) as answer:
                found = await answer.json()
                answers.append((answer.status, {**found, "request_id": ""}))
    assert [status for status, _ in answers] == [404] * 9
    assert all(answer == answers[0] for answer in answers)
    async with reception.mine.get(at) as answer:
        assert (await answer.json())["state"] == "running"


# --- twice -----------------------------------------------------------------------------------------------


async def test_one_authentication_at_a_desk(reception: Reception) -> None:
    """Who comes second is told that the desk is taken and when to come again; the first goes on."""
    reception.gates.close("waiting-for-card")
    at = await reception.begin(PINLESS)
    async with reception.mine.post(PATH, json=PINLESS) as answer:
        assert (answer.status, (await answer.json())["code"]) == (409, "reader_busy")
        assert int(answer.headers["Retry-After"]) > 0
    reception.gates.open()
    assert (await reception.end(at))["state"] == "authenticated"
    assert len(reception.desks.places["desk-1"].works) == 1


async def test_the_same_request_under_one_key_is_one_authentication(reception: Reception) -> None:
    """While it runs and after its end, also when both come at once, and however the body is spaced."""
    key = {"Idempotency-Key": '"visit-4711"'}
    reception.gates.close("waiting-for-card")
    first, second = await asyncio.gather(*(reception.begin(PINLESS, **key) for _ in range(2)))
    reception.gates.open()
    await reception.end(first)
    spaced = json.dumps(PINLESS, indent=2).encode()
    headers = {"Idempotency-Key": "visit-4711", "Content-Type": "application/json"}
    async with reception.mine.post(PATH, data=spaced, headers=headers) as answer:
        again = await answer.json()
    assert (first, again["state"]) == (second, "authenticated")
    assert f"{PATH}/{again['id']}" == first
    assert len(reception.desks.places["desk-1"].works) == 1


async def test_another_request_under_one_key_is_refused(reception: Reception) -> None:
    """A key stands for one request of one peer."""
    key = {"Idempotency-Key": "visit-4711"}
    await reception.end(await reception.begin({**PINLESS, "desk": "desk-2"}, **key))
    async with reception.mine.post(PATH, json=PINLESS, headers=key) as answer:
        assert (answer.status, (await answer.json())["code"]) == (409, "idempotency_conflict")
    async with reception.theirs.post(PATH, json={**PINLESS, "desk": "desk-2"}, headers=key) as answer:
        assert answer.status == 201


@pytest.mark.parametrize("header", ["", "a b", "k" * 129])
async def test_a_key_that_is_none_is_refused(header: str, reception: Reception) -> None:
    """A request under a key that cannot be remembered is not carried out."""
    async with reception.mine.post(PATH, json=PINLESS, headers={"Idempotency-Key": header}) as answer:
        assert answer.status == 400
    assert reception.desks.places["desk-1"].works == []


# --- cancelled -------------------------------------------------------------------------------------------

_STAGES = ["waiting-for-card", "talking", "signing", "waiting-for-pin", "deciding", "issuing"]


@pytest.mark.parametrize("point", _STAGES)
async def test_cancelling_lets_go_of_the_card_and_closes_the_ledger(point: str, reception: Reception) -> None:
    """In whatever stage: the desk is free when the answer comes, no token is made, and nothing stays open."""
    reception.gates.close(point)
    at = await reception.begin(PIN if point == "waiting-for-pin" else PINLESS)
    await reception.gates.reached(point)
    async with reception.mine.delete(at) as answer:
        cancelled = await answer.json()
    assert (answer.status, cancelled["state"], cancelled["stage"]) == (200, "cancelled", None)
    assert "token" not in cancelled
    assert reception.desks.places["desk-1"].engaged is False
    outcomes = [one.outcome for one in await reception.remembered() if isinstance(one, Finished)]
    # Who is cancelled while the token is signed was authenticated, and only has nothing of it.
    expected = {"waiting-for-card": [], "talking": [], "issuing": ["authenticated"]}
    assert outcomes == expected.get(point, ["interrupted"])
    reception.gates.open()
    assert (await reception.end(await reception.begin(PINLESS)))["state"] == "authenticated"


async def test_cancelling_what_has_ended_leaves_it_as_it_is(reception: Reception) -> None:
    """Who cancels too late gets the result; as often as they like."""
    at = await reception.begin(PINLESS)
    ended = await reception.end(at)
    for _ in range(2):
        async with reception.mine.delete(at) as answer:
            assert (answer.status, await answer.json()) == (200, ended)


async def _withdraw(session: aiohttp.ClientSession, key: str) -> tuple[int, dict[str, Any] | None]:
    async with session.delete(PATH, headers={"Idempotency-Key": key}) as answer:
        return answer.status, None if answer.status == 204 else await answer.json()


async def test_no_budget_keeps_a_desk_busy(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reception that has looked too often is refused everything but to cancel, by the id and by the key."""
    reception.gates.close("waiting-for-card")
    at = await reception.begin(PINLESS)
    await reception.begin({**PINLESS, "desk": "desk-2"}, **{"Idempotency-Key": "visit-4711"})
    services = reception.services
    monkeypatch.setattr(services.budgets, "_monotonic", lambda: 0.0)
    with contextlib.suppress(BudgetSpent):
        while True:
            services.budgets.look(services.directory.peers["mine"])
    async with reception.mine.get(at) as answer:
        assert answer.status == 429
    async with reception.mine.delete(at) as answer:
        assert (answer.status, (await answer.json())["state"]) == (200, "cancelled")
    status, cancelled = await _withdraw(reception.mine, "visit-4711")
    assert cancelled is not None
    assert (status, cancelled["state"]) == (200, "cancelled")
    assert not any(place.engaged for place in reception.desks.places.values())


@pytest.mark.parametrize("point", ["waiting-for-card", "talking"])
async def test_what_was_begun_is_cancelled_by_its_key(point: str, reception: Reception) -> None:
    """Who has never had the answer to their request, and so has no id, has the desk free when this answer comes."""
    reception.gates.close(point)
    at = await reception.begin(PINLESS, **{"Idempotency-Key": "visit-4711"})
    await reception.gates.reached(point)
    status, cancelled = await _withdraw(reception.mine, '"visit-4711"')
    assert cancelled is not None
    assert (status, cancelled["state"], f"{PATH}/{cancelled['id']}") == (200, "cancelled", at)
    assert reception.desks.places["desk-1"].engaged is False
    reception.gates.open()
    # Whoever sends the request again finds what has become of it.
    again = await reception.begin(PINLESS, **{"Idempotency-Key": "visit-4711"})
    assert (again, (await reception.end(again))["state"]) == (at, "cancelled")


async def test_what_has_ended_stays_as_it_is_by_its_key_too(reception: Reception) -> None:
    """Who withdraws too late gets the result."""
    ended = await reception.end(await reception.begin(PINLESS, **{"Idempotency-Key": "visit-4711"}))
    assert await _withdraw(reception.mine, "visit-4711") == (200, ended)


async def test_a_request_that_comes_after_its_key_was_withdrawn_begins_nothing(reception: Reception) -> None:
    """The request was still on its way when its sender gave up; another key works."""
    assert await _withdraw(reception.mine, "visit-4711") == (204, None)
    for _ in range(2):
        async with reception.mine.post(
            PATH, json=PINLESS, headers={"Idempotency-Key": "visit-4711"}
        ) as answer:
            assert (answer.status, (await answer.json())["code"]) == (409, "authentication_cancelled")
    assert reception.desks.places["desk-1"].works == []
    at = await reception.begin(PINLESS, **{"Idempotency-Key": "visit-4712"})
    assert (await reception.end(at))["state"] == "authenticated"


async def test_a_key_that_is_withdrawn_while_its_request_is_read_begins_nothing(reception: Reception) -> None:
    """Head and half of the body have come; the rest comes after the cancelling."""
    body = json.dumps(PINLESS)
    reader, writer = await asyncio.open_unix_connection(reception.socket)
    head = f"Host: gateway\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"POST {PATH} HTTP/1.1\r\n{head}Idempotency-Key: visit-4711\r\n\r\n{body[:20]}".encode())
    await writer.drain()
    assert await _withdraw(reception.mine, "visit-4711") == (204, None)
    writer.write(body[20:].encode())
    async with asyncio.timeout(10):
        assert b" 409 " in await reader.readline()
    writer.close()
    assert reception.desks.places["desk-1"].works == []


async def test_a_key_that_could_begin_nothing_begins_nothing_later(reception: Reception) -> None:
    """Its request was refused, and forgotten; sent once more after the cancelling, it stays refused."""
    key = {"Idempotency-Key": "visit-4711"}
    async with reception.mine.post(PATH, json={**PINLESS, "desk": "desk-9"}, headers=key) as answer:
        assert answer.status == 404
    assert await _withdraw(reception.mine, "visit-4711") == (204, None)
    async with reception.mine.post(PATH, json=PINLESS, headers=key) as answer:
        assert (answer.status, (await answer.json())["code"]) == (409, "authentication_cancelled")


async def test_a_withdrawn_key_is_known_longer_than_a_request_may_take(
    hierarchy: Hierarchy, data: CardData, now: datetime
) -> None:
    """Also where results are forgotten at once: a body may come 10 s after its head, and the head may have waited."""
    seconds = 0.0
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        jobs = Jobs(at_once=1, keep_seconds=1)
        async with open_reception(
            Path(folder), hierarchy, data, now, jobs, elapsed=lambda: seconds
        ) as reception:
            assert await _withdraw(reception.mine, "visit-4711") == (204, None)
            seconds = 59.0
            key = {"Idempotency-Key": "visit-4711"}
            async with reception.mine.post(PATH, json=PINLESS, headers=key) as answer:
                assert (answer.status, (await answer.json())["code"]) == (409, "authentication_cancelled")
            assert reception.desks.places["desk-1"].works == []


async def test_nobody_withdraws_somebody_elses_key(reception: Reception) -> None:
    """Neither what it has begun nor what it is going to."""
    reception.gates.close("waiting-for-card")
    at = await reception.begin(PINLESS, **{"Idempotency-Key": "visit-4711"})
    assert await _withdraw(reception.theirs, "visit-4711") == (204, None)
    assert await _withdraw(reception.theirs, "visit-4712") == (204, None)
    reception.gates.open()
    assert (await reception.end(at))["state"] == "authenticated"
    at = await reception.begin(PINLESS, **{"Idempotency-Key": "visit-4712"})
    assert (await reception.end(at))["state"] == "authenticated"


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "a b"}])
async def test_what_is_to_be_cancelled_has_to_be_said(headers: dict[str, str], reception: Reception) -> None:
    """Without a key nothing is cancelled: least of all everything."""
    reception.gates.close("waiting-for-card")
    at = await reception.begin(PINLESS)
    async with reception.mine.delete(PATH, headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "request_malformed")
    reception.gates.open()
    assert (await reception.end(at))["state"] == "authenticated"


# --- bad days --------------------------------------------------------------------------------------------


async def test_a_failing_hsm_refuses_and_says_so(reception: Reception) -> None:
    """What the HSM does not sign is refused by its code; clerk and operator read what to do, in their language."""
    reception.gates.failing["signing"] = HsmUnavailable("no worker answers")
    at = await reception.begin(PINLESS)
    await reception.end(at)
    async with reception.mine.get(at, headers={"Accept-Language": "ja"}) as answer:
        refused = await answer.json()
    problem = refused["problem"]
    assert (refused["state"], problem["code"], problem["status"]) == ("refused", "hsm_unavailable", 503)
    assert problem["clerk"] > "\u3000"
    assert "token" not in refused
    assert "evidence" not in refused
    finished = [one.code for one in await reception.remembered() if isinstance(one, Finished)]
    assert finished == ["hsm_unavailable"]


async def test_a_token_that_cannot_be_signed_is_no_result(reception: Reception) -> None:
    """When the HSM fails at the very end there is neither token nor evidence."""
    reception.gates.failing["issuing"] = HsmUnavailable("no worker answers")
    refused = await reception.end(await reception.begin({**PINLESS, "evidence": True}))
    assert (refused["state"], refused["problem"]["code"]) == ("refused", "hsm_unavailable")
    assert not {"token", "claims", "evidence"} & set(refused)


@pytest.mark.parametrize("write", [1, 2])
async def test_what_the_ledger_cannot_hold_is_no_result(write: int, reception: Reception) -> None:
    """Neither without the entry before nor without the one after is there a token."""
    reception.ledger_broken_at.add(write)
    refused = await reception.end(await reception.begin(PINLESS))
    assert (refused["state"], refused["problem"]["code"]) == ("refused", "ledger_unavailable")
    assert "token" not in refused


async def test_a_card_that_is_pulled_ends_it(reception: Reception, data: CardData) -> None:
    """The clerk is told that the card was taken away too early, and the desk is free again."""
    reception.desks.places["desk-1"].card = card(data, Removed(3))
    refused = await reception.end(await reception.begin(PINLESS))
    assert (refused["state"], refused["problem"]["code"]) == ("refused", "card_removed")
    assert reception.desks.places["desk-1"].engaged is False


async def test_a_card_that_lies_is_refused(reception: Reception, data: CardData) -> None:
    """A wrong signature is no proof."""
    reception.desks.places["desk-1"].card = card(data, WrongSignature())
    refused = await reception.end(await reception.begin(PINLESS))
    assert (refused["state"], refused["problem"]["code"]) == ("refused", "proof_invalid")


async def test_no_card_is_refused_after_the_waiting(reception: Reception) -> None:
    """That no card came is how the authentication ended."""
    reception.desks.places["desk-1"].card = None
    refused = await reception.end(await reception.begin(PINLESS))
    assert (refused["state"], refused["problem"]["code"]) == ("refused", "card_absent")


async def test_a_wrong_pin_says_how_many_tries_are_left(reception: Reception) -> None:
    """The number is there for software; the last try is used on request only."""
    place = reception.desks.places["desk-1"]
    place.pin = "0000"
    left = []
    for _ in range(2):
        refused = await reception.end(await reception.begin(PIN))
        left.append((refused["problem"]["code"], refused["problem"]["tries_left"]))
    assert left == [("pin_rejected", 2), ("pin_rejected", 1)]
    place.pin = "1234"
    assert (await reception.end(await reception.begin(PIN)))["problem"]["code"] == "pin_last_try"
    used = await reception.end(await reception.begin({**PIN, "last_pin_try": True}))
    assert used["state"] == "authenticated"


async def test_the_log_says_how_each_authentication_ended(
    reception: Reception, caplog: pytest.LogCaptureFixture
) -> None:
    """With the number of the request that began it: that is what a person reads out."""
    caplog.set_level(logging.INFO, "appliance.gateway")
    caplog.handler.addFilter(request_id.LogFilter())
    await reception.end(await reception.begin(PINLESS, **{"X-Request-Id": "visit-0001"}))
    reception.gates.failing["waiting-for-card"] = CardAbsent("no card was put on it")
    await reception.end(await reception.begin(PINLESS, **{"X-Request-Id": "visit-0002"}))
    ended = [
        (record.__dict__["request_id"], record.getMessage())
        for record in caplog.records
        if record.getMessage().startswith("authentication ended")
    ]
    assert [request for request, _ in ended] == ["visit-0001", "visit-0002"]
    assert "desk=desk-1 mode=pinless check=face" in ended[0][1]
    assert "outcome=authenticated" in ended[0][1]
    assert "outcome=card_absent" in ended[1][1]


async def test_a_bug_is_internal_and_hurts_nobody_else(
    reception: Reception, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it reaches the caller but the code and the id to ask with; another desk goes on."""
    reception.gates.close("waiting-for-card")
    other = await reception.begin({**PINLESS, "desk": "desk-2"})
    at = await reception.begin(PINLESS, **{"X-Request-Id": "request-4711"})
    reception.gates.failing["deciding"] = RuntimeError("secret of a bug")
    with caplog.at_level(logging.ERROR):
        reception.gates.open()
        refused = await reception.end(at)
    problem = refused["problem"]
    assert (refused["state"], problem["code"], problem["status"]) == ("refused", "internal", 500)
    assert problem["request_id"] == "request-4711"
    assert "secret" not in json.dumps(refused) + caplog.text
    assert refused["id"] in caplog.text
    assert (await reception.end(other))["problem"]["code"] == "internal"
    del reception.gates.failing["deciding"]
    assert (await reception.end(await reception.begin(PINLESS)))["state"] == "authenticated"


async def test_a_caller_who_leaves_ends_nothing(reception: Reception) -> None:
    """Neither a POST nor a GET that is given up while it waits takes the authentication with it."""
    reception.gates.close("waiting-for-card")
    key = {"Idempotency-Key": "visit-4711"}

    body = json.dumps(PINLESS)
    head = f"Host: gateway\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with socket.socket(socket.AF_UNIX) as leaving:
        leaving.connect(str(reception.socket))
        leaving.sendall(
            f"POST {PATH}?wait=30 HTTP/1.1\r\n{head}Idempotency-Key: visit-4711\r\n\r\n{body}".encode()
        )
        await reception.gates.reached("waiting-for-card")
    at = await reception.begin(PINLESS, **key)
    with socket.socket(socket.AF_UNIX) as leaving:
        leaving.connect(str(reception.socket))
        leaving.sendall(f"GET {at}?wait=30 HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
    reception.gates.open()
    assert (await reception.end(at))["state"] == "authenticated"
    assert len(reception.desks.places["desk-1"].works) == 1


async def _ask(reception: Reception, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401  # JSON
    async with reception.mine.request(method, path, **options) as answer:
        return await answer.json()


async def test_hundreds_may_wait_for_one_end(reception: Reception) -> None:
    """Long polls are cheap: all of them are answered when it ends, with the same."""
    reception.gates.close("deciding")
    at = await reception.begin(PINLESS)
    polls = [asyncio.create_task(_ask(reception, "GET", f"{at}?wait=30")) for _ in range(300)]
    await reception.gates.reached("deciding")
    assert (await _ask(reception, "GET", f"{at}?wait=0"))["stage"] == "deciding"
    reception.gates.open()
    answers = await asyncio.gather(*polls)
    assert {answer["state"] for answer in answers} == {"authenticated"}
    assert len({answer["token"] for answer in answers}) == 1


async def test_no_more_at_once_than_there_is_room(
    hierarchy: Hierarchy, data: CardData, now: datetime
) -> None:
    """One too many is refused with the time to come again, and there is room when one has ended."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        jobs = Jobs(at_once=1, keep_seconds=300)
        async with open_reception(Path(folder), hierarchy, data, now, jobs) as reception:
            reception.gates.close("waiting-for-card")
            at = await reception.begin(PINLESS)
            async with reception.mine.post(PATH, json={**PINLESS, "desk": "desk-2"}) as answer:
                assert (answer.status, (await answer.json())["code"]) == (503, "gateway_busy")
                assert "Retry-After" in answer.headers
            reception.gates.open()
            await reception.end(at)
            await reception.begin(PINLESS)
            assert reception.services.budgets.under_way("mine") <= 1


async def test_what_ended_is_no_longer_under_way(reception: Reception) -> None:
    """A peer's budget of what is under way is free again, however it ended."""
    reception.gates.close("waiting-for-card")
    at = await reception.begin(PINLESS)
    assert reception.services.budgets.under_way("mine") == 1
    async with reception.mine.delete(at):
        pass
    assert reception.services.budgets.under_way("mine") == 0


async def test_at_the_end_what_runs_is_finished_and_nothing_begun(reception: Reception) -> None:
    """Draining: running authentications end with their results, new ones are told to come again."""
    reception.gates.close("deciding")
    at = await reception.begin(PINLESS)
    await reception.gates.reached("deciding")
    draining = asyncio.create_task(reception.jobs.drain(30))
    await asyncio.sleep(0)
    async with reception.mine.post(PATH, json={**PINLESS, "desk": "desk-2"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "gateway_draining")
        assert "Retry-After" in answer.headers
    reception.gates.open()
    await draining
    assert (await reception.end(at))["state"] == "authenticated"


async def test_at_the_end_what_takes_too_long_is_cancelled(reception: Reception) -> None:
    """After the seconds of the draining, what still runs is cancelled and says why; the card is let go of."""
    reception.gates.close("deciding")
    at = await reception.begin(PINLESS)
    await reception.gates.reached("deciding")
    waiting = asyncio.create_task(reception.end(at))
    await reception.jobs.drain(0)
    ended = await waiting
    assert (ended["state"], ended["problem"]["code"]) == ("cancelled", "gateway_draining")
    assert reception.desks.places["desk-1"].engaged is False
    finished = [one.outcome for one in await reception.remembered() if isinstance(one, Finished)]
    assert finished == ["interrupted"]
