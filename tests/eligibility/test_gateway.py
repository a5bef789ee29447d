"""`eligibility` at `/v1/authentications`: asked after a success, shown to its owner, and never the cause of a refusal."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.card.jpki import Mode
from appliance.catalogue import Language
from appliance.eligibility.service import Answer, Summary
from appliance.errors import (
    BY_CODE,
    EligibilityAnswerForeign,
    EligibilityError,
    EligibilityRefused,
    EligibilityTimeout,
    EligibilityUnavailable,
)
from appliance.gateway.eligibility import Outcome, eligibility_view
from appliance.gateway.jobs import Phase, State
from appliance.ledger.entries import Finished
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import WrongSignature
from appliance.simulator.pki import Hierarchy
from tests.gateway.reception import Reception, card, open_reception

PATH = "/v1/authentications"
ORDER: dict[str, Any] = {"desk": "desk-1", "mode": Mode.PIN, "eligibility": True}
NAME = "被保険者 太郎"
ANSWER = Answer(Summary.VALID, f'{{"name":"{NAME}"}}', "application/fhir+json", "E-4711")


@dataclass(slots=True)
class Service:
    """Fits `gateway.eligibility.Eligibility`; answers, or raises, when *open*."""

    said: Answer | EligibilityError = ANSWER
    is_configured: bool = True
    open: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    async def ask(self, token: str, desk: str, request_id: str) -> Answer:
        """Answer."""
        self.asked.append((token, desk, request_id))
        self.reached.set()
        await self.open.wait()
        if isinstance(self.said, EligibilityError):
            raise self.said
        return self.said


@pytest.fixture(scope="module")
def data(hierarchy: Hierarchy, now: datetime) -> CardData:
    """What the cards at the desks are made of."""
    return hierarchy.issue_card(now=now)


@pytest.fixture
def service() -> Service:
    """A service that answers at once."""
    made = Service()
    made.open.set()
    return made


@pytest.fixture
async def reception(
    hierarchy: Hierarchy, data: CardData, now: datetime, service: Service
) -> AsyncIterator[Reception]:
    """A gateway with that service."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        async with open_reception(Path(folder), hierarchy, data, now) as opened:
            opened.authentications.eligibility = service
            yield opened


async def test_the_answer_comes_with_the_result(reception: Reception, service: Service) -> None:
    """The service got the very token of the result, and its answer is there word for word."""
    ended = await reception.end(await reception.begin(ORDER, **{"X-Request-Id": "visit-4711"}))
    assert ended["state"] == State.AUTHENTICATED
    assert ended["eligibility"] == {
        "state": "answered",
        "summary": "valid",
        "reference": "E-4711",
        "document": {"media_type": "application/fhir+json", "content": ANSWER.document},
    }
    assert service.asked == [(ended["token"], "desk-1", "visit-4711")]


async def test_nobody_is_asked_who_was_not_to_be(reception: Reception, service: Service) -> None:
    """Without the member, or with false, there is a result and no question."""
    for order in ({**ORDER, "eligibility": False}, {key: ORDER[key] for key in ("desk", "mode")}):
        ended = await reception.end(await reception.begin(order))
        assert (ended["state"], ended["eligibility"]) == ("authenticated", {"state": "none"})
    assert service.asked == []


async def test_a_refused_authentication_asks_nobody(
    reception: Reception, service: Service, data: CardData
) -> None:
    """There is nothing to ask about whoever did not prove to be there."""
    reception.desks.places["desk-1"].card = card(data, WrongSignature())
    ended = await reception.end(await reception.begin(ORDER))
    assert (ended["state"], ended["eligibility"]) == ("refused", {"state": "none"})
    assert service.asked == []


@pytest.mark.parametrize("there", [False, True])
async def test_what_is_not_configured_is_refused_before_the_card(
    there: object, reception: Reception, service: Service
) -> None:
    """Whoever asks for eligibility where there is none hears it at once, and the member is not shown to others."""
    service.is_configured = False
    reception.authentications.eligibility = service if there else None
    async with reception.mine.post(PATH, json=ORDER) as answer:
        assert (answer.status, (await answer.json())["code"]) == (422, "eligibility_not_configured")
    assert reception.desks.places["desk-1"].works == []
    ended = await reception.end(await reception.begin({**ORDER, "eligibility": False}))
    assert ended["state"] == "authenticated"
    assert "eligibility" not in ended


@pytest.mark.parametrize(
    "error",
    [
        EligibilityUnavailable("-"),
        EligibilityTimeout("-"),
        EligibilityRefused("the service refuses: login", "login"),
        EligibilityAnswerForeign("-"),
    ],
    ids=lambda error: error.code,
)
async def test_the_services_failure_is_not_ours(
    error: EligibilityError, reception: Reception, service: Service
) -> None:
    """The authentication is authenticated, with its token, and recorded as such; beside it stands why nobody answered."""
    service.said = error
    at = await reception.begin(ORDER)
    ended = await reception.end(at)
    assert (ended["state"], "problem" in ended) == ("authenticated", False)
    assert ended["claims"]["terminal"] == "desk-1"
    found = ended["eligibility"]
    assert (found["state"], found["problem"]["code"]) == ("failed", error.code)
    assert found["problem"].get("reason") == getattr(error, "reason", None)
    assert {"summary", "document", "reference"}.isdisjoint(found)
    async with reception.mine.get(at, headers={"Accept-Language": "ja"}) as answer:
        assert "connection" not in answer.headers  # no reason for another node
        assert (await answer.json())["eligibility"]["problem"]["clerk"].endswith("。")
    finished = [one for one in await reception.remembered() if isinstance(one, Finished)]
    assert [one.outcome for one in finished] == ["authenticated"]


async def test_while_it_is_asked_the_desk_is_free(reception: Reception, service: Service) -> None:
    """The stage says so, no token is out yet, and the next card need not wait."""
    service.open.clear()
    at = await reception.begin(ORDER)
    await service.reached.wait()
    async with reception.mine.get(at) as answer:
        shown = await answer.json()
    assert (shown["state"], shown["stage"]) == ("running", Phase.ASKING_ELIGIBILITY)
    assert (shown["eligibility"], "token" in shown) == ({"state": "asking"}, False)
    assert not reception.desks.places["desk-1"].engaged
    second = await reception.end(await reception.begin({**ORDER, "eligibility": False}))
    assert second["state"] == "authenticated"
    service.open.set()
    assert (await reception.end(at))["eligibility"]["state"] == "answered"


async def test_who_follows_sees_that_it_is_asked(reception: Reception, service: Service) -> None:
    """The stage is one of the events, and the last one has the answer."""
    service.open.clear()
    at = await reception.begin(ORDER)
    await service.reached.wait()
    async with reception.mine.get(f"{at}/events") as stream:
        begun = b""
        while b'"asking-eligibility"' not in begun:
            begun += await stream.content.readline()
        service.open.set()
        assert NAME in (await stream.content.read()).decode()


async def test_cancelling_ends_the_question_alone(reception: Reception, service: Service) -> None:
    """What has succeeded and is recorded cannot be cancelled; that nobody waits for the service any more is told."""
    service.open.clear()
    at = await reception.begin(ORDER)
    await service.reached.wait()
    async with reception.mine.delete(at) as answer:
        shown = await answer.json()
    assert (answer.status, shown["state"]) == (200, "authenticated")
    assert shown["token"]
    assert shown["eligibility"]["problem"]["code"] == "eligibility_cancelled"


async def test_the_end_of_the_appliance_ends_the_question_alone(
    reception: Reception, service: Service
) -> None:
    """A result is not lost because a service was slow when the appliance was stopped."""
    service.open.clear()
    at = await reception.begin(ORDER)
    await service.reached.wait()
    await reception.jobs.drain(0)
    ended = await reception.end(at)
    assert (ended["state"], ended["eligibility"]["state"]) == ("authenticated", "failed")


async def test_only_its_owner_sees_it(reception: Reception) -> None:
    """Another reception does not find what this one was told."""
    at = await reception.begin(ORDER)
    await reception.end(at)
    async with reception.theirs.get(at) as answer:
        assert answer.status == 404
        assert NAME not in await answer.text()


async def test_a_request_sent_again_asks_once(reception: Reception, service: Service) -> None:
    """An Idempotency-Key covers the question, too; and one with another wish is another request."""
    at = await reception.begin(ORDER, **{"Idempotency-Key": "k"})
    assert await reception.begin(ORDER, **{"Idempotency-Key": "k"}) == at
    await reception.end(at)
    assert len(service.asked) == 1
    other = {**ORDER, "eligibility": False}
    async with reception.mine.post(PATH, json=other, headers={"Idempotency-Key": "k"}) as answer:
        assert answer.status == 409


async def test_it_is_forgotten_with_the_result(reception: Reception) -> None:
    """Nothing of the answer outlives the authentication it belongs to."""
    at = await reception.begin(ORDER)
    await reception.end(at)
    job = reception.jobs.find("mine", at.rpartition("/")[2])
    assert NAME not in repr(vars(job))
    reception.jobs.forget(job)
    assert job.result is None


async def test_nothing_personal_is_logged(
    reception: Reception, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says that the service failed, and with which code; never what it answered, or to which token."""
    caplog.set_level(logging.DEBUG)
    first = await reception.end(await reception.begin(ORDER))
    service.said = EligibilityTimeout("the service did not answer in 5 s")
    second = await reception.end(await reception.begin(ORDER))
    assert "eligibility failed code=eligibility_timeout" in caplog.text
    for secret in (NAME, "E-4711", first["token"], second["token"], first["claims"]["sub"]):
        assert secret not in caplog.text


def test_every_failure_of_the_service_is_shown_as_one() -> None:
    """Each code of the branch has its texts, and is beside an authentication, never in its place."""
    for code, leaf in BY_CODE.items():
        if issubclass(leaf, EligibilityError):
            error = leaf("-", "login") if leaf is EligibilityRefused else leaf("-")
            view = eligibility_view(Outcome(error=error), is_asking=False, reader=Language.EN, request_id="-")
            assert (view.state, view.problem.code) == ("failed", code)  # type: ignore[union-attr]  # it is there
