"""`/v1/emergency-windows` and the check that nobody makes, over real sockets: two operators, a reception, a real ledger."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from appliance.errors import BudgetSpent
from appliance.ledger import audit
from appliance.ledger.entries import Finished, Reserved
from appliance.simulator.card_data import CardData
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import Anchors
from appliance.trust.decision import Trust, decide
from tests.gateway.reception import AUDIENCE, HOURS, Reception, open_reception
from tests.gateway.test_authentications import verified
from tests.ledger.conftest import ORIGIN

PATH = "/v1/emergency-windows"
NOBODY: dict[str, Any] = {
    "desk": "desk-1",
    "mode": "pinless",
    "identity_check": {"method": "none_emergency"},
}


@pytest.fixture(scope="module")
def data(hierarchy: Hierarchy, now: datetime) -> CardData:
    """Return what the cards at the desks are made of."""
    return hierarchy.issue_card(now=now)


@pytest.fixture
async def reception(hierarchy: Hierarchy, data: CardData, now: datetime) -> AsyncIterator[Reception]:
    """Give a gateway."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        async with open_reception(Path(folder), hierarchy, data, now) as opened:
            yield opened


@pytest.fixture
def yamada(reception: Reception) -> aiohttp.ClientSession:
    """Return an operator."""
    return reception.operators["yamada"]


@pytest.fixture
def sato(reception: Reception) -> aiohttp.ClientSession:
    """Return another one."""
    return reception.operators["sato"]


def told(time: datetime) -> str:
    """Return *time* as the gateway tells it."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def proposal(now: datetime, **changes: object) -> dict[str, object]:
    """Return a proposal for four hours."""
    return {"reason": "unconscious", "until": told(now + timedelta(hours=4)), **changes}


async def asked(
    session: aiohttp.ClientSession, method: str, path: str = "", body: object = None, **headers: str
) -> tuple[int, Any]:
    """Return status and body of what a session gets at *path* below the windows."""
    async with session.request(method, PATH + path, json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def opened(reception: Reception, **changes: object) -> str:
    """Have a window opened, and return its id."""
    body = proposal(reception.clock.now, **changes)
    status, window = await asked(reception.operators["yamada"], "POST", body=body)
    assert status == 201, window
    confirmation = f"/{window['id']}/confirmation"
    status, window = await asked(reception.operators["sato"], "POST", confirmation, {"confirm": True})
    assert (status, window["state"]) == (200, "open"), window
    identity: str = window["id"]
    return identity


async def refused(reception: Reception, body: dict[str, Any]) -> tuple[int, str]:
    """Return status and code of what a reception is refused with."""
    async with reception.mine.post("/v1/authentications", json=body) as answer:
        return answer.status, (await answer.json(content_type=None))["code"]


def audited(reception: Reception) -> audit.Report:
    """Have the ledger verified with its contents."""
    keeper = reception.keeper
    with keeper.log.store.reading() as reader:
        return audit.verify(reader, keeper.key, contents=True)


# --- how it goes well ------------------------------------------------------------------------------------


async def test_an_unconscious_patient(
    reception: Reception, hierarchy: Hierarchy, now: datetime, yamada: aiohttp.ClientSession
) -> None:
    """
    While a window is open the card alone is enough, and everything that comes of it says that nobody checked.

    Token, evidence and ledger name the window; the ledger has who opened it, and verifies.
    """
    assert await refused(reception, NOBODY) == (422, "emergency_closed")
    window = await opened(reception)
    ended = await reception.end(await reception.begin({**NOBODY, "evidence": True}))
    claims = verified(ended["token"], AUDIENCE, now)
    assert claims["identity_check"] == {
        "method": "none_emergency",
        "window": window,
        "reason": "unconscious",
    }
    assert (claims["mode"], claims["institution_code"]) == ("pinless", "9912345")
    steps = {
        step.name: step.finding
        for step in decide(ended["evidence"].encode(), Trust(Anchors(hierarchy.ca_certificates)))
    }
    assert steps["identity-check"].startswith(
        f"none_emergency: NOBODY checked the holder; emergency window {window}"
    )
    reserved, finished = await reception.remembered()
    assert isinstance(reserved, Reserved)
    assert (reserved.check, reserved.checked_by) == ("none_emergency", window)
    assert isinstance(finished, Finished)
    assert (await asked(yamada, "DELETE", f"/{window}"))[0] == 200
    assert await refused(reception, NOBODY) == (422, "emergency_closed")
    report = audited(reception)
    assert (report.windows, report.unchecked) == (1, 1)


async def test_a_window_as_operators_see_it(
    now: datetime, yamada: aiohttp.ClientSession, sato: aiohttp.ClientSession
) -> None:
    """Who proposed, who confirmed, why, where, until when; whose it is depends on who looks; a closed one is in no list."""
    status, nothing = await asked(yamada, "GET")
    assert (status, nothing) == (
        200,
        {
            "node": ORIGIN,
            "now": told(now),
            "longest_hours": HOURS,
            "reasons": ["unconscious", "disaster", "drill"],
            "windows": [],
        },
    )
    async with yamada.post(PATH, json=proposal(now, reason="drill", desks=["desk-2", "desk-1"])) as answer:
        proposed = await answer.json()
        assert (answer.status, answer.headers["Location"]) == (201, f"{PATH}/{proposed['id']}")
    until = told(now + timedelta(hours=4))
    assert proposed == {
        "id": "w-0",
        "state": "proposed",
        "reason": "drill",
        "desks": ["desk-1", "desk-2"],
        "proposed_by": "yamada",
        "proposed_at": told(now),
        "confirmed_by": None,
        "confirmed_at": None,
        "until": until,
        "confirm_before": told(now + timedelta(minutes=15)),
        "yours": True,
    }
    assert (await asked(sato, "GET"))[1]["windows"] == [{**proposed, "yours": False}]
    open_now = (await asked(sato, "POST", "/w-0/confirmation", {"confirm": True}))[1]
    expected = {
        **proposed,
        "state": "open",
        "confirmed_by": "sato",
        "confirmed_at": told(now),
        "confirm_before": None,
        "yours": False,
    }
    assert open_now == expected
    assert await asked(sato, "DELETE", "/w-0") == (200, {**expected, "state": "closed"})
    assert (await asked(yamada, "GET"))[1]["windows"] == []


async def test_a_reception_sees_whether_it_may_be_used(reception: Reception, now: datetime) -> None:
    """The desks that a window is for offer it, with its reason and end, as long as it is open."""
    checks = reception.authentications.checks
    assert all(check.__struct_config__.tag != "none_emergency" for check in checks("desk-1"))
    window = await opened(reception, desks=["desk-1"])
    (offered,) = [check for check in checks("desk-1") if check.__struct_config__.tag == "none_emergency"]
    assert (getattr(offered, "window", None), getattr(offered, "reason", None)) == (window, "unconscious")
    assert getattr(offered, "until", None) == (now + timedelta(hours=4)).timestamp()
    assert all(check.__struct_config__.tag != "none_emergency" for check in checks("desk-2"))


# --- who may not, and what is asked wrongly --------------------------------------------------------------


async def test_one_operator_is_not_two(
    reception: Reception, now: datetime, yamada: aiohttp.ClientSession
) -> None:
    """Who has proposed a window cannot confirm it, and no reception may do anything about it."""
    window = (await asked(yamada, "POST", body=proposal(now)))[1]["id"]
    status, problem = await asked(yamada, "POST", f"/{window}/confirmation", {"confirm": True})
    assert (status, problem["code"]) == (409, "emergency_same_operator")
    assert await refused(reception, NOBODY) == (422, "emergency_closed")
    for method, path, body in (
        ("GET", "", None),
        ("POST", "", proposal(now)),
        ("POST", f"/{window}/confirmation", {"confirm": True}),
        ("DELETE", f"/{window}", None),
    ):
        status, problem = await asked(reception.mine, method, path, body)
        assert (status, problem["code"]) == (403, "access_denied")


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"reason": "unconscious"},
        {"reason": "bored", "until": "2026-11-22T14:00:00Z"},
        {"reason": "unconscious", "until": "2026-11-22T14:00:00"},
        {"reason": "unconscious", "until": "tomorrow"},
        {"reason": "unconscious", "until": 1_800_000_000},
        {"reason": "unconscious", "until": "2026-11-22T14:00:00Z", "desks": ["Desk 1"]},
        {"reason": "unconscious", "until": "2026-11-22T14:00:00Z", "desks": ["desk-1"] * 17},
        {"reason": "unconscious", "until": "2026-11-22T14:00:00Z", "by": "sato"},
        {"reason": "unconscious", "until": "2026-11-22T14:00:00Z", "patient": "山田太郎"},
    ],
)
async def test_what_is_no_proposal_is_refused(
    body: object, reception: Reception, yamada: aiohttp.ClientSession
) -> None:
    """Another reason, an end without a zone, somebody else's name, a patient's name: nothing is written."""
    status, problem = await asked(yamada, "POST", body=body)
    assert (status, problem["code"]) == (400, "request_malformed")
    assert reception.keeper.log.size == 0


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"until": "1999-12-31T23:59:59Z"}, (422, "emergency_end_invalid")),
        ({"until": "0001-01-01T00:00:00+14:00"}, (422, "emergency_end_invalid")),
        ({"until": "9999-12-31T23:59:59-12:00"}, (422, "emergency_end_invalid")),
        ({"desks": ["desk-9"]}, (404, "desk_unknown")),
    ],
)
async def test_what_cannot_be_proposed_is_refused(
    changes: dict[str, object],
    refusal: tuple[int, str],
    reception: Reception,
    now: datetime,
    yamada: aiohttp.ClientSession,
) -> None:
    """An end that is past or too far away, and a desk that nobody has: each with its own code."""
    status, problem = await asked(yamada, "POST", body=proposal(now, **changes))
    assert (status, problem["code"]) == refusal
    assert reception.keeper.log.size == 0


@pytest.mark.parametrize(
    "body", [None, {}, {"confirm": False}, {"confirm": 1}, {"confirm": True, "by": "suzuki"}]
)
async def test_a_window_is_confirmed_on_purpose(
    body: object,
    reception: Reception,
    now: datetime,
    yamada: aiohttp.ClientSession,
    sato: aiohttp.ClientSession,
) -> None:
    """Nothing, the opposite, or something else with it opens nothing."""
    window = (await asked(yamada, "POST", body=proposal(now)))[1]["id"]
    assert (await asked(sato, "POST", f"/{window}/confirmation", body))[0] in {400, 415}
    assert await refused(reception, NOBODY) == (422, "emergency_closed")


async def test_windows_that_are_not_there(reception: Reception, sato: aiohttp.ClientSession) -> None:
    """Whatever is asked of one that never was, or is over, is answered alike."""
    window = await opened(reception)
    reception.clock.now += timedelta(hours=4)
    for identity in (window, "w-99", "4711", "w--1"):
        for method, path, body in (("POST", "/confirmation", {"confirm": True}), ("DELETE", "", None)):
            status, problem = await asked(sato, method, f"/{identity}{path}", body)
            assert (status, problem["code"]) == (404, "resource_absent"), (method, identity)


@pytest.mark.parametrize(
    "body",
    [
        {**NOBODY, "mode": "pin"},
        {**NOBODY, "identity_check": {"method": "none_emergency", "window": "w-0"}},
        {**NOBODY, "identity_check": {"method": "none_emergency", "reason": "drill"}},
        {**NOBODY, "front": {"birth": "1948-01-07", "expiry_year": 2031, "security_code": "1234"}},
        {**NOBODY, "last_pin_try": True},
    ],
)
async def test_the_reception_chooses_nothing_about_it(body: dict[str, Any], reception: Reception) -> None:
    """Which window, and why it is open, is the operators'; with a PIN or a front there is a check."""
    await opened(reception)
    assert await refused(reception, body) == (400, "request_malformed")


async def test_a_window_is_for_its_desks(reception: Reception) -> None:
    """At another desk it is as if there were none; and at no desk at all, that is what is said."""
    await opened(reception, desks=["desk-2"])
    assert await refused(reception, NOBODY) == (422, "emergency_closed")
    assert await refused(reception, {**NOBODY, "desk": "desk-9"}) == (404, "desk_unknown")
    ended = await reception.end(await reception.begin({**NOBODY, "desk": "desk-2"}))
    assert ended["state"] == "authenticated"


# --- what changes in the middle --------------------------------------------------------------------------


async def test_a_window_that_closes_before_the_key_is_used(
    reception: Reception, sato: aiohttp.ClientSession
) -> None:
    """An authentication that began in time is refused where its window is closed meanwhile; no key signs."""
    window = await opened(reception)
    reception.gates.close("talking")
    at = await reception.begin(NOBODY)
    await reception.gates.reached("talking")
    assert (await asked(sato, "DELETE", f"/{window}"))[0] == 200
    reception.gates.open()
    ended = await reception.end(at)
    assert (ended["state"], ended["problem"]["code"]) == ("refused", "emergency_closed")
    assert await reception.remembered() == []
    audited(reception)


async def test_no_budget_keeps_a_window_open(
    reception: Reception, sato: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator whose consoles have looked too often is refused everything but to close it."""
    window = await opened(reception)
    services = reception.everybody["sato"]
    monkeypatch.setattr(services.budgets, "_monotonic", lambda: 0.0)
    with contextlib.suppress(BudgetSpent):
        while True:
            services.budgets.look(services.directory.peers["sato"])
    assert (await asked(sato, "GET"))[0] == 429
    status, closed = await asked(sato, "DELETE", f"/{window}")
    assert (status, closed["state"]) == (200, "closed")


async def test_a_proposal_that_is_sent_again_is_one(
    reception: Reception, now: datetime, yamada: aiohttp.ClientSession, sato: aiohttp.ClientSession
) -> None:
    """Under one key it is one window, also where both come at once; another body under it is refused."""
    key = {"Idempotency-Key": "4711"}
    answers = await asyncio.gather(*(asked(yamada, "POST", body=proposal(now), **key) for _ in range(4)))
    assert {(status, window["id"]) for status, window in answers} == {(201, "w-0")}
    assert reception.keeper.log.size == 1
    status, problem = await asked(yamada, "POST", body=proposal(now, reason="drill"), **key)
    assert (status, problem["code"]) == (409, "idempotency_conflict")
    assert (await asked(sato, "POST", body=proposal(now), **key))[1]["id"] == "w-1"
    await asked(sato, "DELETE", "/w-0")
    status, problem = await asked(yamada, "POST", body=proposal(now), **key)
    assert (status, problem["code"]) == (404, "resource_absent")


async def test_what_the_ledger_refuses_may_be_proposed_again(
    reception: Reception, now: datetime, yamada: aiohttp.ClientSession
) -> None:
    """A proposal that is not durable is none, and its key is free again."""
    reception.ledger_broken_at.add(1)
    key = {"Idempotency-Key": "4711"}
    status, problem = await asked(yamada, "POST", body=proposal(now), **key)
    assert (status, problem["code"]) == (503, "ledger_unavailable")
    assert (await asked(yamada, "POST", body=proposal(now), **key))[0] == 201


async def test_an_appliance_that_ends_opens_none(
    reception: Reception, now: datetime, yamada: aiohttp.ClientSession, sato: aiohttp.ClientSession
) -> None:
    """A window would end with it; closing is possible to the last."""
    window = await opened(reception)
    proposed = (await asked(yamada, "POST", body=proposal(now)))[1]["id"]
    for services in reception.everybody.values():
        services.is_draining = True
    for session, path, body in (
        (yamada, "", proposal(now)),
        (sato, f"/{proposed}/confirmation", {"confirm": True}),
    ):
        status, problem = await asked(session, "POST", path, body)
        assert (status, problem["code"]) == (503, "gateway_draining")
    assert (await asked(sato, "DELETE", f"/{window}"))[0] == 200


async def test_switched_off_means_off(
    reception: Reception, now: datetime, yamada: aiohttp.ClientSession
) -> None:
    """Where the configuration permits none that is what the operator hears, and a list says so."""
    reception.emergency.change(0.0, ["yamada", "sato"])
    status, problem = await asked(yamada, "POST", body=proposal(now))
    assert (status, problem["code"]) == (422, "emergency_not_permitted")
    assert (await asked(yamada, "GET"))[1]["longest_hours"] == 0.0


async def test_each_refusal_has_words_for_people(
    reception: Reception, now: datetime, yamada: aiohttp.ClientSession
) -> None:
    """An operator reads in Japanese what happened and what to do."""
    window = (await asked(yamada, "POST", body=proposal(now)))[1]["id"]
    path = f"{PATH}/{window}/confirmation"
    headers = {"Accept-Language": "ja"}
    async with yamada.post(path, json={"confirm": True}, headers=headers) as answer:
        problem = json.loads(await answer.text())
    assert problem["title"] == "緊急運用を提案した人は、自分で承認できません。"
    assert reception.emergency.open_for("desk-1") is None
