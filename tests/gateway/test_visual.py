"""The check by the staff's eyes (目視) over a real socket: front, decision and proof in one session with one card."""

import asyncio
import json
import logging
from base64 import b64decode
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from appliance.errors import DecisionLate, DecisionNotAwaited, HolderNotMatched, ResourceAbsent
from appliance.gateway.comparison import Comparison, FrontView
from appliance.gateway.http import parse_json
from appliance.gateway.order import Order
from appliance.policy import Policy
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import WrongFrontSignature
from appliance.simulator.kinds import Kind
from appliance.simulator.people import Person
from appliance.simulator.pki import Hierarchy
from tests.gateway.reception import LONG, Reception, card

PATH = "/v1/authentications"
VISUAL = {"method": "visual", "operator": "operator-3"}
FACE = {"method": "face", "device": "face-1"}
SAME, OTHER = {"same_person": True}, {"same_person": False}


@pytest.fixture
def body(front: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked for."""
    return {"desk": "desk-1", "mode": "pinless", "identity_check": VISUAL, "front": front}


async def stage(reception: Reception, at: str, wanted: str) -> None:
    """Wait until the authentication *at* its address is at the stage *wanted*."""
    async with asyncio.timeout(LONG), reception.mine.get(f"{at}/events") as stream:
        async for line in stream.content:
            assert not line.startswith(b"event: done"), f"it ended before {wanted}"
            if line.startswith(b"data:") and json.loads(line[5:])["stage"] == wanted:
                return


async def shown(reception: Reception, body: dict[str, Any], **headers: str) -> str:
    """Begin what *body* asks for, and return where it is, once a decision is awaited."""
    at = await reception.begin(body, **headers)
    await stage(reception, at, "awaiting-decision")
    return at


async def get_front(reception: Reception, at: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of the answer."""
    async with reception.mine.get(f"{at}/front") as answer:
        return answer.status, await answer.json()


async def decide(reception: Reception, at: str, decision: object = SAME) -> tuple[int, dict[str, Any]]:
    """Decide, wait for the end, and return status and body of the answer."""
    async with reception.mine.post(f"{at}/decision?wait=30", json=decision) as answer:
        return answer.status, await answer.json()


# --- how it goes well ------------------------------------------------------------------------------------


async def test_the_front_is_seen_and_the_same_card_proves_its_holder(
    reception: Reception, body: dict[str, Any], person: Person
) -> None:
    """What is shown is the front as a browser shows it; what is decided leads to a token that names who has looked."""
    at = await shown(reception, body)
    async with reception.mine.get(f"{at}/front") as answer:
        seen = await answer.json()
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert (seen["birth"], seen["sex"]) == (person.birth.isoformat(), person.sex.value)
    assert seen["expires"] == person.expires.isoformat()
    for name in ("photo_png", "name_png", "address_png"):
        with Image.open(BytesIO(b64decode(seen[name], validate=True)), formats=["PNG"]) as picture:
            assert picture.width > 1
    status, ended = await decide(reception, at)
    assert (status, ended["state"]) == (200, "authenticated")
    assert ended["claims"]["identity_check"] == VISUAL
    (reserved, _finished) = await reception.remembered()
    assert (reserved.check, reserved.checked_by) == ("visual", "operator-3")  # type: ignore[union-attr]  # the first is
    (work,) = reception.desks.places["desk-1"].works
    assert work.purpose == "visual"


async def test_the_stages_are_told_in_their_order(reception: Reception, body: dict[str, Any]) -> None:
    """Whoever follows sees the front being read, the question, and the conversation after it."""
    reception.gates.close("talking")
    at = await reception.begin(body)
    await stage(reception, at, "reading")
    reception.gates.pass_on("talking", closing="signing")
    await stage(reception, at, "awaiting-decision")
    await reception.mine.post(f"{at}/decision", json=SAME)
    await stage(reception, at, "talking")
    reception.gates.pass_on("signing", closing="deciding")
    await stage(reception, at, "deciding")
    reception.gates.open()
    assert (await reception.end(at))["state"] == "authenticated"


async def test_the_same_decision_may_be_sent_again(reception: Reception, body: dict[str, Any]) -> None:
    """Whose answer got lost asks again, also when all is over; another decision comes too late."""
    at = await shown(reception, body)
    for _ in range(2):
        status, ended = await decide(reception, at)
        assert (status, ended["state"]) == (200, "authenticated")
    status, problem = await decide(reception, at, OTHER)
    assert (status, problem["code"]) == (409, "decision_not_awaited")


async def test_a_request_that_is_sent_again_finds_the_first(
    reception: Reception, body: dict[str, Any]
) -> None:
    """Under one key there is one conversation with the card, and what is printed on it is not remembered for that."""
    at = await shown(reception, body, **{"Idempotency-Key": "k"})
    assert await reception.begin(body, **{"Idempotency-Key": "k"}) == at
    async with reception.mine.post(
        PATH, json={**body, "front": {**body["front"], "last_try": True}}, headers={"Idempotency-Key": "k"}
    ) as answer:
        assert (await answer.json())["code"] == "idempotency_conflict"
    remembered = repr(reception.authentications.repeats._begun)
    # Four digits alone turn up in any id: what is looked for is a value, and what would stand beside it.
    for secret in (body["front"]["birth"], f"'{body['front']['security_code']}'", "security_code"):
        assert secret not in remembered
    await decide(reception, at, OTHER)


# --- how it is refused ------------------------------------------------------------------------------------


async def test_another_person_is_refused_and_no_key_is_used(
    reception: Reception, body: dict[str, Any]
) -> None:
    """Whoever is not the one on the card gets no token, and the ledger has nothing to tell of."""
    at = await shown(reception, body)
    status, ended = await decide(reception, at, OTHER)
    assert (status, ended["state"], ended["problem"]["code"]) == (200, "refused", "holder_not_matched")
    assert "token" not in ended
    assert await reception.remembered() == []


async def test_a_front_of_one_card_and_a_proof_of_another_do_not_go_together(
    reception: Reception, body: dict[str, Any], data: CardData, hierarchy: Hierarchy, now: datetime
) -> None:
    """A card that is exchanged while somebody looks, even for itself, ends it before any key is used."""
    for another in (card(hierarchy.issue_card(now=now)), card(data), None):
        at = await shown(reception, body)
        reception.desks.places["desk-1"].card = another
        _, ended = await decide(reception, at)
        assert (ended["state"], ended["problem"]["code"]) == ("refused", "card_removed")
        reception.desks.places["desk-1"].card = card(data)
    assert await reception.remembered() == []


async def test_who_does_not_decide_in_time_begins_again(reception: Reception, body: dict[str, Any]) -> None:
    """The desk is free again, the front is gone, and what comes late changes nothing."""
    reception.authentications.policy = replace(reception.authentications.policy, decision_seconds=0.05)
    at = await reception.begin(body)
    ended = await reception.end(at)
    assert (ended["state"], ended["problem"]["code"]) == ("refused", "decision_late")
    assert (await decide(reception, at))[1]["code"] == "decision_not_awaited"
    assert (await get_front(reception, at))[0] == 404
    assert reception.desks.places["desk-1"].engaged is False


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"front": None}, 422, "front_missing"),
        ({"identity_check": {"method": "visual", "operator": "operator-9"}}, 422, "operator_unknown"),
        (
            {"identity_check": {"method": "face", "device": "face-9"}, "front": None},
            422,
            "face_device_unknown",
        ),
        (
            # Another desk's device: a terminal may claim its own alone.
            {"desk": "ward-3.left", "identity_check": {"method": "face", "device": "face-2"}, "front": None},
            422,
            "face_device_unknown",
        ),
        ({"identity_check": {"method": "none_emergency"}, "front": None}, 422, "emergency_closed"),
        ({"identity_check": {"method": "none_emergency"}}, 400, "request_malformed"),
        ({"identity_check": FACE}, 400, "request_malformed"),
        ({"identity_check": None}, 400, "request_malformed"),
        ({"mode": "pin", "identity_check": None}, 400, "request_malformed"),
    ],
)
async def test_what_may_not_be_claimed_touches_no_card(
    change: dict[str, Any], status: int, code: str, reception: Reception, body: dict[str, Any]
) -> None:
    """Each for its own reason, and before anything is begun."""
    async with reception.mine.post(PATH, json={**body, **change}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (status, code)
    assert reception.desks.places["desk-1"].works == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"birth": "1867-12-31"}, 422, "verification_number_invalid"),
        ({"birth": "1980-13-01"}, 400, "request_malformed"),
        ({"security_code": "12345"}, 400, "request_malformed"),
        ({"security_code": "\uff11\uff12\uff13\uff14"}, 400, "request_malformed"),
        ({"more": 1}, 400, "request_malformed"),
    ],
)
async def test_what_is_not_printed_on_a_card_costs_no_try(
    change: dict[str, Any], status: int, code: str, reception: Reception, body: dict[str, Any]
) -> None:
    """A number that cannot be one never comes to the card."""
    async with reception.mine.post(PATH, json={**body, "front": {**body["front"], **change}}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (status, code)
    assert reception.desks.places["desk-1"].works == []


async def test_a_wrong_number_says_how_many_tries_are_left_and_spares_the_last(
    reception: Reception, body: dict[str, Any]
) -> None:
    """Ten tries go down to one, which is used only where the request says so; no front is shown, and nothing is decided."""
    wrong = "0000" if body["front"]["security_code"] != "0000" else "0001"
    mistaken = {**body, "front": {**body["front"], "security_code": wrong}}
    for left in range(9, 0, -1):
        at = await reception.begin(mistaken)
        problem = (await reception.end(at))["problem"]
        assert (problem["code"], problem["tries_left"]) == ("verification_number_rejected", left)
        assert (await get_front(reception, at))[0] == 404
    for one in (mistaken, body):
        assert (await reception.end(await reception.begin(one)))["problem"][
            "code"
        ] == "verification_number_last_try"
    at = await shown(reception, {**body, "front": {**body["front"], "last_try": True}})
    assert (await decide(reception, at))[1]["state"] == "authenticated"


async def test_a_card_that_shows_no_front_of_its_own_is_not_compared(
    reception: Reception, body: dict[str, Any], data: CardData, hierarchy: Hierarchy, now: datetime
) -> None:
    """A forged front, and a phone, which has none: nobody is asked to look."""
    for on_the_desk, code in (
        (card(data, WrongFrontSignature()), "front_not_genuine"),
        (card(hierarchy.issue_card(now=now, kind=Kind.ANDROID)), "card_without_front"),
    ):
        reception.desks.places["desk-1"].card = on_the_desk
        assert (await reception.end(await reception.begin(body)))["problem"]["code"] == code


async def test_a_card_without_pins_leads_to_face_or_visual(
    reception: Reception, body: dict[str, Any], hierarchy: Hierarchy, now: datetime, person: Person
) -> None:
    """顔認証マイナンバーカード: the PIN is not tried, the clerk is told what to do instead, and that works."""
    without = hierarchy.issue_card(now=now, person=person, kind=Kind.FACE_ONLY)
    reception.desks.places["desk-1"].card = card(without)
    ended = await reception.end(await reception.begin({"desk": "desk-1", "mode": "pin"}))
    assert ended["problem"]["code"] == "card_without_pin"
    assert "face-recognition reader" in ended["problem"]["clerk"]
    face = {"desk": "desk-1", "mode": "pinless", "identity_check": FACE}
    assert (await reception.end(await reception.begin(face)))["state"] == "authenticated"
    assert (await decide(reception, await shown(reception, body)))[1]["state"] == "authenticated"


async def test_without_a_root_or_operators_no_front_is_read(
    reception: Reception, body: dict[str, Any]
) -> None:
    """An appliance that was not told what to believe, or whom, says so and reads nothing."""
    reception.readings.reader = None
    async with reception.mine.post(PATH, json=body) as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "config_invalid")
    reception.authentications.policy = Policy()
    async with reception.mine.post(PATH, json=body) as answer:
        assert (answer.status, (await answer.json())["code"]) == (422, "operator_unknown")
    assert reception.desks.places["desk-1"].works == []


# --- whose it is, and what stays ---------------------------------------------------------------------------


async def test_front_and_decision_are_the_owners_alone(reception: Reception, body: dict[str, Any]) -> None:
    """Another reception finds neither, and what it sends changes nothing."""
    at = await shown(reception, {**body, "desk": "desk-2"})
    async with reception.theirs.get(f"{at}/front") as answer:
        assert answer.status == 404
    async with reception.theirs.post(f"{at}/decision", json=SAME) as answer:
        assert answer.status == 404
    assert (await get_front(reception, at))[0] == 200
    await decide(reception, at, OTHER)


async def test_there_is_a_front_only_while_a_decision_is_awaited(
    reception: Reception, body: dict[str, Any]
) -> None:
    """Not before it is read, and not after the decision, a cancellation, or the end of an authentication by face."""
    reception.gates.close("talking")
    at = await reception.begin(body)
    await reception.gates.reached("talking")
    assert (await get_front(reception, at))[0] == 404
    assert (await decide(reception, at))[1]["code"] == "decision_not_awaited"
    reception.gates.open()
    await stage(reception, at, "awaiting-decision")
    assert (await get_front(reception, at))[0] == 200
    async with reception.mine.delete(at) as answer:
        assert (await answer.json())["state"] == "cancelled"
    assert (await get_front(reception, at))[0] == 404
    assert (await decide(reception, at))[1]["code"] == "decision_not_awaited"
    at = await reception.begin({"desk": "desk-1", "mode": "pinless", "identity_check": FACE})
    assert (await get_front(reception, at))[0] == 404
    assert (await decide(reception, at))[1]["code"] == "decision_not_awaited"


@pytest.mark.parametrize(
    "decision", [{}, {"same_person": 1}, {"same_person": "true"}, {**SAME, "more": 1}, []]
)
async def test_what_is_no_decision_decides_nothing(
    decision: object, reception: Reception, body: dict[str, Any]
) -> None:
    """Only yes and no are decisions."""
    at = await shown(reception, body)
    status, problem = await decide(reception, at, decision)
    assert (status, problem["code"]) == (400, "request_malformed")
    assert (await decide(reception, at))[1]["state"] == "authenticated"


async def test_nothing_of_the_front_is_logged_or_kept(
    reception: Reception, body: dict[str, Any], person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """At no level is there anything of 照合番号B or of what it opens; the job that is kept holds no front."""
    caplog.set_level(logging.DEBUG)
    at = await shown(reception, {**body, "evidence": True})
    await get_front(reception, at)
    _, ended = await decide(reception, at)
    text = "".join(f"{record.getMessage()}{record.__dict__}" for record in caplog.records) + json.dumps(ended)
    for secret in (person.number_b, body["front"]["birth"], person.birth.strftime("%Y%m%d"), person.name):
        assert secret not in text
    comparison = reception.jobs.find("mine", ended["id"]).comparison
    assert comparison is not None
    assert [getattr(comparison, name) for name in ("_front", "_decision")] == [None, None]
    order = parse_json(json.dumps(body).encode(), Order)
    assert body["front"]["birth"] not in repr(order)
    assert body["front"]["security_code"] not in repr(order)


async def test_who_stops_following_is_no_failure(
    reception: Reception, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A page that is left in the middle leaves nothing in the log, and the authentication goes on."""
    at = await shown(reception, body)
    for _ in range(3):
        await stage(reception, at, "awaiting-decision")
    assert (await decide(reception, at))[1]["state"] == "authenticated"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


# --- the comparison by itself --------------------------------------------------------------------------------

VIEW = FrontView(
    birth=datetime(1980, 2, 17).date(),  # noqa: DTZ001 - a day
    sex="1",
    expires=datetime(2035, 2, 17).date(),  # noqa: DTZ001 - a day
    photo_png="",
    name_png="",
    address_png="",
)


async def test_a_decision_at_the_last_moment_is_never_half_a_decision() -> None:
    """Where time is over and the task has not run yet, who decides is told so, and the front is gone."""
    comparison = Comparison()
    waiting = asyncio.create_task(comparison.made(VIEW, LONG))
    await asyncio.sleep(0)
    assert comparison.front is VIEW
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(DecisionNotAwaited):
        comparison.decide(same_person=True)
    with pytest.raises(ResourceAbsent):
        _ = comparison.front
    with pytest.raises(DecisionLate):
        await comparison.made(VIEW, 0)
    late = asyncio.create_task(comparison.made(VIEW, LONG))
    await asyncio.sleep(0)
    comparison.decide(same_person=False)
    with pytest.raises(ResourceAbsent):
        _ = comparison.front
    with pytest.raises(HolderNotMatched):
        await late
