"""The terminal agent: real readers and software cards on its side, a real WebSocket server on the other."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.authentication import Card as AnyCard
from appliance.authentication import converse
from appliance.card import jpki, surface
from appliance.card.apdu import Command
from appliance.card.cvc import Chain, check_chain
from appliance.card.dialogue import Dialogue, Exchange, Step
from appliance.card.jpki import HolderProof
from appliance.card.nonce import Nonce
from appliance.card.profile import Header, shipped
from appliance.card.verification_number import VerificationNumber
from appliance.errors import CardRemoved, PinRejected, TerminalCommandRefused, TerminalSignatureRefused
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import Fault, FaultyCard, Removed, Slow
from appliance.simulator.pcscd import PrivatePcscd, VirtualReader
from appliance.simulator.pki import Hierarchy
from appliance.simulator.reader import inserted
from appliance.terminals.agent.backoff import Backoff
from appliance.terminals.agent.status import Link, Place, Status
from appliance.terminals.agent.terminal import Address, Terminal
from appliance.terminals.desks import Stage, Work
from appliance.terminals.messages import (
    Abort,
    ApplianceProblem,
    CardState,
    CloseCode,
    Drain,
    Mode,
    Outcome,
    PinEntry,
    Responses,
    Result,
    Scenario,
    SignedScenario,
    Start,
    TerminalCode,
    TerminalProblem,
    Welcome,
)
from appliance.terminals.places import DeskState, Terms
from appliance.terminals.relay import Relay
from appliance.terminals.signing import ScenarioSigner
from appliance.terminals.view import Desk
from appliance.trust.jwk import SCENARIO_SECONDS, SCENARIO_TYPE, jwk, thumbprint
from tests.pcsc import Client
from tests.terminals.far_side import PATIENCE, READER, SESSION, FarCard, FarSide, Line, far_side

PROFILE = shipped("jpki-reference")
NONCE = Nonce.from_random(bytes(32))
OTHER = "ffeeddccbbaa99887766554433221100"
SELECT = Step("select-application", Command(0x00, 0xA4, 0x04, 0x0C, PROFILE.application.aid))
LOOK = Exchange((SELECT,))


@dataclass(slots=True)
class Hand:
    """A hand that puts cards made of *data* on *reader*, and takes them away; it remembers the last one."""

    reader: VirtualReader
    data: CardData
    card: FaultyCard = field(init=False)
    lying: ExitStack = field(default_factory=ExitStack)

    def put(self, *faults: Fault) -> None:
        """Put a card on the reader, in the place of one that lies there."""
        self.take()
        self.card = FaultyCard(SoftwareCard(self.data), faults)
        self.lying.enter_context(inserted(self.card, self.reader.host, self.reader.port))

    def take(self) -> None:
        """Leave the reader empty."""
        self.lying.close()


@pytest.fixture(scope="module")
def data(hierarchy: Hierarchy, now: datetime) -> CardData:
    """What is on the card."""
    return hierarchy.issue_card(now=now)


@pytest.fixture
async def hand(private_pcscd: PrivatePcscd, data: CardData) -> AsyncIterator[Hand]:
    """Return a hand for the second reader; at the end the reader is empty, and pcscd has seen it."""
    hand = Hand(private_pcscd.readers[1], data)
    try:
        yield hand
    finally:
        hand.take()
        await asyncio.to_thread(_await_empty, hand.reader)


def _await_empty(reader: VirtualReader) -> None:
    with Client.of(reader) as client:
        client.await_removal()


@dataclass(frozen=True, slots=True)
class Institution:
    """A chain, and its key in memory."""

    chain: Chain
    key: rsa.RSAPrivateKey

    async def sign(self, challenge: bytes) -> bytes:
        """Sign as the HSM does."""
        return self.key.sign(challenge, padding.PKCS1v15(), SHA256())

    async def authenticate(self, card: AnyCard, mode: Mode = Mode.PINLESS) -> HolderProof:
        """Have *card* prove its holder."""
        if mode is Mode.PIN:
            return await converse(jpki.with_pin(PROFILE, NONCE), card, self.sign)
        return await converse(jpki.pinless(PROFILE, self.chain, NONCE), card, self.sign)


@pytest.fixture(scope="module")
def institution(hierarchy: Hierarchy) -> Institution:
    """Return an institution that the software cards accept."""
    key = rsa.generate_private_key(65_537, 2_048)
    leaf = hierarchy.issue_institution(key.public_key(), "9912345")
    return Institution(check_chain(hierarchy.institution.intermediate, leaf, hierarchy.root_key), key)


@dataclass(slots=True)
class Running:
    """A terminal at work, and what it has shown."""

    terminal: Terminal
    task: "asyncio.Task[None]"
    seen: list[Status]
    news: asyncio.Event

    async def until(self, wanted: Callable[[Status], bool]) -> Status:
        """Return the first status, of those shown and to come, that is *wanted*; what was before is forgotten."""
        async with asyncio.timeout(PATIENCE):
            while True:
                while self.seen:
                    if wanted(status := self.seen.pop(0)):
                        return status
                self.news.clear()
                await self.news.wait()

    async def place(self, place: Place) -> Status:
        """Wait until the reader is shown at *place*."""
        return await self.until(lambda status: status.readers[READER].place is place)

    async def away(self) -> Status:
        """Wait until the appliance is shown as away."""
        return await self.until(lambda status: status.link is Link.AWAY)


@pytest.fixture
async def side(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FarSide]:
    """Return an appliance that says what the test has it say."""
    async with far_side(tmp_path_factory.mktemp("s")) as side:
        yield side


Begin = Callable[..., Coroutine[Any, Any, Running]]


@pytest.fixture
async def begin(side: FarSide, private_pcscd: PrivatePcscd) -> AsyncIterator[Begin]:
    """Return what has a terminal begin; at the end it is stopped."""
    running: list[Running] = []

    async def start(**changes: Any) -> Running:  # noqa: ANN401  # of several types, as Terminal's
        seen: list[Status] = []
        news = asyncio.Event()

        def show(status: Status) -> None:
            seen.append(status)
            news.set()

        desk = Desk(private_pcscd.readers[1].name, pin_pad=False, pin_seconds=20.0)
        settings: dict[str, Any] = {
            "address": Address("ws://appliance/v1/terminal", socket=str(side.socket)),
            "desks": {READER: desk},
            "profile": PROFILE,
            "backoff": Backoff(0.1, 0.2, lambda: 0.0),
            "clock": lambda: 1_800_000_000.0,
            "random": lambda length: b"\x2a" * length,
            "show": show,
        }
        terminal = Terminal(**{**settings, **changes})
        running.append(Running(terminal, asyncio.create_task(terminal.run()), seen, news))
        return running[-1]

    yield start
    for each in running:
        each.terminal.stop()
        async with asyncio.timeout(PATIENCE):
            await each.task


def answering(pin: str | None) -> dict[str, object]:
    """Return a terminal's PIN entry by somebody who enters *pin*."""
    return {"pin_entry": PinEntry.SCREEN, "ask_pin": lambda _reader, _given_up: pin}


async def problem(line: Line, code: TerminalCode) -> TerminalProblem:
    """Hear that the session is over for the reason *code*."""
    said = await line.hear(TerminalProblem)
    assert said.code is code, said
    return said


async def tries(line: Line) -> int:
    """Return how many tries of the PIN are left, in a session of its own."""
    asked = first(jpki.with_pin(PROFILE, NONCE))
    card = await line.start(Mode.PIN, OTHER)
    return (await card.exchange(Exchange(asked.steps[:3])))[-1].status & 0xF


def first(dialogue: Dialogue[object]) -> Exchange:
    """Return what *dialogue* asks for first."""
    asked = next(dialogue)
    assert isinstance(asked, Exchange)
    return asked


async def test_it_says_who_it_is_and_what_lies_on_its_readers(
    side: FarSide, begin: Begin, hand: Hand
) -> None:
    """The first frame names the readers; every card that comes or goes is told, with a count that only goes up."""
    running = await begin()
    line = await side.line()
    hello = await line.welcome()
    assert [(reader.alias, reader.pin_entry) for reader in hello.readers] == [(READER, PinEntry.NONE)]
    assert hello.nonce == "2a" * 16
    assert not hello.require_signed
    assert (await line.card(present=False)).insertion == 0
    for count in (1, 2):
        hand.put()
        assert (await line.card(present=True)).insertion == count
        hand.take()
        assert (await line.card(present=False)).insertion == count
    status = await running.until(lambda status: status.link is Link.CONNECTED)
    assert status.terminal == "ward-3"


async def test_pinless_from_start_to_the_card_taken_away(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """A card is asked for, proves its holder in two scenarios, and the person is told when to take it away."""
    running = await begin()
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PINLESS)
    await running.place(Place.PLACE_CARD)
    hand.put()
    await line.card(present=True)
    proof = await institution.authenticate(card)
    assert (len(proof.signature), card.seq) == (256, 2)
    await running.place(Place.TALKING)
    await line.say(Result(session=SESSION, outcome=Outcome.DONE))
    status = await running.place(Place.DONE)
    assert status.readers[READER].card
    hand.take()
    await running.place(Place.IDLE)
    await line.card(present=False)
    again = await line.start(Mode.PINLESS, OTHER)
    hand.put()
    await line.card(present=True)
    assert len((await institution.authenticate(again)).signature) == 256


async def test_the_pin_is_taken_here_and_told_nobody(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """The holder's PIN opens the card and is in nothing that is sent, shown or kept by the terminal."""
    hand.put()
    running = await begin(**answering("1234"))
    line = await side.line()
    await line.welcome()
    assert len((await institution.authenticate(await line.start(Mode.PIN), Mode.PIN)).signature) == 256
    shown = [str(status) for status in running.seen]
    assert any("enter-pin" in each for each in shown)
    assert not any("1234" in each for each in shown)


async def test_a_wrong_pin_uses_one_try(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """What the card says of the PIN goes back as it is; nothing is tried again."""
    hand.put()
    await begin(**answering("9999"))
    line = await side.line()
    await line.welcome()
    with pytest.raises(PinRejected) as caught:
        await institution.authenticate(await line.start(Mode.PIN), Mode.PIN)
    assert caught.value.tries_left == 2


@pytest.mark.parametrize("entered", [None, "12", "abcd"])
async def test_a_pin_that_is_declined_or_none_costs_no_try(
    entered: str | None, side: FarSide, begin: Begin, hand: Hand
) -> None:
    """The session ends with pin_cancelled, and the card has not heard of it."""
    hand.put()
    await begin(**answering(entered))
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PIN)
    await line.card(present=True)
    await line.say(card.scenario(first(jpki.with_pin(PROFILE, NONCE))))
    await problem(line, TerminalCode.PIN_CANCELLED)
    assert await tries(line) == 3


async def test_without_pin_entry_a_pin_is_declined_at_once(side: FarSide, begin: Begin) -> None:
    """Nobody places a card for what cannot be done at this terminal."""
    await begin()
    line = await side.line()
    await line.welcome()
    await line.start(Mode.PIN)
    await problem(line, TerminalCode.PIN_CANCELLED)


async def test_a_pin_that_comes_after_the_end_is_not_sent(side: FarSide, begin: Begin, hand: Hand) -> None:
    """Who asks for the PIN is told that nobody waits any more; digits that come then go nowhere."""
    asked, told = threading.Event(), threading.Event()

    def ask(_reader: str, given_up: threading.Event) -> str:
        asked.set()
        if given_up.wait(PATIENCE):
            told.set()
        return "9999"

    hand.put()
    running = await begin(pin_entry=PinEntry.SCREEN, ask_pin=ask)
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PIN)
    await line.card(present=True)
    await line.say(card.scenario(first(jpki.with_pin(PROFILE, NONCE))))
    await running.place(Place.ENTER_PIN)
    await line.say(Abort(session=SESSION))
    assert await asyncio.to_thread(told.wait, PATIENCE)
    await running.place(Place.IDLE)
    assert await tries(line) == 3


async def test_the_front_is_read(side: FarSide, begin: Begin, hand: Hand, institution: Institution) -> None:
    """照合番号B opens the front, which takes as many scenarios as frames need."""
    hand.put()
    await begin()
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.FRONT)
    number = VerificationNumber(hand.data.secrets.number_b)
    reading = await converse(surface.read_front(PROFILE, number, NONCE), card, institution.sign)
    assert len(reading.signature) == 256
    assert len(reading.front) > 1_000


async def test_a_card_pulled_between_two_scenarios_ends_the_session(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """The card's leaving is told at once; whatever is asked of it afterwards gets one clear answer."""
    hand.put()
    await begin()
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PINLESS)

    async def pull(challenge: bytes) -> bytes:
        hand.take()
        await line.card(present=False)
        return await institution.sign(challenge)

    with pytest.raises(AssertionError, match="card_removed"):
        await converse(jpki.pinless(PROFILE, institution.chain, NONCE), card, pull)


async def test_another_card_in_its_place_ends_the_session(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """A session is for one power-up of one card: another one is not spoken to, though it lies there."""
    hand.put()
    await begin()
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PINLESS)

    async def swap(challenge: bytes) -> bytes:
        hand.take()
        await line.card(present=False)
        hand.put()
        await line.card(present=True)
        return await institution.sign(challenge)

    with pytest.raises(AssertionError, match="card_removed"):
        await converse(jpki.pinless(PROFILE, institution.chain, NONCE), card, swap)


async def test_a_card_that_leaves_within_a_scenario_is_told_after_the_problem(
    side: FarSide, begin: Begin, hand: Hand
) -> None:
    """First the session's end, then that the reader is empty: as the protocol has it."""
    hand.put(Removed(3))
    running = await begin()
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PINLESS)
    await line.card(present=True)
    await line.say(card.scenario(first(jpki.inspect(PROFILE))))
    said = await line.any()
    assert isinstance(said, TerminalProblem)
    assert said.code is TerminalCode.CARD_REMOVED
    await line.card(present=False)
    status = await running.place(Place.REFUSED)
    assert status.readers[READER].code == CardRemoved.code


@pytest.mark.usefixtures("hand")
async def test_a_card_that_is_not_put_on_in_time(side: FarSide, begin: Begin) -> None:
    """The wait that was announced has an end."""
    await begin()
    line = await side.line()
    await line.welcome()
    await line.start(Mode.PINLESS, wait_ms=100)
    await problem(line, TerminalCode.CARD_ABSENT)


async def test_a_scenario_has_its_deadline(side: FarSide, begin: Begin, hand: Hand) -> None:
    """A card that does not answer in time ends the session, and gets nothing more."""
    hand.put(Slow(2, 1.0))
    await begin()
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PINLESS)
    card.deadline_ms = 300
    await line.card(present=True)
    await line.say(card.scenario(first(jpki.inspect(PROFILE))))
    await problem(line, TerminalCode.CARD_TIMEOUT)


async def test_a_reader_has_one_session(side: FarSide, begin: Begin) -> None:
    """A second one is refused, and so is one at a reader that there is not; the first goes on."""
    running = await begin()
    line = await side.line()
    await line.welcome()
    await line.start(Mode.PINLESS)
    await line.start(Mode.PINLESS, OTHER)
    assert (await problem(line, TerminalCode.READER_BUSY)).session == OTHER
    await line.say(Start(session="0" * 32, reader="desk-9", mode=Mode.PINLESS, wait_ms=1_000))
    await problem(line, TerminalCode.READER_ABSENT)
    await line.say(ApplianceProblem(session=SESSION, code="hsm_unavailable"))
    status = await running.place(Place.REFUSED)
    assert status.readers[READER].code == "hsm_unavailable"


@pytest.mark.parametrize("data_", ["31323334", "39393939"])
async def test_verify_from_the_network_never_reaches_a_card(
    data_: str, side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """The whole scenario is refused before its first command, and no try of the PIN is used."""
    hand.put()
    await begin(**answering("1234"))
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PIN)
    await line.card(present=True)
    verify = Step("verify", Header.from_hex("00200080").command(bytes.fromhex(data_)))
    asked = first(jpki.with_pin(PROFILE, NONCE))
    await line.say(card.scenario(Exchange((*asked.steps[:3], verify))))
    assert "step 4" in (await problem(line, TerminalCode.COMMAND_REFUSED)).detail
    again = await line.start(Mode.PIN, OTHER)
    assert len((await institution.authenticate(again, Mode.PIN)).signature) == 256


# --- signed scenarios -------------------------------------------------------------------------------------------


KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())


@dataclass(slots=True)
class SigningCard(FarCard):
    """The card at a terminal that insists on signatures; *claims* and *header* are changed as a test wants."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: KEY)
    changes: dict[str, object] = field(default_factory=dict)
    header: dict[str, object] = field(default_factory=dict)

    async def written(self, scenario: Scenario) -> SignedScenario:
        """Return *scenario* as a JWS."""
        now = 1_800_000_000
        claims = {
            "iss": "appliance.test",
            "iat": now,
            "exp": now + SCENARIO_SECONDS,
            "terminal": "ward-3",
            "nonce": "2a" * 16,
            "reader": READER,
            "mode": "pinless",
            **msgspec.to_builtins(scenario),
            **self.changes,
        }
        del claims["type"]
        header = {"typ": SCENARIO_TYPE, "kid": thumbprint(KEY.public_key()), **self.header}
        return SignedScenario(jws=jwt.encode(claims, self.key, algorithm="ES256", headers=header))


SIGNED = {"require_signed": True, "pinned": (KEY.public_key(),)}


async def test_signed_scenarios_are_done(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """What the pinned key has signed for this terminal, connection, reader, mode and session is done."""
    hand.put()
    await begin(**SIGNED)
    line = await side.line()
    assert (await line.welcome()).require_signed
    await line.start(Mode.PINLESS)
    assert len((await institution.authenticate(SigningCard(line, SESSION))).signature) == 256


@pytest.mark.parametrize(
    "changes",
    [
        {"key": STRANGER},
        {"key": STRANGER, "header": {"kid": thumbprint(STRANGER.public_key())}},
        {"header": {"typ": "jpki-authentication+jwt"}},
        {"changes": {"iss": "somebody.test"}},
        {"changes": {"terminal": "ward-4"}},
        {"changes": {"nonce": "2b" * 16}},
        {"changes": {"reader": "desk-2"}},
        {"changes": {"mode": "pin"}},
        {"changes": {"iat": 1_799_999_000, "exp": 1_799_999_060}},
        {"changes": {"iat": 1_800_000_070, "exp": 1_800_000_130}},
        {"changes": {"exp": 1_800_009_000}},
        {"changes": {"exp": 1_799_999_000}},
    ],
)
async def test_what_is_signed_for_somebody_else_is_refused(
    changes: dict[str, Any], side: FarSide, begin: Begin
) -> None:
    """Another key, type, issuer, terminal, connection, reader, mode or time: the session ends, and no card was touched."""
    await begin(**SIGNED)
    line = await side.line()
    await line.welcome()
    await line.start(Mode.PINLESS)
    card = SigningCard(line, SESSION, **changes)
    await line.say(await card.written(card.scenario(LOOK)))
    await problem(line, TerminalCode.SIGNATURE_REFUSED)


async def test_an_unsigned_or_altered_scenario_is_refused(side: FarSide, begin: Begin) -> None:
    """Who insists on signatures does nothing without one, and nothing that was changed after it was signed."""
    await begin(**SIGNED)
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PINLESS)
    await line.say(card.scenario(LOOK))
    await problem(line, TerminalCode.SIGNATURE_REFUSED)
    await line.start(Mode.PINLESS, OTHER)
    signing = SigningCard(line, OTHER)
    header, _, signature = (await signing.written(signing.scenario(LOOK))).jws.split(".")
    longer = replace(signing, deadline_ms=30_000)
    _, payload, _ = (await longer.written(longer.scenario(LOOK))).jws.split(".")
    await line.say(SignedScenario(jws=f"{header}.{payload}.{signature}"))
    await problem(line, TerminalCode.SIGNATURE_REFUSED)


async def test_a_signed_scenario_is_done_once(side: FarSide, begin: Begin, hand: Hand) -> None:
    """Sent again, in the same session, it costs the connection; what is of another session does, too."""
    hand.put()
    await begin(**SIGNED)
    line = await side.line()
    await line.welcome()
    await line.start(Mode.PINLESS)
    card = SigningCard(line, SESSION)
    await line.card(present=True)
    written = await card.written(card.scenario(LOOK))
    await line.say(written)
    await line.hear(Responses)
    await line.say(written)
    assert await line.closed() == CloseCode.VIOLATED


async def test_the_announced_key_is_taken_only_where_none_is_pinned(
    side: FarSide, begin: Begin, hand: Hand
) -> None:
    """Without a pinned key the appliance's word counts, and without that there is no connection."""
    hand.put()
    running = await begin(require_signed=True)
    line = await side.line()
    await line.welcome()
    assert await line.closed() == CloseCode.SIGNING_OFF
    assert (await running.away()).code == "terminal_signature_refused"
    line = await side.line()
    await line.welcome(scenario_key=jwk(KEY.public_key()))
    await line.start(Mode.PINLESS)
    assert (await SigningCard(line, SESSION).exchange(LOOK))[0].status == 0x9000


# --- appliances that misbehave, and days that go wrong ---------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (["{"], CloseCode.MESSAGE_INVALID),
        (['{"type":"hello"}'], CloseCode.MESSAGE_INVALID),
        (["[" * 50_000], CloseCode.MESSAGE_INVALID),
        ([b"\x00\xff"], CloseCode.MESSAGE_INVALID),
        (["x" * (64 * 1024 + 1)], CloseCode.TOO_LARGE),
        ([Abort(session=OTHER)], CloseCode.VIOLATED),
        ([Result(session=OTHER, outcome=Outcome.DONE)], CloseCode.VIOLATED),
        ([ApplianceProblem(session=OTHER, code="internal")], CloseCode.VIOLATED),
        ([Welcome(terminal="a", heartbeat_ms=1_000, issuer="b")], CloseCode.VIOLATED),
        ([FarCard(None, OTHER).scenario(LOOK)], CloseCode.VIOLATED),  # type: ignore[arg-type]  # it has no line yet
        ([FarCard(None, SESSION, seq=1).scenario(LOOK)], CloseCode.VIOLATED),  # type: ignore[arg-type]  # it has no line yet
        ([FarCard(None, SESSION).scenario(LOOK)] * 2, CloseCode.VIOLATED),  # type: ignore[arg-type]  # it has no line yet
        ([FarCard(None, SESSION).scenario(LOOK), Result(session=SESSION, outcome=Outcome.DONE)], CloseCode.VIOLATED),  # type: ignore[arg-type]  # it has no line yet
        ([Start(session=SESSION, reader=READER, mode=Mode.PINLESS, wait_ms=1_000)], CloseCode.VIOLATED),
        ([SignedScenario(jws="a.b.c")], CloseCode.MESSAGE_INVALID),
        ([ApplianceProblem(code="internal")] * 300, None),
    ],
)  # fmt: skip
async def test_an_appliance_that_breaks_the_rules_loses_the_connection(
    frames: list[Any], code: CloseCode | None, side: FarSide, begin: Begin
) -> None:
    """Garbage, too much, and whatever comes where it may not: closed with a code, and called again after a pause."""
    running = await begin()
    line = await side.line()
    await line.welcome()
    await line.start(Mode.PINLESS)
    for frame in frames:
        if isinstance(frame, bytes):
            await line.socket.send_bytes(frame)
        elif isinstance(frame, str):
            await line.socket.send_str(frame)
        else:
            await line.say(frame)
    closed = await line.closed()
    assert closed == code if code is not None else True
    assert (await running.away()).seconds >= 0.05
    await (await side.line()).welcome()


async def test_a_flood_of_frames_is_cut_off(side: FarSide, begin: Begin) -> None:
    """Pings are frames, too: more than anybody needs end the connection."""
    await begin()
    line = await side.line()
    await line.welcome()

    async def flood() -> None:
        for _ in range(2_000):
            await line.socket.ping(b"x")

    flooding = asyncio.create_task(flood())
    assert await line.closed() == CloseCode.FLOODING
    flooding.cancel()
    await asyncio.wait({flooding})
    if not flooding.cancelled():
        flooding.exception()


@pytest.mark.parametrize("first", ["", "welcome-late", "problem", "drain", "start"])
async def test_what_does_not_begin_with_a_welcome(
    first: str, side: FarSide, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence, a problem, a goodbye and anything else in its place: another attempt after a pause."""
    monkeypatch.setattr("appliance.terminals.agent.connection.WELCOME_SECONDS", 0.3)
    running = await begin()
    line = await side.line()
    match first:
        case "problem":
            await line.say(ApplianceProblem(code="terminal_signing_off"))
        case "drain":
            await line.say(Drain(retry_ms=100))
        case "start":
            await line.start(Mode.PINLESS)
        case _:
            pass
    away = await running.away()
    assert away.code == {"problem": "terminal_signing_off", "start": "terminal_protocol_violated"}.get(first)
    await (await side.line()).welcome()
    await running.until(lambda status: status.link is Link.CONNECTED)


async def test_an_appliance_that_falls_silent_is_given_up(side: FarSide, begin: Begin) -> None:
    """Two heartbeats missed, and the connection counts as lost; while they come, it does not."""
    running = await begin()
    line = await side.line()
    await line.welcome(heartbeat_ms=300)
    for _ in range(4):
        await asyncio.sleep(0.2)
        await line.socket.ping()
    assert not any(status.link is Link.AWAY for status in running.seen)
    assert "silent" in (await running.away()).reason


async def test_it_comes_back_after_the_appliance_was_gone(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """A restarted appliance finds its terminal again, with the card that lies there; a session does not survive."""
    hand.put()
    running = await begin()
    line = await side.line()
    await line.welcome()
    await (await line.start(Mode.PINLESS)).exchange(LOOK)
    await side.end()
    await running.until(lambda status: status.link is Link.AWAY and "cannot be reached" in status.reason)
    await side.begin()
    line = await side.line()
    await line.welcome()
    assert (await line.card(present=True)).insertion >= 1
    assert len((await institution.authenticate(await line.start(Mode.PINLESS))).signature) == 256


@pytest.mark.parametrize(("status", "code"), [(403, "peer_unknown"), (503, "terminals_full"), (404, None)])
async def test_an_appliance_that_does_not_let_it_in(
    status: int, code: str | None, side: FarSide, begin: Begin
) -> None:
    """The person at the terminal is told why, as far as it is known; the terminal goes on trying."""
    side.status = status
    running = await begin()
    away = await running.away()
    assert (away.code, f"{status}" in away.reason) == (code, True)
    side.status = None
    await (await side.line()).welcome()


async def test_something_else_that_speaks_websocket(side: FarSide, begin: Begin) -> None:
    """A server without our subprotocol is none of ours."""
    side.protocols = ()
    running = await begin()
    assert "terminal protocol" in (await running.away()).reason


async def test_a_drain_lets_running_sessions_end(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """What is under way comes to its end; then the terminal leaves by itself and comes back after the pause."""
    hand.put()
    await begin()
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PINLESS)
    await card.exchange(LOOK)
    await line.say(Drain(retry_ms=100))
    assert len((await institution.authenticate(card)).signature) == 256
    await line.say(Result(session=SESSION, outcome=Outcome.DONE))
    assert await line.closed() == CloseCode.DONE
    await (await side.line()).welcome()


async def test_stopped_it_takes_leave_and_lets_go_of_the_card(
    side: FarSide, begin: Begin, hand: Hand
) -> None:
    """The session is aborted, the connection closed as going away, and the card is free for others."""
    hand.put()
    running = await begin()
    line = await side.line()
    await line.welcome()
    await (await line.start(Mode.PINLESS)).exchange(LOOK)
    running.terminal.stop()
    assert (await line.hear(Abort)).session == SESSION
    assert await line.closed() == CloseCode.GOING_AWAY
    await running.task
    with Client.of(hand.reader) as client:
        assert client.connect()(SELECT.command.to_bytes().hex()) == "9000"


async def test_ends_that_cross_on_the_wire_do_no_harm(side: FarSide, begin: Begin, hand: Hand) -> None:
    """What the appliance sent before it knew that the terminal had ended the session is dropped."""
    await begin()
    line = await side.line()
    await line.welcome()
    card = await line.start(Mode.PINLESS, wait_ms=50)
    await problem(line, TerminalCode.CARD_ABSENT)
    await line.say(card.scenario(LOOK), Result(session=SESSION, outcome=Outcome.DONE), Abort(session=SESSION))
    again = await line.start(Mode.PINLESS, OTHER)
    hand.put()
    await line.card(present=True)
    assert (await again.exchange(LOOK))[0].status == 0x9000


@pytest.mark.usefixtures("hand")
async def test_a_scenario_that_finds_no_card_is_answered_at_once(side: FarSide, begin: Begin) -> None:
    """It was meant for a card that has gone meanwhile, and is not kept for the next one."""
    await begin()
    line = await side.line()
    await line.welcome()
    await line.card(present=False)
    card = await line.start(Mode.PINLESS)
    await line.say(card.scenario(LOOK))
    await problem(line, TerminalCode.CARD_REMOVED)


# --- with the appliance's own side ------------------------------------------------------------------------------


@asynccontextmanager
async def served(socket: Path, relay: Relay) -> AsyncIterator[Relay]:
    """Have *relay* serve one terminal, which it calls ward-3, on *socket*."""
    application = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await relay.handler(request, "ward-3")

    application.router.add_get("/v1/terminal", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.5, handle_signals=False)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield relay
    finally:
        await relay.drain(0.1)
        await runner.cleanup()


async def desk(relay: Relay, wanted: DeskState) -> str:
    """Wait until the terminal's one desk is as *wanted*, and return its name."""
    async with asyncio.timeout(PATIENCE):
        while not [each for each in relay.status() if each.state is wanted]:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.02)
    (one,) = relay.status()
    return one.desk


def _stages() -> tuple[list[Stage], Callable[[Stage], None]]:
    heard: list[Stage] = []
    return heard, heard.append


async def test_the_whole_way_with_the_relay(
    tmp_path_factory: pytest.TempPathFactory,
    begin: Begin,
    hand: Hand,
    institution: Institution,
) -> None:
    """Terminal and appliance understand one another: without PIN, with PIN, a pulled card, an appliance started again."""
    socket = tmp_path_factory.mktemp("r") / "s"
    running = await begin(
        address=Address("ws://appliance/v1/terminal", socket=str(socket)), **answering("1234")
    )
    await running.away()
    hand.put()
    async with served(socket, Relay(Terms(), "appliance.test")) as relay:
        name = await desk(relay, DeskState.CARD)
        assert name == f"ward-3.{READER}"
        heard, hear = _stages()
        async with relay.card(name, Work("1" * 32, Mode.PINLESS), hear) as card:
            assert len((await institution.authenticate(card)).signature) == 256
        assert heard == [Stage.TALKING, Stage.TALKING]
        await running.place(Place.DONE)
        async with relay.card(name, Work("2" * 32, Mode.PIN), hear) as card:
            assert len((await institution.authenticate(card, Mode.PIN)).signature) == 256
        assert heard[-1] is Stage.WAITING_FOR_PIN
        with pytest.raises(TerminalCommandRefused):
            async with relay.card(name, Work("3" * 32, Mode.PINLESS), hear) as card:
                await institution.authenticate(card, Mode.PIN)

        async def pull(challenge: bytes) -> bytes:
            hand.take()
            await desk_is_empty(relay)
            return await institution.sign(challenge)

        with pytest.raises(CardRemoved):
            async with relay.card(name, Work("4" * 32, Mode.PINLESS), hear) as card:
                await converse(jpki.pinless(PROFILE, institution.chain, NONCE), card, pull)
        await running.until(lambda status: status.readers[READER].code == CardRemoved.code)
    await running.away()
    socket.unlink(missing_ok=True)
    hand.put()
    async with served(socket, Relay(Terms(), "appliance.test")) as relay:
        name = await desk(relay, DeskState.CARD)
        async with relay.card(name, Work("5" * 32, Mode.PINLESS), hear) as card:
            assert len((await institution.authenticate(card)).signature) == 256


async def desk_is_empty(relay: Relay) -> None:
    """Wait until the relay has heard that the card is gone; the desk is busy as long as its session lasts."""
    async with asyncio.timeout(PATIENCE):
        while relay._terminals["ward-3"].places[READER].state is CardState.PRESENT:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.02)


async def test_the_relay_s_signatures_are_believed(
    tmp_path_factory: pytest.TempPathFactory,
    begin: Begin,
    hand: Hand,
    institution: Institution,
) -> None:
    """A terminal that insists on signatures by the pinned key takes what the appliance signs, and no other's."""
    now = datetime.now(UTC)

    def signer(key: ec.EllipticCurvePrivateKey) -> ScenarioSigner:
        async def sign(signing_input: bytes) -> bytes:
            return key.sign(signing_input, ec.ECDSA(SHA256()))

        return ScenarioSigner("appliance.test", key.public_key(), sign, lambda: now)

    folder = tmp_path_factory.mktemp("r")
    await begin(
        address=Address("ws://appliance/v1/terminal", socket=str(folder / "s")), **SIGNED, clock=now.timestamp
    )
    hand.put()
    _, hear = _stages()
    async with served(folder / "s", Relay(Terms(), "appliance.test", signer(KEY))) as relay:
        name = await desk(relay, DeskState.CARD)
        async with relay.card(name, Work("1" * 32, Mode.PINLESS), hear) as card:
            assert len((await institution.authenticate(card)).signature) == 256
    (folder / "s").unlink(missing_ok=True)
    async with served(folder / "s", Relay(Terms(), "appliance.test", signer(STRANGER))) as relay:
        name = await desk(relay, DeskState.CARD)
        with pytest.raises(TerminalSignatureRefused):
            async with relay.card(name, Work("2" * 32, Mode.PINLESS), hear) as card:
                await institution.authenticate(card)
