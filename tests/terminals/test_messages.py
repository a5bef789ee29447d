"""The terminal protocol's messages."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.apdu import Command, Response
from appliance.card.dialogue import Exchange, Step, VerifyHolder
from appliance.card.jpki import HolderProof
from appliance.card.nonce import Nonce
from appliance.card.profile import Header
from appliance.card.tlv import Tlv
from appliance.errors import (
    BY_CODE,
    ApplianceError,
    CardAnswerMalformed,
    CardError,
    TerminalError,
    TerminalMessageInvalid,
    TerminalProtocolViolated,
)
from appliance.hsm.worker.admission import LARGEST_SIGNING_INPUT
from appliance.terminals import scenarios
from appliance.terminals.messages import (
    LARGEST_FRAME,
    MOST_STEPS,
    Abort,
    ApplianceProblem,
    Card,
    CardState,
    Drain,
    FromAppliance,
    FromTerminal,
    Hello,
    Jwk,
    Mode,
    Outcome,
    PinEntry,
    Reader,
    Responses,
    Result,
    Scenario,
    ScenarioClaims,
    ScenarioStep,
    SignedScenario,
    Start,
    TerminalCode,
    TerminalProblem,
    Welcome,
    decode_claims,
    decode_from_appliance,
    decode_from_terminal,
    encode,
)
from appliance.trust.jwk import SCENARIO_CLAIMS

SESSION = "0123456789abcdef" * 2
SELECT = Step("select", Command(0, 0xA4, 4, 0x0C, b"\x01"))
READ = Step("read", Command(0, 0xB0, 0, 0, le=256), frozenset({0x9000, 0x6282}))
VERIFY = VerifyHolder("verify-holder", Header.from_hex("00200080"), 4)
X = "A" * 43

HELLO: dict[str, Any] = {
    "type": "hello",
    "software": "s",
    "version": "1",
    "nonce": SESSION,
    "readers": [{"alias": "r1"}],
}
STEP: dict[str, Any] = {"name": "select", "expect": ["9000"], "command": "00A4040C0101"}
SCENARIO: dict[str, Any] = {
    "type": "scenario",
    "session": SESSION,
    "seq": 0,
    "deadline_ms": 10,
    "steps": [STEP],
}
ANSWER: dict[str, Any] = {"type": "responses", "session": SESSION, "seq": 0, "responses": ["9000"]}

FROM_TERMINAL: list[FromTerminal] = [
    Hello(software="jpki-appliance", version="1", nonce=SESSION, readers=(), require_signed=True),
    Hello(
        software="x",
        version="1",
        nonce=SESSION,
        readers=(Reader(alias="r1", extended=True, pin_entry=PinEntry.PAD), Reader(alias="r2")),
    ),
    Card(reader="r1", state=CardState.PRESENT, insertion=3),
    Responses(session=SESSION, seq=1, responses=("9000", "016A82")),
    TerminalProblem(session=SESSION, code=TerminalCode.CARD_REMOVED, detail="gone"),
    Abort(session=SESSION),
]
FROM_APPLIANCE: list[FromAppliance] = [
    Welcome(terminal="t1", heartbeat_ms=20_000, issuer="https://a.test"),
    Welcome(terminal="t1", heartbeat_ms=20_000, issuer="i", scenario_key=Jwk(x=X, y=X, kid=X)),
    Start(session=SESSION, reader="r1", mode=Mode.PINLESS, wait_ms=1),
    scenarios.scenario(SESSION, 0, 10, Exchange((SELECT, VERIFY, READ))),
    SignedScenario(jws="a.b.c"),
    Result(session=SESSION, outcome=Outcome.DONE),
    Result(session=SESSION, outcome=Outcome.REFUSED, code="wrong_mode"),
    ApplianceProblem(code="terminal_flooding"),
    ApplianceProblem(session=SESSION, code="card_timeout", detail="late"),
    Abort(session=SESSION),
    Drain(retry_ms=5_000),
]


def hostile(base: dict[str, Any], **changes: object) -> str:
    """Return the frame *base* with *changes*."""
    return json.dumps({**base, **changes})


@pytest.mark.parametrize("message", FROM_TERMINAL)
def test_what_a_terminal_says_is_read_as_it_was_meant(message: FromTerminal) -> None:
    """Every frame of a terminal comes back as the value it was written from, as text and as bytes."""
    assert decode_from_terminal(encode(message)) == message
    assert decode_from_terminal(encode(message).encode()) == message


@pytest.mark.parametrize("message", FROM_APPLIANCE)
def test_what_the_appliance_says_is_read_as_it_was_meant(message: FromAppliance) -> None:
    """Every frame of the appliance comes back as the value it was written from."""
    assert decode_from_appliance(encode(message)) == message


BOTH_SAY = (Abort, ApplianceProblem)


@pytest.mark.parametrize("message", [one for one in FROM_APPLIANCE if not isinstance(one, BOTH_SAY)])
def test_a_terminal_cannot_speak_as_the_appliance(message: FromAppliance) -> None:
    """What only the appliance says is nothing that a terminal may say."""
    with pytest.raises(TerminalMessageInvalid):
        decode_from_terminal(encode(message))


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "null",
        "[]",
        "1",
        "{}",
        "{",
        "\x00",
        '"hello"',
        "\ud800",
        b"\xff",
        b"\xef\xbb\xbf{}",
        "[" * 60_000,
        '{"type":' + "[" * 60_000,
        " " * (LARGEST_FRAME + 1),
        hostile(HELLO, type="hallo"),
        hostile(HELLO, type=None),
        hostile(HELLO, type=["hello"]),
        hostile(HELLO, more=1),
        hostile(HELLO, software=""),
        hostile(HELLO, software="x" * 65),
        hostile(HELLO, software="テスト"),
        hostile(HELLO, software="a\nb"),
        hostile(HELLO, nonce=SESSION + "\n"),
        hostile(HELLO, nonce=SESSION.upper()),
        hostile(HELLO, readers=[{"alias": "r1"}, {"alias": "r1"}]),
        hostile(HELLO, readers=[{"alias": f"r{number}"} for number in range(9)]),
        hostile(HELLO, readers=[{"alias": "R1"}]),
        hostile(HELLO, readers=[{"alias": "r.1"}]),
        hostile(HELLO, readers=[{"alias": "r1\n"}]),
        hostile(HELLO, readers=[{"alias": "r1", "pin_entry": "keyboard"}]),
        hostile(HELLO, readers=[{"alias": "r1", "x": 1}]),
        hostile(HELLO, require_signed=1),
        hostile({}, type="card", reader="r1", state="present", insertion=-1),
        hostile({}, type="card", reader="r1", state="present", insertion=2**53),
        hostile({}, type="card", reader="r1", state="present", insertion=1.5),
        hostile({}, type="card", reader="r1", state="present", insertion=True),
        hostile({}, type="card", reader="r1", state="gone", insertion=1),
        hostile({}, type="card", reader="r1", insertion=1),
        hostile(ANSWER, responses=[]),
        hostile(ANSWER, responses=["9000"] * (MOST_STEPS + 1)),
        hostile(ANSWER, responses=["900"]),
        hostile(ANSWER, responses=["90 00"]),
        hostile(ANSWER, responses=["ab9000"]),
        hostile(ANSWER, responses=["9000\n"]),
        hostile(ANSWER, responses=[""]),
        hostile(ANSWER, responses="9000"),
        hostile(ANSWER, seq=-1),
        hostile(ANSWER, seq=1000),
        hostile(ANSWER, seq=10**400),
        hostile(ANSWER, session="x" * 32),
        hostile({}, type="problem", session=SESSION, code="hsm_unavailable"),
        hostile({}, type="problem", session=SESSION, code="pin_rejected"),
        hostile({}, type="problem", session=SESSION, code="made_up"),
        hostile({}, type="problem", session=SESSION, code="card_removed", detail="x" * 201),
        hostile({}, type="problem", session=SESSION, code="card_removed", detail="\x1b[2J"),
        hostile({}, type="problem", code="card_removed"),
        hostile({}, type="abort"),
    ],
)
def test_what_a_terminal_may_not_say_is_refused(frame: str | bytes) -> None:
    """Other types, unknown members, other spellings and whatever is too long are our error, which quotes none of it."""
    with pytest.raises(TerminalMessageInvalid) as caught:
        decode_from_terminal(frame)
    assert len(caught.value.detail) < 100


@pytest.mark.parametrize(
    "step",
    [
        {**STEP, "verify_holder": {"header": "00200080", "digits": 4}},
        {"name": "a", "expect": ["9000"]},
        {**STEP, "expect": []},
        {**STEP, "expect": ["9000", "9000"]},
        {**STEP, "expect": ["9000", "6282"]},
        {**STEP, "expect": ["90"]},
        {**STEP, "name": "A"},
        {**STEP, "command": "00a4040c0101"},
        {"name": "a", "expect": ["9000"], "verify_holder": {"header": "00D60000", "digits": 4}},
        {"name": "a", "expect": ["9000"], "verify_holder": {"header": "00240080", "digits": 4}},
        {"name": "a", "expect": ["9000"], "verify_holder": {"header": "00200080", "digits": 3}},
        {"name": "a", "expect": ["9000"], "verify_holder": {"header": "0020008004", "digits": 4}},
    ],
)
def test_steps_that_are_none_are_refused(step: dict[str, Any]) -> None:
    """A step has one meaning; a PIN can be asked for by VERIFY alone, never for an instruction that would store it."""
    with pytest.raises(TerminalMessageInvalid):
        decode_from_appliance(hostile(SCENARIO, steps=[step]))


@pytest.mark.parametrize("command", ["00", "00A404", "00A4040C0501", "00A4040C0101FFFF"])
def test_a_command_that_is_no_apdu_is_refused(command: str) -> None:
    """Hexadecimal that is no command APDU never gets near a card."""
    said = decode_from_appliance(hostile(SCENARIO, steps=[{**STEP, "command": command}]))
    assert isinstance(said, Scenario)
    with pytest.raises(TerminalMessageInvalid):
        scenarios.exchange_of(said)


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_frame_is_a_message_or_our_error(frame: str | bytes) -> None:
    """Whatever arrives is read, or raises TerminalMessageInvalid and nothing else."""
    for decode in (decode_from_terminal, decode_from_appliance, decode_claims):
        with suppress(TerminalMessageInvalid):
            decode(frame)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["9000", SESSION, "r1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data())
def test_damaged_frames_are_a_message_or_our_error(data: st.DataObject) -> None:
    """A right frame with members changed, dropped or added is read, or raises our error; what is read can be written."""
    message = data.draw(st.sampled_from([*FROM_TERMINAL, *FROM_APPLIANCE]))
    members: dict[str, Any] = json.loads(encode(message))
    for name in data.draw(st.lists(st.sampled_from(sorted(members)), max_size=2)):
        members[name] = data.draw(JSON)
    for name in data.draw(st.lists(st.sampled_from([*members, "x"]), max_size=1)):
        members.pop(name, None)
    frame = json.dumps(members)
    for decode in (decode_from_terminal, decode_from_appliance):
        with suppress(TerminalMessageInvalid):
            said = decode(frame)
            assert decode(encode(said)) == said


commands = st.builds(
    Command,
    *[st.integers(0, 255)] * 4,
    st.binary(max_size=255),
    st.none() | st.integers(1, 256),
)
steps = st.builds(
    Step,
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True),
    commands,
    st.frozensets(st.integers(0, 0xFFFF), min_size=1, max_size=32),
)
verifications = st.builds(
    VerifyHolder, st.just("verify-holder"), st.just(Header.from_hex("00200080")), st.integers(4, 16)
)
exchanges = st.lists(steps | verifications, min_size=1, max_size=8).map(lambda found: Exchange(tuple(found)))


@given(exchanges, st.integers(0, 999), st.integers(1, 4_000_000))
def test_an_exchange_arrives_as_it_was_sent(exchange: Exchange, seq: int, deadline: int) -> None:
    """What the appliance wants done is, word for word, what the terminal reads."""
    said = decode_from_appliance(encode(scenarios.scenario(SESSION, seq, deadline, exchange)))
    assert isinstance(said, Scenario)
    assert (said.session, said.seq, said.deadline_ms) == (SESSION, seq, deadline)
    assert scenarios.exchange_of(said) == exchange


long_exchanges = st.lists(
    st.builds(
        Step,
        st.just("read"),
        st.builds(
            Command,
            st.just(0),
            st.just(0xB0),
            st.just(0),
            st.just(0),
            st.binary(max_size=255),
            st.none() | st.integers(1, 256),
        ),
    ),
    min_size=1,
    max_size=400,
).map(lambda found: Exchange(tuple(found)))


@given(long_exchanges)
def test_batches_fit_into_frames_and_lose_nothing(exchange: Exchange) -> None:
    """However long an exchange is, its parts are its steps in order, and each fits: asked, signed, and answered in full."""
    parts = list(scenarios.batches(exchange))
    assert tuple(step for part in parts for step in part.steps) == exchange.steps
    for part in parts:
        said = scenarios.scenario(SESSION, 999, 4_000_000, part)
        claims = claims_for(said)
        assert len(msgspec.json.encode(claims)) * 4 // 3 + 300 <= LARGEST_SIGNING_INPUT
        answers = [
            Response(bytes(step.command.le or 0), 0x9000) for step in part.steps if isinstance(step, Step)
        ]
        assert len(encode(scenarios.responses(SESSION, 999, answers))) <= LARGEST_FRAME


def test_a_step_that_fits_into_no_frame_is_our_own_bug() -> None:
    """What asks for more than a frame holds is refused before anything is sent."""
    greedy = Step("read", Command(0, 0xB0, 0, 0, le=65_536, extended=True))
    with pytest.raises(ValueError, match="frame"):
        list(scenarios.batches(Exchange((greedy,))))


def claims_for(said: Scenario) -> ScenarioClaims:
    """Return the claims for *said*, with everything else at its longest."""
    return ScenarioClaims(
        iss="i" * 64, iat=2**40, exp=2**40, terminal="t" * 32, nonce=SESSION, reader="r" * 32, mode=Mode.PINLESS,
        session=said.session, seq=said.seq, deadline_ms=said.deadline_ms, steps=said.steps,
    )  # fmt: skip


def test_a_signed_scenario_says_what_the_worker_insists_on() -> None:
    """The claims are those that the HSM's worker checks before it signs, and hold the scenario whole."""
    said = scenarios.scenario(SESSION, 0, 10, Exchange((SELECT, VERIFY)))
    claims = claims_for(said)
    assert set(msgspec.to_builtins(claims)) == SCENARIO_CLAIMS
    assert decode_claims(msgspec.json.encode(claims)).scenario == said


@pytest.mark.parametrize(
    ("steps", "answers"),
    [
        ((SELECT, READ), ["9000", "AB9000"]),
        ((SELECT, READ), ["9000", "AB6282"]),
        ((SELECT, READ), ["6A82"]),
        ((SELECT, READ), ["9000", "6B00"]),
        ((VERIFY, READ), ["63C2"]),
    ],
)
def test_answers_that_fit_are_taken(steps: tuple[Step, ...], answers: list[str]) -> None:
    """Answers up to the first unexpected status word, that one included, are what a terminal owes."""
    exchange = Exchange(steps)
    said = Responses(session=SESSION, seq=0, responses=tuple(answers))
    found = scenarios.answers_of(exchange, said)
    assert scenarios.responses(SESSION, 0, found) == said
    scenarios.require_fitting(exchange, found)
    assert scenarios.ran_through(exchange, found) is (
        len(found) == len(steps) and found[-1].status in steps[-1].expect
    )


@pytest.mark.parametrize(
    "answers",
    [
        ["9000", "9000", "9000"],
        ["9000"],
        ["6A82", "9000"],
        ["00"],
        ["AB9000"],
        ["9000", "00" * 257 + "9000"],
    ],
    ids=["too many", "too few", "went on", "no response", "data that nobody asked for", "too much data"],
)
def test_answers_that_no_terminal_gives_are_refused(answers: list[str]) -> None:
    """More, fewer or longer answers than the rules allow are a violation, not something a card has said."""
    with pytest.raises(TerminalProtocolViolated):
        scenarios.answers_of(
            Exchange((SELECT, READ)), Responses(session=SESSION, seq=0, responses=tuple(answers))
        )


@given(exchanges, st.lists(st.from_regex(r"([0-9A-F]{2}){1,6}", fullmatch=True), min_size=1, max_size=9))
def test_any_answers_are_taken_or_a_violation(exchange: Exchange, answers: list[str]) -> None:
    """Whatever answers come for whatever was asked, they are taken as one of the rules' outcomes, or refused."""
    with suppress(TerminalProtocolViolated):
        found = scenarios.answers_of(exchange, Responses(session=SESSION, seq=0, responses=tuple(answers)))
        assert len(found) == len(answers)
        assert all(one.status in step.expect for step, one in zip(exchange.steps, found[:-1], strict=False))


def test_a_card_that_says_too_much_is_the_cards_fault() -> None:
    """The terminal tells a card that answers more than it was asked apart from itself breaking the rules."""
    with pytest.raises(CardAnswerMalformed):
        scenarios.require_fitting(Exchange((SELECT,)), [Response(b"\x01", 0x9000)])


@pytest.mark.parametrize("code", TerminalCode)
def test_what_a_terminal_reports_is_an_error_of_ours(code: TerminalCode) -> None:
    """Each code of the closed list is that of an error about cards, readers or terminals that takes a detail alone."""
    error: ApplianceError = BY_CODE[code]("detail")
    assert isinstance(error, CardError | TerminalError)


def test_nothing_personal_is_shown() -> None:
    """The repr of what holds APDUs shows none of them."""
    said = scenarios.scenario(
        SESSION, 0, 10, Exchange((Step("verify", Command(0, 0x20, 0, 0x82, b"12345678901234")),))
    )
    for shown in (repr(said), repr(ScenarioStep(name="a", expect=("9000",), command="00200082ABCD"))):
        assert "0020" not in shown
    assert "ABCD" not in repr(Responses(session=SESSION, seq=0, responses=("ABCD9000",)))
    assert "eyJ" not in repr(SignedScenario(jws="eyJ0.eyJ1.eyJ2"))
    number = b"55021720352285"
    for held in (
        Exchange((Step("verify-number", Command(0, 0x20, 0, 0x80, number)),)),
        Response(number, 0x9000),
        Tlv(0xDF22, number),
        HolderProof(Nonce(b"\xff"), number, number),
    ):
        assert number.decode() not in repr(held)


def test_a_message_too_long_for_a_frame_is_our_own_bug() -> None:
    """What would not fit is never sent."""
    with pytest.raises(ValueError, match="does not fit"):
        encode(Responses(session=SESSION, seq=0, responses=("00" * 30_000,) * 2))
