"""`/v1/surface-readings` over a real socket: a software card's front, as the staff see it."""

import asyncio
import json
import logging
from base64 import b64decode
from datetime import date, datetime
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from appliance.errors import RequestMalformed
from appliance.gateway.http import parse_json
from appliance.gateway.surface_readings import Order
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import Removed, WrongFrontSignature
from appliance.simulator.kinds import Kind
from appliance.simulator.people import Person
from appliance.simulator.pki import Hierarchy
from tests.gateway.reception import LONG, Reception, card

PATH = "/v1/surface-readings"


@pytest.fixture
def body(front: dict[str, Any]) -> dict[str, Any]:
    """Return what a clerk enters off the card."""
    return {"desk": "desk-1", **front}


def wrong(body: dict[str, Any]) -> dict[str, Any]:
    """Return *body* with another security code."""
    return {**body, "security_code": "0000" if body["security_code"] != "0000" else "0001"}


async def ask(reception: Reception, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of the answer."""
    async with reception.mine.post(PATH, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_the_front_comes_as_a_browser_shows_it(
    reception: Reception, body: dict[str, Any], person: Person
) -> None:
    """Birth date, sex and expiry are text, photo, name and address are pictures; and nobody is to keep any of it."""
    async with reception.mine.post(PATH, json=body) as answer:
        front = await answer.json()
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert (front["birth"], front["sex"]) == (person.birth.isoformat(), person.sex.value)
    assert front["expiry"] == person.expires.isoformat()
    for name in ("photo", "name", "address"):
        with Image.open(BytesIO(b64decode(front[name], validate=True)), formats=["PNG"]) as picture:
            assert picture.width > 1
    assert reception.desks.places["desk-1"].works[0].purpose == "front"
    assert reception.desks.places["desk-1"].engaged is False


async def test_nothing_of_it_is_logged(
    reception: Reception, body: dict[str, Any], person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """At no level is there anything of 照合番号B or of what it opens, and no ledger entry either."""
    caplog.set_level(logging.DEBUG)
    await ask(reception, body)
    await ask(reception, wrong(body))
    text = "".join(f"{record.getMessage()}{record.__dict__}" for record in caplog.records)
    assert "surface-readings" in text
    for secret in (person.number_b, body["birth"], person.birth.strftime("%Y%m%d"), person.name):
        assert secret not in text
    assert await reception.remembered() == []


def test_an_order_shows_nothing_of_the_number(body: dict[str, Any]) -> None:
    """What a traceback shows of a request is its desk."""
    order = parse_json(json.dumps(body).encode(), Order)
    assert repr(order) == "Order(desk='desk-1')"
    assert repr(order.number) == "VerificationNumber()"


@pytest.mark.parametrize(
    "change",
    [
        {"desk": "desk-1\n"},
        {"birth": "1980-02-30"},
        {"birth": "1980-02-17T00:00:00"},
        {"birth": 0},
        {"expiry_year": 1999},
        {"expiry_year": "2030"},
        {"security_code": "12345"},
        {"security_code": "123\u0664"},
        {"security_code": 1234},
        {"more": 1},
    ],
)
async def test_a_body_that_is_not_in_the_contract_is_refused(
    change: dict[str, object], reception: Reception, body: dict[str, Any]
) -> None:
    """No try is used for what cannot be a number; and the refusal repeats none of its digits."""
    status, problem = await ask(reception, {**body, **change})
    assert (status, problem["code"]) == (400, "request_malformed")
    assert reception.desks.places["desk-1"].works == []
    with pytest.raises(RequestMalformed) as caught:
        parse_json(json.dumps({**body, "security_code": "98765"}).encode(), Order)
    assert "98765" not in str(caught.value)


async def test_a_birth_before_all_eras_is_no_number(reception: Reception, body: dict[str, Any]) -> None:
    """A date for which there is no 照合番号B is refused before the desk is touched."""
    status, problem = await ask(reception, {**body, "birth": date(1850, 1, 1).isoformat()})
    assert (status, problem["code"]) == (422, "verification_number_invalid")
    assert reception.desks.places["desk-1"].works == []


async def test_a_wrong_number_costs_a_try_and_the_last_is_kept(
    reception: Reception, body: dict[str, Any]
) -> None:
    """How many are left is told; the last one is used on request only."""
    left: int | None = None
    while left != 1:
        status, problem = await ask(reception, wrong(body))
        assert (status, problem["code"]) == (422, "verification_number_rejected")
        assert left is None or problem["tries_left"] == left - 1
        left = problem["tries_left"]
    assert (await ask(reception, body))[1]["code"] == "verification_number_last_try"
    assert (await ask(reception, {**body, "last_try": True}))[0] == 200


async def test_without_a_root_no_front_is_read(reception: Reception, body: dict[str, Any]) -> None:
    """Where nobody has said which root to believe, no card is asked."""
    reception.readings.reader = None
    status, problem = await ask(reception, body)
    assert (status, problem["code"]) == (503, "config_invalid")
    assert reception.desks.places["desk-1"].works == []


async def test_whose_desk_it_is_counts(reception: Reception, body: dict[str, Any]) -> None:
    """A desk that is somebody else's, one that there is not, and one that is taken."""
    async with reception.theirs.post(PATH, json=body) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "access_denied")
    assert (await ask(reception, {**body, "desk": "desk-9"}))[1]["code"] == "desk_unknown"
    reception.gates.close("waiting-for-card")
    first = asyncio.create_task(ask(reception, body))
    await reception.gates.reached("waiting-for-card")
    assert (await ask(reception, body))[1]["code"] == "reader_busy"
    reception.gates.open()
    assert (await first)[0] == 200


async def test_a_card_that_is_pulled_or_not_genuine_shows_nothing(
    reception: Reception, body: dict[str, Any], data: CardData, hierarchy: Hierarchy, now: datetime
) -> None:
    """There is a front or a problem, and never half a front."""
    phone = hierarchy.issue_card(now=now, kind=Kind.ANDROID)
    for on_the_desk, code in (
        (card(data, Removed(3)), "card_removed"),
        (card(data, WrongFrontSignature()), "front_not_genuine"),
        (card(phone), "card_without_front"),
        (None, "card_absent"),
    ):
        reception.desks.places["desk-1"].card = on_the_desk
        _, problem = await ask(reception, body)
        assert (problem["code"], "photo" in problem) == (code, False)


@pytest.mark.parametrize("point", ["waiting-for-card", "talking"])
async def test_a_caller_who_leaves_takes_the_reading_with_them(
    point: str, reception: Reception, body: dict[str, Any]
) -> None:
    """There is nobody to show it to: the card is let go of, and nothing stays under way."""
    reception.gates.close(point)
    asking = asyncio.create_task(ask(reception, body))
    await reception.gates.reached(point)
    asking.cancel()
    await asyncio.wait((asking,))
    async with asyncio.timeout(LONG):
        while reception.desks.places["desk-1"].engaged:  # noqa: ASYNC110  # the desk rings no bell
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    assert (reception.jobs.under_way, reception.services.budgets.under_way("mine")) == (0, 0)


async def test_at_the_end_a_reading_is_cancelled(reception: Reception, body: dict[str, Any]) -> None:
    """What does not finish in the time of the draining is told so, and nothing new is begun."""
    reception.gates.close("waiting-for-card")
    asking = asyncio.create_task(ask(reception, body))
    await reception.gates.reached("waiting-for-card")
    await reception.jobs.drain(0)
    status, problem = await asking
    assert (status, problem["code"]) == (503, "gateway_draining")
    assert (await ask(reception, body))[1]["code"] == "gateway_draining"
