"""The connector that ships, against a FHIR service over mutual TLS: what counts as an answer, and everything that does not."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from appliance.eligibility import fhir_documents
from appliance.eligibility.fhir import connect
from appliance.eligibility.service import Answer, EligibilityService, Question, Setup, Summary
from appliance.errors import (
    ConfigInvalid,
    EligibilityAnswerForeign,
    EligibilityAnswerInvalid,
    EligibilityError,
    EligibilityPartMissing,
    EligibilityRefused,
    EligibilityTimeout,
    EligibilityUnavailable,
)
from tests.eligibility.conftest import SUBJECT, ask_about
from tests.eligibility.fhir_service import (
    FHIR,
    NAME,
    FhirService,
    Resource,
    answer,
    client_tls,
    fhir,
    outcome,
    server_tls,
    serving,
)

LARGEST = 20_000
MODELS = fhir_documents.models()
IDENTITY = UUID(int=1)
EVENING = datetime(2026, 3, 31, 15, 30, tzinfo=UTC)
"""Half an hour into the first of April in Japan."""


def setup(
    url: str, tls: ssl.SSLContext, *, seconds: float = 20, options: Mapping[str, str] | None = None
) -> Setup:
    """Return what the connector is told."""
    return Setup(url, tls, seconds, LARGEST, options or {}, lambda: EVENING, uuid4)


@pytest.fixture
async def service(tls_folder: Path, jwks: dict[str, Any]) -> AsyncIterator[FhirService]:
    """A FHIR service that knows our keys."""
    async with serving(FhirService(jwks), server_tls(tls_folder)) as served:
        yield served


@pytest.fixture
async def asking(service: FhirService, tls_folder: Path) -> AsyncIterator[EligibilityService]:
    """The connector, connected with the service."""
    async with connect(setup(service.url, client_tls(tls_folder))) as connected:
        yield connected


def said(make: Callable[[Resource], Resource | bytes], status: int = 200) -> Any:  # noqa: ANN401  # an Answering
    """Return a way of answering that says what *make* makes of the request."""

    async def answering(asked: Resource) -> web.StreamResponse:
        return fhir(make(asked), status)

    return answering


# --- how it goes well ------------------------------------------------------------------------------------


async def test_the_token_goes_over_mutual_tls_and_the_answer_comes_back(
    service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """The service has verified our token with our keys and seen our certificate; what it says arrives word for word."""
    answered = await asking.ask(question)
    assert (answered.summary, answered.media_type, answered.reference) == (Summary.VALID, FHIR, "E-4711")
    assert NAME in answered.document
    (asked,), (headers,), (certificate,) = service.asked, service.headers, service.certificates
    assert asked["patient"]["identifier"]["value"] == SUBJECT
    assert asked["provider"]["identifier"]["value"] == "1234567890"
    assert asked["facility"]["identifier"]["value"] == "desk-1"
    assert (asked["purpose"], asked["status"]) == (["validation"], "active")
    assert headers["x-request-id"] == "request-4711"
    assert certificate["subject"] == ((("commonName", "TEST appliance.example.jp"),),)


async def test_the_day_asked_about_is_the_day_in_japan(
    service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """Eligibility is of a day, and the clinic's day is Japan's, whatever the clock's zone."""
    await asking.ask(question)
    assert service.asked[0]["servicedDate"] == "2026-04-01"
    assert service.asked[0]["created"].startswith("2026-03-31T15:30:00")


@pytest.mark.parametrize(("check", "priority"), [("face", None), ("none_emergency", "stat")])
async def test_an_unconscious_patient_goes_first(
    check: str, priority: str | None, service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """Where nobody could check the holder the service is told that it is urgent; that and why is in the token, too."""
    await asking.ask(replace(question, identity_check=check))
    told = service.asked[0].get("priority")
    assert (None if told is None else told["coding"][0]["code"]) == priority


async def test_each_question_has_a_name_of_its_own(
    service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """Two questions about one person are told apart by what nobody can guess."""
    await asyncio.gather(asking.ask(question), asking.ask(question))
    first, second = (one["identifier"][0]["value"] for one in service.asked)
    assert first.startswith("urn:uuid:")
    assert first != second


@pytest.mark.parametrize(
    ("options", "insurer"),
    [
        ({}, {"extension": [{"url": fhir_documents._ABSENT, "valueCode": "unknown"}]}),
        (
            {"insurer": "urn:example:insurer|06139999"},
            {"identifier": {"system": "urn:example:insurer", "value": "06139999"}},
        ),
    ],
)
async def test_the_insurer_is_named_where_it_is_known(
    options: dict[str, str],
    insurer: dict[str, Any],
    service: FhirService,
    tls_folder: Path,
    question: Question,
) -> None:
    """R4 demands an insurer; where nobody knows it before the answer, just that is said."""
    async with connect(setup(service.url, client_tls(tls_folder), options=options)) as asking:
        await asking.ask(question)
    assert service.asked[0]["insurer"] == insurer


def insured(inforce: list[bool | None]) -> list[Resource]:
    """Return coverages that are in force, are not, or of which that is not said."""
    return [{"coverage": {"display": "1"}, **({} if one is None else {"inforce": one})} for one in inforce]


@pytest.mark.parametrize(
    ("changes", "summary"),
    [
        ({"insurance": insured([True])}, Summary.VALID),
        ({"insurance": insured([False, True])}, Summary.VALID),
        ({"insurance": insured([None, True])}, Summary.VALID),
        ({"insurance": insured([False])}, Summary.INVALID),
        ({"insurance": insured([False, False])}, Summary.INVALID),
        ({"insurance": insured([False, None])}, Summary.UNKNOWN),
        ({"insurance": insured([None])}, Summary.UNKNOWN),
        ({"insurance": None}, Summary.UNKNOWN),
        ({"outcome": "queued"}, Summary.UNKNOWN),
        ({"outcome": "partial"}, Summary.UNKNOWN),
    ],
    ids=str,
)
async def test_an_answer_comes_to_what_it_says_plainly(
    changes: dict[str, Any],
    summary: Summary,
    service: FhirService,
    asking: EligibilityService,
    question: Question,
) -> None:
    """One coverage in force is enough; none in force is invalid; whatever is left open stays unknown."""
    service.answering = said(lambda asked: answer(asked, **changes))
    assert (await asking.ask(question)).summary is summary


@pytest.mark.parametrize(
    ("changes", "reference"),
    [({}, "E-4711"), ({"identifier": None}, "answer-1"), ({"identifier": None, "id": None}, None)],
    ids=str,
)
async def test_an_answer_is_called_what_the_service_calls_it(
    changes: dict[str, Any],
    reference: str | None,
    service: FhirService,
    asking: EligibilityService,
    question: Question,
) -> None:
    """Its identifier, else its id, else nothing."""
    service.answering = said(lambda asked: answer(asked, **changes))
    assert (await asking.ask(question)).reference == reference


async def test_the_request_may_be_named_by_its_urn(
    service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """A service that refers to our identifier as a reference has named our request, too."""
    service.answering = said(
        lambda asked: answer(asked, request={"reference": asked["identifier"][0]["value"]})
    )
    assert (await asking.ask(question)).summary is Summary.VALID


# --- a service that lies -----------------------------------------------------------------------------------

OTHER = {
    "identifier": {"system": fhir_documents.URN, "value": "urn:uuid:00000000-0000-0000-0000-000000000000"}
}


@pytest.mark.parametrize(
    "changes",
    [
        {"request": OTHER},
        {"request": {"reference": "CoverageEligibilityRequest/1"}},
        {"request": {"display": "yours"}},
        {"request": {**OTHER, "reference": "urn:uuid:00000000-0000-0000-0000-000000000001"}},
        {"patient": {"identifier": {"system": fhir_documents.SUBJECT, "value": "somebody-else"}}},
        {"patient": {"identifier": {"system": "urn:other", "value": SUBJECT}}},
        {"patient": {"identifier": {"value": SUBJECT}}},
        {"patient": {"reference": "Patient/1"}},
        {"request": OTHER, "outcome": "error"},
    ],
    ids=str,
)
async def test_an_answer_to_something_else_is_foreign(
    changes: dict[str, Any], service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """What does not name our request and our patient is not shown, whatever else it says."""
    service.answering = said(lambda asked: answer(asked, **changes))
    with pytest.raises(EligibilityAnswerForeign):
        await asking.ask(question)


async def test_the_answer_to_the_question_before_is_foreign(
    service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """A service that mixes up two questions, even about one person, is found out."""
    service.answering = said(lambda _: answer(service.asked[0]))
    await asking.ask(question)
    with pytest.raises(EligibilityAnswerForeign):
        await asking.ask(question)


async def test_the_answer_about_another_token_is_foreign(
    service: FhirService, asking: EligibilityService
) -> None:
    """Asked about two people at once, a service that gives each the other's answer convinces nobody."""
    both = asyncio.Barrier(2)

    async def crossed(asked: Resource) -> web.StreamResponse:
        await both.wait()
        other = next(one for one in service.asked if one is not asked)
        return fhir(answer(asked, patient=other["patient"]))

    service.answering = crossed
    results = await asyncio.gather(
        asking.ask(ask_about("one")), asking.ask(ask_about("two")), return_exceptions=True
    )
    assert [type(one) for one in results] == [EligibilityAnswerForeign] * 2


# --- what is no answer ---------------------------------------------------------------------------------------


def deep(levels: int) -> Resource:
    """Return an extension of extensions."""
    made: Resource = {"url": "urn:x", "valueCode": "x"}
    for _ in range(levels):
        made = {"url": "urn:x", "extension": [made]}
    return made


def doubled(asked: Resource) -> bytes:
    """Return an answer that says of itself two things."""
    return answer_bytes(asked).replace(b'"outcome":', b'"outcome": "error", "outcome":', 1)


def answer_bytes(asked: Resource) -> bytes:
    """Return the genuine answer as it is sent."""
    body = fhir(answer(asked)).body
    assert isinstance(body, bytes)
    return body


MALFORMED: list[Callable[[Resource], Resource | bytes]] = [
    lambda _: b"",
    lambda _: b"<html>",
    lambda _: b"[]",
    lambda _: b"null",
    lambda _: b"{}",
    lambda _: b"[" * 5_000,
    lambda asked: answer_bytes(asked)[:-1],
    lambda asked: answer_bytes(asked).replace(b"true", b"NaN"),
    lambda asked: answer_bytes(asked).replace(NAME.encode(), NAME.encode("shift_jis")),
    doubled,
    lambda asked: answer(asked, resourceType="Patient"),
    lambda asked: {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": answer(asked)}]},
    lambda asked: answer(asked, request=None),
    lambda asked: answer(asked, patient=None),
    lambda asked: answer(asked, outcome=None),
    lambda asked: answer(asked, outcome="maybe"),
    lambda asked: answer(asked, status="draft"),
    lambda asked: answer(asked, status="cancelled"),
    lambda asked: answer(asked, purpose=["benefits"]),
    lambda asked: answer(asked, created="yesterday"),
    lambda asked: answer(asked, insurer=None),
    lambda asked: answer(asked, made_up="x"),
    lambda asked: answer(asked, insurance=[{"coverage": {"display": "1"}, "inforce": "yes"}]),
    lambda asked: answer(asked, insurance=[{"coverage": {"display": "1"}, "inforce": 1}]),
    lambda asked: answer(asked, insurance=[{"inforce": True}]),
    lambda asked: answer(asked, contained=[{"resourceType": "Nonsense"}]),
    lambda asked: answer(asked, extension=[deep(40)]),
    lambda asked: answer(asked, identifier=[{"value": "x" * 257}]),
    lambda asked: answer(asked, identifier=[{"value": "line\nbreak"}]),
    lambda asked: answer(asked, text={"status": "generated", "div": "x" * LARGEST}),
    lambda _: outcome("informational", "information"),
    lambda _: {"resourceType": "OperationOutcome", "issue": []},
    lambda _: {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]},
]


@pytest.mark.parametrize("make", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_is_not_fhir_or_says_too_little_is_invalid(
    make: Callable[[Resource], Resource | bytes],
    service: FhirService,
    asking: EligibilityService,
    question: Question,
) -> None:
    """Broken, doubled, too deep, too large, of another type, or loosely typed: none of it is taken for an answer."""
    service.answering = said(make)
    with pytest.raises(EligibilityAnswerInvalid):
        await asking.ask(question)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "text/html"},
        {"Content-Type": "application/fhir+xml"},
        {"Content-Type": f"{FHIR}; charset=shift_jis"},
        {"Content-Type": FHIR, "Content-Encoding": "gzip"},
    ],
    ids=str,
)
async def test_another_media_type_is_invalid(
    headers: dict[str, str], service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """The type is FHIR's JSON in UTF-8, unpacked, or it is no answer."""

    async def answering(asked: Resource) -> web.StreamResponse:
        return web.Response(body=answer_bytes(asked), headers=headers)

    service.answering = answering
    with pytest.raises(EligibilityAnswerInvalid):
        await asking.ask(question)


async def test_a_huge_answer_is_not_read_to_its_end(
    service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """What never ends is given up after the configured number of bytes."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": FHIR})
        await response.prepare(request)
        while True:
            await response.write(b" " * LARGEST)

    async with serving_as(service, endless):
        with pytest.raises(EligibilityAnswerInvalid, match="bytes"):
            await asking.ask(question)


@asynccontextmanager
async def serving_as(
    service: FhirService, handle: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> AsyncIterator[None]:
    """Have *handle* see what *service* is asked."""
    service.seeing = handle
    try:
        yield
    finally:
        service.seeing = None


@pytest.mark.parametrize("status", [201, 202, 204, 301, 302, 303, 307, 308])
async def test_another_status_is_invalid_and_no_redirect_is_followed(
    status: int, service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """The token goes where it was meant to go, and nowhere a service points to."""

    async def elsewhere(_: Resource) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": f"{service.url}/other"})

    service.answering = elsewhere
    with pytest.raises(EligibilityAnswerInvalid, match=str(status)):
        await asking.ask(question)
    assert len(service.headers) == 1


# --- a service that does not answer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (outcome("login"), 401, "login"),
        (outcome("forbidden"), 403, "forbidden"),
        (outcome("not-found"), 200, "not-found"),
        (outcome("business-rule", "fatal"), 422, "business-rule"),
        (outcome("made-up-here"), 400, "other"),
    ],
    ids=str,
)
async def test_a_refusal_is_told_by_its_reason(
    content: Resource | bytes,
    status: int,
    reason: str,
    service: FhirService,
    asking: EligibilityService,
    question: Question,
) -> None:
    """An OperationOutcome becomes a reason of a closed list; its free text goes nowhere."""
    service.answering = said(lambda _: content, status)
    with pytest.raises(EligibilityRefused) as caught:
        await asking.ask(question)
    assert caught.value.reason == reason
    assert NAME not in str(caught.value)


async def test_a_refusal_that_says_fhir_and_is_none_is_invalid(
    service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """Of an answer that is not what it says, its status is not believed either."""
    service.answering = said(lambda _: b"", 404)
    with pytest.raises(EligibilityAnswerInvalid):
        await asking.ask(question)


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "login"), (403, "forbidden"), (404, "not-found"), (418, "other")]
)
async def test_a_refusal_without_an_outcome_is_told_by_its_status(
    status: int, reason: str, service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """A gateway before the service answers in its own words, of which the status is enough."""

    async def plain(_: Resource) -> web.StreamResponse:
        return web.Response(status=status, text=NAME)

    service.answering = plain
    with pytest.raises(EligibilityRefused) as caught:
        await asking.ask(question)
    assert caught.value.reason == reason


async def test_errors_in_the_answer_are_a_refusal(
    service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """An answer to our question whose outcome is `error` says that the service could not work with it."""
    error = {"code": {"coding": [{"code": "a001"}], "text": NAME}}
    service.answering = said(lambda asked: answer(asked, outcome="error", error=[error], insurance=None))
    with pytest.raises(EligibilityRefused) as caught:
        await asking.ask(question)
    assert (caught.value.reason, NAME in str(caught.value)) == ("processing", False)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (outcome("exception"), 500),
        (b"", 502),
        (b"", 503),
        (b"", 429),
        (b"", 408),
        (outcome("throttled"), 400),
        (outcome("timeout"), 200),
    ],
    ids=str,
)
async def test_a_service_in_trouble_is_unavailable(
    content: Resource | bytes,
    status: int,
    service: FhirService,
    asking: EligibilityService,
    question: Question,
) -> None:
    """What another try later may heal is unavailable, by status or by issue type."""
    service.answering = said(lambda _: content, status)
    with pytest.raises(EligibilityUnavailable):
        await asking.ask(question)


@pytest.mark.parametrize("begun", [b"", b"{"])
async def test_a_slow_service_is_given_up(
    begun: bytes, service: FhirService, tls_folder: Path, question: Question
) -> None:
    """No answer, or one that stops in its middle, is waited for as long as configured."""
    ended = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": FHIR})
        if begun:
            await response.prepare(request)
            await response.write(begun)
        await ended.wait()
        return response

    async with (
        serving_as(service, slow),
        connect(setup(service.url, client_tls(tls_folder), seconds=0.3)) as asking,
    ):
        try:
            with pytest.raises(EligibilityTimeout, match=r"0\.3 s"):
                await asking.ask(question)
        finally:
            ended.set()


async def test_an_answer_that_breaks_off_is_unavailable(
    service: FhirService, asking: EligibilityService, question: Question
) -> None:
    """A connection that ends in the middle of an answer leaves no part of it."""

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": FHIR, "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serving_as(service, half):
        with pytest.raises(EligibilityUnavailable):
            await asking.ask(question)


async def test_nobody_there_is_unavailable(tls_folder: Path, question: Question) -> None:
    """A service that does not listen is met when it is asked, not before."""
    with socket.socket() as held:
        # Nobody else comes to listen there meanwhile.
        held.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{held.getsockname()[1]}/fhir"
        async with connect(setup(url, client_tls(tls_folder))) as asking:
            with pytest.raises(EligibilityUnavailable):
                await asking.ask(question)


# --- who is who ------------------------------------------------------------------------------------------------


async def test_a_service_of_another_ca_gets_no_token(
    strange_folder: Path, tls_folder: Path, jwks: dict[str, Any], question: Question
) -> None:
    """Who cannot prove to be the service hears nothing from us."""
    async with AsyncExitStack() as parts:
        service = await parts.enter_async_context(serving(FhirService(jwks), server_tls(strange_folder)))
        asking = await parts.enter_async_context(connect(setup(service.url, client_tls(tls_folder))))
        with pytest.raises(EligibilityUnavailable):
            await asking.ask(question)
    assert service.headers == []


async def test_a_service_of_another_name_gets_no_token(
    service: FhirService, tls_folder: Path, question: Question
) -> None:
    """A certificate of the right CA for another host is another's."""
    elsewhere = service.url.replace("127.0.0.1", "localhost")
    async with connect(setup(elsewhere, client_tls(tls_folder))) as asking:
        with pytest.raises(EligibilityUnavailable):
            await asking.ask(question)
    assert service.headers == []


@pytest.mark.parametrize("shown", [None, "client"])
async def test_without_the_right_certificate_we_are_nobody(
    shown: str | None, service: FhirService, tls_folder: Path, strange_folder: Path, question: Question
) -> None:
    """The service hears nobody whose client certificate is absent or of another CA, and that is no refusal of the patient."""
    tls = client_tls(tls_folder, own=False)
    if shown is not None:
        tls.load_cert_chain(strange_folder / f"{shown}.pem", strange_folder / f"{shown}-key.pem")
    async with connect(setup(service.url, tls)) as asking:
        with pytest.raises(EligibilityUnavailable):
            await asking.ask(question)
    assert service.headers == []


async def test_the_service_believes_the_token_alone(asking: EligibilityService) -> None:
    """A token of another key, or of another person than the request names, gets no answer."""
    reasons = []
    for asked in (
        ask_about(SUBJECT, ec.generate_private_key(ec.SECP256R1())),
        ask_about(SUBJECT, of="somebody-else"),
    ):
        with pytest.raises(EligibilityRefused) as caught:
            await asking.ask(asked)
        reasons.append(caught.value.reason)
    assert reasons == ["login", "forbidden"]


# --- what is said elsewhere -----------------------------------------------------------------------------------


async def test_nothing_personal_is_logged(
    service: FhirService, asking: EligibilityService, question: Question, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither token nor pseudonym nor anything of an answer is in a log at any level, or in a repr."""
    caplog.set_level(logging.DEBUG)
    shown: list[object] = [await asking.ask(question), question]
    for make in (
        lambda asked: answer(asked, status="draft"),
        lambda asked: answer(asked, patient={"identifier": {"value": NAME}}),
        lambda asked: answer(asked, created=NAME),
        lambda _: outcome("forbidden"),
    ):
        service.answering = said(make)
        with pytest.raises(EligibilityError) as caught:
            await asking.ask(question)
        shown += [caught.value, caught.value.detail]
    text = caplog.text + repr(shown)
    for secret in (question.token, question.token.split(".")[1], SUBJECT, NAME, "E-4711", "1234"):
        assert secret not in text.replace("1234567890", "")


# --- pure ------------------------------------------------------------------------------------------------------

QUESTION = ask_about(SUBJECT)
ASKED = fhir_documents.request(QUESTION, IDENTITY, EVENING, None)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["active", "error", "R4"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


def read(body: bytes) -> Answer:
    """Return what *body* answers."""
    return fhir_documents.answer(body, QUESTION, IDENTITY, MODELS)


@pytest.mark.parametrize(
    "changes", [{"extension": [deep(40)]}, {"insurance": [{"item": [{}] * 5_000}]}], ids=["deep", "many"]
)
def test_what_would_take_long_to_read_is_not_read(changes: dict[str, Any]) -> None:
    """Depth and number of values are bounded before a model sees them."""
    body = fhir(answer(ASKED, **changes)).body
    assert isinstance(body, bytes)
    with pytest.raises(EligibilityAnswerInvalid, match="depth"):
        read(body)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_our_error(body: bytes) -> None:
    """Nothing that comes leads to anything but an answer or a failure of ours."""
    with pytest.raises(EligibilityAnswerInvalid):
        read(body)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *answer(ASKED),
                "error",
                "contained",
                "extension",
                "meta",
                "text",
                "_created",
                "fhir_comments",
                "resource_type",
            ]
        ),
        VALUES
        | st.lists(st.dictionaries(st.sampled_from(["resourceType", "url", "inforce", "coverage"]), VALUES)),
        min_size=1,
        max_size=3,
    )
)
def test_any_answer_changed_anywhere_is_one_or_our_error(changes: dict[str, Any]) -> None:
    """Members of any kind in any place are read, or refused with a failure of ours."""
    body = fhir(answer(ASKED, **changes)).body
    assert isinstance(body, bytes)
    try:
        found = read(body)
    except EligibilityError:
        return
    assert found.document == body.decode()


@pytest.mark.parametrize(
    "options",
    [{"insurer": ""}, {"insurer": "06139999"}, {"insurer": "|1"}, {"insurer": "urn:x|"}, {"x": "y"}],
    ids=str,
)
def test_an_option_that_is_not_understood_is_refused(options: dict[str, str]) -> None:
    """A misspelt option does not silently mean nothing."""
    with pytest.raises(ConfigInvalid):
        connect(setup("https://localhost/fhir", ssl.create_default_context(), options=options))


def test_without_the_models_the_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, that shows before anybody is asked, and says what to install."""
    monkeypatch.setattr(fhir_documents, "find_spec", lambda _: None)
    with pytest.raises(EligibilityPartMissing, match=r"jpki-appliance\[fhir\]"):
        connect(setup("https://localhost/fhir", ssl.create_default_context()))
