"""The appliance's end of the terminal protocol, on real WebSockets, with the software card at the other end."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.authentication import converse
from appliance.card import jpki
from appliance.card.apdu import Command
from appliance.card.cvc import Chain
from appliance.card.dialogue import Dialogue, Exchange, Step
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped
from appliance.card.surface import read_front
from appliance.card.verification_number import VerificationNumber
from appliance.errors import (
    ApplianceError,
    CardAbsent,
    CardRemoved,
    CardTimeout,
    DeskUnknown,
    GatewayDraining,
    PinCancelled,
    ReaderAbsent,
    ReaderBusy,
    ReaderStuck,
    TerminalAbsent,
    TerminalCancelled,
    TerminalError,
    TerminalLost,
    TerminalProtocolViolated,
    WrongMode,
)
from appliance.hsm.worker.admission import ScenarioAdmission
from appliance.simulator.card import SoftwareCard
from appliance.simulator.keys import sign_message
from appliance.simulator.people import AOBA, Person, made_up
from appliance.simulator.pki import Hierarchy
from appliance.terminals import messages, scenarios
from appliance.terminals.desks import Stage, Times
from appliance.terminals.messages import (
    LARGEST_FRAME,
    Abort,
    ApplianceProblem,
    Card,
    CardState,
    CloseCode,
    Drain,
    Mode,
    Outcome,
    Reader,
    Responses,
    Result,
    Scenario,
    SignedScenario,
    Start,
    TerminalCode,
    TerminalProblem,
)
from appliance.terminals.places import Terms
from appliance.terminals.relay import Relay
from appliance.terminals.remote import MOST_LEFT
from appliance.terminals.signing import ScenarioSigner
from appliance.trust.jwk import thumbprint
from tests.simulator.conversation import Institution
from tests.terminals.wire import NONCE, R1, Served, Wire, hello, play, served, session, unmoved, work

PROFILE = shipped("jpki-reference")
HOLDER_NONCE = Nonce.from_random(bytes(range(32)))
SELECT = Step("select", Command(0, 0xA4, 4, 0x0C, b"\x01"))
READ = Step("read", Command(0, 0xB0, 0, 0, le=256))
ONE = Exchange((SELECT,))
QUICK = Terms(exchange=0.05, card=0.05, lag=0.05)


@pytest.fixture(scope="module")
def person(now: datetime) -> Person:
    """Whose card it is."""
    return made_up(AOBA, now.date())


@pytest.fixture(scope="module")
def chip(hierarchy: Hierarchy, person: Person, now: datetime) -> SoftwareCard:
    """The card; its PIN is 1234."""
    return SoftwareCard(hierarchy.issue_card(now=now, person=person, pin="1234"))


@pytest.fixture(scope="module")
def institution(hierarchy: Hierarchy) -> Institution:
    """An institution that the card's root certifies."""
    return Institution.certified_by(hierarchy, "9912345")


@dataclass
class Seen:
    """What an observer was told."""

    told: list[tuple[str, ...]] = field(default_factory=list)
    answers: list[tuple[str, int]] = field(default_factory=list)
    waited: list[tuple[Mode, float | None]] = field(default_factory=list)

    def connected(self, terminal: str) -> None:
        """Take note."""
        self.told.append(("connected", terminal))

    def disconnected(self, terminal: str, code: str | None) -> None:
        """Take note."""
        self.told.append(("disconnected", terminal, str(code)))

    def refused(self, terminal: str, code: str) -> None:
        """Take note."""
        self.told.append(("refused", terminal, code))

    def exchanged(self, _terminal: str, mode: Mode, answers: Sequence[tuple[str, int]], times: Times) -> None:
        """Take note."""
        assert times.seconds > 0
        self.answers += answers
        self.waited.append((mode, times.waited))


def relay(terms: Terms | None = None, **options: object) -> Relay:
    """Return a relay for a test."""
    return Relay(terms or Terms(), "https://appliance.test", **options)  # type: ignore[arg-type]  # a test's own options


def pinless(institution: Institution) -> Dialogue[jpki.HolderProof]:
    """Return the PIN-less dialogue."""
    return jpki.pinless(PROFILE, Chain(institution.intermediate, institution.leaf), HOLDER_NONCE)


async def held(there: Served, number: int = 1, exchange: Exchange = ONE, desk: str = "t1.r1") -> None:
    """Hold one exchange with the card at a desk."""
    async with there.relay.card(desk, work(number), unmoved) as card:
        await card.exchange(exchange)


async def asked(wire: Wire) -> Scenario:
    """Hear how a session begins, and return its first scenario."""
    await wire.hear(Start)
    return await wire.hear(Scenario)


def answer(said: Scenario, *texts: str) -> Responses:
    """Return an answer to *said*."""
    return Responses(session=said.session, seq=said.seq, responses=texts or ("9000",))


# --- good days ----------------------------------------------------------------------------------------------


async def test_a_pinless_authentication_takes_two_round_trips(
    chip: SoftwareCard, institution: Institution
) -> None:
    """A card is proven over the network with two scenarios; nothing else goes back and forth before the result."""
    seen = Seen()
    stages: list[Stage] = []
    async with served(relay(observer=seen)) as there:
        wire = await there.terminal()
        chip.power_on()
        playing = asyncio.create_task(play(wire, chip.transmit))

        async def sign(challenge: bytes) -> bytes:
            return sign_message(institution.key, challenge)

        async with there.relay.card("t1.r1", work(), stages.append) as card:
            proof = await converse(pinless(institution), card, sign)
        result, heard = await playing
    assert len(proof.signature) == 256
    assert (result.outcome, result.code) == (Outcome.DONE, None)
    assert heard == {"Start": 1, "Scenario": 2, "Result": 1}
    assert stages == [Stage.TALKING, Stage.TALKING]
    assert ("sign", 0x9000) in seen.answers
    (_, first), (mode, waited) = seen.waited
    assert (first, mode) == (None, Mode.PINLESS)
    assert waited is not None
    assert waited > 0
    assert seen.told[0] == ("connected", "t1")
    assert [told[:2] for told in seen.told] == [("connected", "t1"), ("disconnected", "t1")]


async def test_the_start_and_the_first_scenario_go_together(institution: Institution) -> None:
    """Where a card lies, nothing is waited for between them: both arrive before the terminal has said a word."""
    async with served(relay()) as there:
        wire = await there.terminal()
        first = next(pinless(institution))
        assert isinstance(first, Exchange)
        task = asyncio.create_task(held(there, exchange=first))
        start = await wire.hear(Start)
        said = await wire.hear(Scenario)
        assert (start.mode, start.reader, start.wait_ms) == (Mode.PINLESS, "r1", 15_000)
        assert (said.session, said.seq, said.deadline_ms) == (start.session, 0, 10_000)
        await wire.say(TerminalProblem(session=said.session, code=TerminalCode.CARD_UNREADABLE))
        with pytest.raises(Exception, match="card_unreadable"):
            await task


async def test_the_pin_stays_at_the_terminal(chip: SoftwareCard) -> None:
    """With PIN, the network carries the word to verify the holder, and more time for it, and never the PIN."""
    stages: list[Stage] = []
    async with served(relay()) as there:
        wire = await there.terminal()
        chip.power_on()
        playing = asyncio.create_task(play(wire, chip.transmit, lambda: "1234"))
        async with there.relay.card("t1.r1", work(mode=Mode.PIN), stages.append) as card:
            proof = await converse(jpki.with_pin(PROFILE, HOLDER_NONCE), card, unused)
        await playing
        said = "".join(wire.transcript)
    assert len(proof.signature) == 256
    assert stages == [Stage.WAITING_FOR_PIN]
    assert '"verify_holder":{"header":"00200080","digits":4}' in said
    assert '"deadline_ms":70000' in said
    assert "31323334" not in said


async def unused(_challenge: bytes) -> bytes:
    """Sign nothing."""
    raise AssertionError


async def test_a_front_that_fits_into_no_frame_comes_in_parts(chip: SoftwareCard, person: Person) -> None:
    """A long exchange is asked for in several scenarios, and the dialogue does not notice."""
    number = VerificationNumber.of(person.birth, person.expires.year, person.security_code)
    async with served(relay()) as there:
        wire = await there.terminal()
        chip.power_on()
        playing = asyncio.create_task(play(wire, chip.transmit))
        async with there.relay.card("t1.r1", work(mode=Mode.FRONT), unmoved) as card:
            reading = await converse(read_front(PROFILE, number, HOLDER_NONCE), card, unused)
            many = Exchange((READ,) * 300)
            answers = await card.exchange(many)
        _, heard = await playing
    assert reading.front
    assert len(answers) <= 300
    assert heard["Scenario"] >= 3


async def test_a_card_may_be_put_on_later(chip: SoftwareCard, institution: Institution) -> None:
    """Where no card lies, the session waits, says so, and goes on with the first card that comes."""
    stages: list[Stage] = []
    async with served(relay()) as there:
        wire = await there.terminal(card=False)

        async def authenticate() -> jpki.HolderProof:
            async with there.relay.card("t1.r1", work(), stages.append) as card:
                return await converse(pinless(institution), card, sign)

        async def sign(challenge: bytes) -> bytes:
            return sign_message(institution.key, challenge)

        task = asyncio.create_task(authenticate())
        await wire.hear(Start)
        assert there.states() == {"busy"}
        assert stages == [Stage.WAITING_FOR_CARD]
        chip.power_on()
        await wire.say(Card(reader="r1", state=CardState.PRESENT, insertion=2))
        await play(wire, chip.transmit)
        assert (await task).signature
        assert there.states() == {"card"}


async def test_one_card_after_another_and_readers_side_by_side() -> None:
    """A desk is free again at once; two readers of one terminal do not wait for one another."""
    readers = (Reader(alias="r1"), Reader(alias="r2"))
    async with served(relay()) as there:
        wire = await there.terminal(said=hello(*readers))
        tasks = [asyncio.create_task(held(there, number, desk=f"t1.r{number}")) for number in (1, 2)]
        first, second = await asked(wire), await asked(wire)
        await wire.say(answer(second), answer(first))
        await asyncio.gather(*tasks)
        assert {(await wire.hear(Result)).session for _ in tasks} == {session(1), session(2)}
        for number in range(3, 40):
            task = asyncio.create_task(held(there, number))
            await wire.say(answer(await asked(wire)))
            await task
            await wire.hear(Result)
        (connection,) = [one.connection for one in there.relay.register]
        assert connection is not None
        assert len(connection._sessions) == MOST_LEFT


async def test_a_refusal_is_told_to_the_terminal() -> None:
    """What ends a request on our side is shown at the desk by its code."""
    async with served(relay()) as there:
        wire = await there.terminal()
        with pytest.raises(WrongMode):
            async with there.relay.card("t1.r1", work(), unmoved):
                raise WrongMode("as this test wants it")
        await wire.hear(Start)
        result = await wire.hear(Result)
        assert (result.outcome, result.code) == (Outcome.REFUSED, "wrong_mode")


# --- desks --------------------------------------------------------------------------------------------------


async def test_desks_that_cannot_be_used_say_why() -> None:
    """An unknown desk, a terminal that is away and a reader in use are three different errors."""
    async with served(relay()) as there:
        for desk in ("", "t1", "t1.", ".r1", "t1.r1", "t1.r1.r1"):
            with pytest.raises(DeskUnknown):
                await held(there, desk=desk)
        wire = await there.terminal()
        with pytest.raises(DeskUnknown):
            await held(there, desk="t1.r2")
        task = asyncio.create_task(held(there))
        said = await asked(wire)
        with pytest.raises(ReaderBusy):
            await held(there, 2)
        await wire.say(answer(said))
        await task
        await wire.socket.close()
        await there.until(lambda: there.states() == {"absent"})
        with pytest.raises(TerminalAbsent):
            await held(there, 3)


async def test_no_card_in_time_is_no_card() -> None:
    """Whoever waited for a card in vain learns whether the reader was there; the terminal learns that it is over."""
    async with served(relay(QUICK)) as there:
        wire = await there.terminal(card=False)
        with pytest.raises(CardAbsent):
            await held(there)
        await wire.hear(Start)
        assert (await wire.hear(ApplianceProblem)).code == "card_absent"
        await wire.say(Card(reader="r1", state=CardState.ABSENT, insertion=1))
        await there.until(lambda: there.states() == {"absent"})
        with pytest.raises(ReaderAbsent):
            await held(there, 2)


async def test_what_a_terminal_reports_is_raised_by_its_name() -> None:
    """Each failure at the terminal reaches the caller as the error it is; a stuck reader is shown as such."""
    async with served(relay()) as there:
        wire = await there.terminal()
        for number, (code, kind) in enumerate(
            {TerminalCode.PIN_CANCELLED: PinCancelled, TerminalCode.READER_STUCK: ReaderStuck}.items(), 1
        ):
            task = asyncio.create_task(held(there, number))
            said = await asked(wire)
            await wire.say(TerminalProblem(session=said.session, code=code, detail="as it is"))
            with pytest.raises(kind, match="as it is"):
                await task
        assert there.states() == {"stuck"}
        task = asyncio.create_task(held(there, 3))
        said = await asked(wire)
        await wire.say(Abort(session=said.session))
        with pytest.raises(TerminalCancelled):
            await task


async def test_a_request_that_is_cancelled_ends_at_the_terminal() -> None:
    """Nobody waits any more: the terminal is told to stop, and what it still answers is dropped, once."""
    async with served(relay()) as there:
        wire = await there.terminal()
        task = asyncio.create_task(held(there))
        said = await asked(wire)
        task.cancel()
        await wire.hear(Abort)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert there.states() == {"card"}
        await wire.say(answer(said))
        task = asyncio.create_task(held(there, 2))
        await wire.say(answer(await asked(wire)))
        await task
        await wire.hear(Result)
        await wire.say(answer(said))
        assert await wire.closed() == CloseCode.VIOLATED


# --- bad days -----------------------------------------------------------------------------------------------


async def test_a_terminal_that_goes_between_the_exchanges_is_lost(
    chip: SoftwareCard, institution: Institution
) -> None:
    """The second exchange ends at once when the terminal has gone after the first; nothing hangs, the desk is away."""
    async with served(relay()) as there:
        wire = await there.terminal()
        chip.power_on()

        async def sign(challenge: bytes) -> bytes:
            await wire.socket.close()
            await there.until(lambda: there.states() == {"absent"})
            return sign_message(institution.key, challenge)

        playing = asyncio.create_task(play(wire, chip.transmit))
        with pytest.raises(TerminalLost):
            async with there.relay.card("t1.r1", work(), unmoved) as card:
                await converse(pinless(institution), card, sign)
        playing.cancel()
        with suppress(asyncio.CancelledError, AssertionError):
            await playing


async def test_a_terminal_that_goes_during_an_exchange_is_lost() -> None:
    """Whoever waits for an answer is told as soon as the connection breaks, without a deadline."""
    async with served(relay()) as there:
        wire = await there.terminal()
        task = asyncio.create_task(held(there))
        await asked(wire)
        wire.cut()
        with pytest.raises(TerminalLost):
            await task


async def test_a_card_changed_between_the_exchanges_ends_the_session() -> None:
    """A session is for one power-up: after a swap nothing more is sent to whatever lies there now."""
    async with served(relay()) as there:
        wire = await there.terminal()

        async def twice() -> None:
            async with there.relay.card("t1.r1", work(), unmoved) as card:
                await card.exchange(ONE)
                await wire.say(Card(reader="r1", state=CardState.PRESENT, insertion=2))
                await there.until(lambda: card._session.phase == "gone")
                await card.exchange(ONE)

        task = asyncio.create_task(twice())
        await wire.say(answer(await asked(wire)))
        with pytest.raises(CardRemoved):
            await task
        assert (await wire.hear(Result)).code == "card_removed"


async def test_a_card_taken_after_the_last_exchange_does_no_harm() -> None:
    """Whoever takes the card while the result is being written gets the result all the same."""
    async with served(relay()) as there:
        wire = await there.terminal()
        async with there.relay.card("t1.r1", work(), unmoved) as card:
            task = asyncio.create_task(card.exchange(ONE))
            await wire.say(answer(await asked(wire)))
            await task
            await wire.say(Card(reader="r1", state=CardState.EMPTY, insertion=1))
            await there.until(lambda: card._session.phase == "gone")
        assert (await wire.hear(Result)).outcome is Outcome.DONE


async def test_an_answer_for_another_card_is_not_taken() -> None:
    """A terminal that tells of another card before it answers has not answered for this session's card."""
    async with served(relay()) as there:
        wire = await there.terminal()
        task = asyncio.create_task(held(there))
        said = await asked(wire)
        await wire.say(Card(reader="r1", state=CardState.PRESENT, insertion=2), answer(said))
        with pytest.raises(CardRemoved):
            await task
        assert (await wire.hear(ApplianceProblem)).code == "card_removed"
        task = asyncio.create_task(held(there, 2))
        await wire.say(answer(await asked(wire)))
        await task


async def test_an_answer_that_is_late_is_dropped() -> None:
    """After its deadline a scenario is over: CardTimeout, and the answer that comes then changes nothing."""
    async with served(relay(QUICK)) as there:
        wire = await there.terminal()
        task = asyncio.create_task(held(there))
        said = await asked(wire)
        with pytest.raises(CardTimeout):
            await task
        assert (await wire.hear(ApplianceProblem)).code == "card_timeout"
        await wire.say(answer(said), TerminalProblem(session=said.session, code=TerminalCode.CARD_TIMEOUT))
        await wire.say(Card(reader="r1", state=CardState.EMPTY, insertion=1))
        await there.until(lambda: there.states() == {"empty"})


def violations(said: Scenario) -> dict[str, list[str]]:
    """Return frames that break the rules where *said* was asked, and their like."""
    good = messages.encode(answer(said))
    other = messages.encode(answer(said)).replace(said.session, session(9))
    return {
        "another session": [other],
        "a sequence number ahead": [
            messages.encode(Responses(session=said.session, seq=1, responses=("9000",)))
        ],
        "more answers than commands": [messages.encode(answer(said, "9000", "9000"))],
        "data that nobody asked for": [messages.encode(answer(said, "00" * 300 + "9000"))],
        "no response APDU": [messages.encode(answer(said, "90"))],
        "an answer twice": [good, good],
        "a problem of another session": [
            messages.encode(TerminalProblem(session=session(9), code=TerminalCode.CARD_REMOVED))
        ],
        "an end of another session": [messages.encode(Abort(session=session(9)))],
        "a second hello": [messages.encode(hello())],
        "a card on another reader": [
            messages.encode(Card(reader="r9", state=CardState.PRESENT, insertion=1))
        ],
        "a count that goes back": [messages.encode(Card(reader="r1", state=CardState.PRESENT, insertion=0))],
    }


@pytest.mark.parametrize("which", violations(Scenario(session=session(1), seq=0, deadline_ms=1, steps=())))
async def test_whoever_breaks_the_rules_is_cut_off(which: str) -> None:
    """Every violation ends what is under way with our error and the connection with its close code; others go on."""
    seen = Seen()
    async with served(relay(observer=seen)) as there:
        wire, other = await there.terminal(), await there.terminal("t2")
        task = asyncio.create_task(held(there))
        said = await asked(wire)
        for frame in violations(said)[which]:
            await wire.socket.send_str(frame)
        if which == "an answer twice":
            await task
        else:
            with pytest.raises(TerminalProtocolViolated):
                await task
        assert await wire.closed() == CloseCode.VIOLATED
        await there.until(lambda: there.states() == {"absent"})
        assert ("disconnected", "t1", "terminal_protocol_violated") in seen.told
        task = asyncio.create_task(held(there, 2, desk="t2.r1"))
        await other.say(answer(await asked(other)))
        await task


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"{}", CloseCode.MESSAGE_INVALID),
        ("{}", CloseCode.MESSAGE_INVALID),
        ("", CloseCode.MESSAGE_INVALID),
        ("x" * LARGEST_FRAME, CloseCode.MESSAGE_INVALID),
        ("x" * (LARGEST_FRAME + 1), CloseCode.TOO_LARGE),
        ("x" * 10_000_000, CloseCode.TOO_LARGE),
    ],
)
@pytest.mark.parametrize("introduced", [True, False])
async def test_what_is_no_message_is_cut_off(frame: str | bytes, code: CloseCode, introduced: bool) -> None:  # noqa: FBT001 - pytest's way
    """Binary frames, garbage, and whatever is too long, before the introduction or after it."""
    async with served(relay()) as there:
        wire = await there.terminal() if introduced else await there.connect()
        task = asyncio.create_task(held(there)) if introduced else None
        if introduced:
            await asked(wire)
        with suppress(ConnectionError):
            await (wire.socket.send_bytes(frame) if isinstance(frame, bytes) else wire.socket.send_str(frame))
        assert await wire.closed() in {code, 1006}
        if task is not None:
            with pytest.raises(TerminalError):
                await task


async def test_who_does_not_introduce_itself_is_cut_off() -> None:
    """A connection on which nothing is said, or something else than hello, does not last."""
    async with served(relay(replace(QUICK, hello=0.1))) as there:
        assert await (await there.connect()).closed() == CloseCode.HELLO_LATE
    async with served(relay(QUICK)) as there:
        wire = await there.connect("t2")
        await wire.say(Card(reader="r1", state=CardState.PRESENT, insertion=1))
        assert await wire.closed() == CloseCode.VIOLATED
        assert there.relay.register.desks() == ()


async def test_only_our_subprotocol_is_spoken() -> None:
    """A plain request, and a WebSocket for something else, are refused before they become one."""
    async with served(relay()) as there:
        async with there.client.get(f"{there.url}/t1") as response:
            assert await response.text() == "request_malformed"
        for protocols in ((), ("jpki-terminal.v2",)):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await there.connect(protocols=protocols)
        assert set(there.refusals) == {"request_malformed"}


async def test_a_flood_is_cut_off() -> None:
    """Cards that come and go, or pings, faster than any reader can are too much; nobody else is kept waiting."""
    async with served(relay()) as there:
        for alias in ("t1", "t2"):
            wire = await there.terminal(alias)
            with suppress(ConnectionError):
                for number in range(2, 200):
                    if alias == "t1":
                        await wire.say(Card(reader="r1", state=CardState.PRESENT, insertion=number))
                    else:
                        await wire.socket.ping()
            assert await wire.closed() in {CloseCode.FLOODING, 1006}
        assert {state for alias in ("t1", "t2") for state in there.states(alias)} <= {"absent", "card"}


async def test_a_terminal_that_is_half_there_is_given_up() -> None:
    """A terminal that answers no ping is gone, and so are its sessions, before any exchange's deadline."""
    async with served(relay(Terms(heartbeat=1.0))) as there:
        wire = await there.connect(autoping=False)
        await wire.introduced(hello(), Card(reader="r1", state=CardState.PRESENT, insertion=1))
        await there.until(lambda: there.states() == {"card"})
        with pytest.raises(TerminalLost):
            await held(there)
        assert there.states() == {"absent"}


async def test_a_terminal_that_does_not_read_is_given_up() -> None:
    """What is to be sent is kept up to a bound; a peer that reads nothing costs no more than that."""
    async with served(relay(Terms(heartbeat=1.0))) as there:
        wire = await there.connect(autoping=False, max_msg_size=0)
        await wire.introduced(hello())
        wire.socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]  # as a stalled network does
        await there.until(lambda: there.states() == {"absent"})


async def test_the_same_terminal_takes_over() -> None:
    """A new connection of one identity ends the old one, with its sessions; the desk serves on."""
    seen = Seen()
    async with served(relay(observer=seen)) as there:
        old = await there.terminal()
        task = asyncio.create_task(held(there))
        said = await asked(old)
        new = await there.terminal()
        with pytest.raises(TerminalLost):
            await task
        assert await old.closed() == CloseCode.REPLACED
        # Whoever counts them never sees the new one gone with the old.
        assert seen.told == [
            ("connected", "t1"),
            ("disconnected", "t1", "terminal_lost"),
            ("connected", "t1"),
        ]
        assert there.states() == {"card"}
        task = asyncio.create_task(held(there, 2))
        await new.say(answer(await asked(new)))
        await task
        await new.hear(Result)
        await new.say(answer(said))
        assert await new.closed() == CloseCode.VIOLATED


async def test_whoever_connects_again_and_again_is_refused() -> None:
    """Two terminals with one certificate cannot keep the relay busy: after a few connections they have to wait."""
    async with served(relay()) as there:
        for _ in range(6):
            await there.terminal()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await there.terminal()
        assert there.refusals == ["terminal_flooding"]


async def test_there_is_a_most_of_connections() -> None:
    """Beyond the bound a connection is refused, whether or not those before it have introduced themselves."""
    async with served(relay(Terms(most=2))) as there:
        await there.connect("t1")
        await there.terminal("t2")
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await there.connect("t3")
        assert there.refusals == ["terminals_full"]


async def test_all_terminals_come_back_at_once() -> None:
    """After a break of the network everybody connects again at the same moment, and every desk is there."""
    async with served(relay()) as there:

        async def one(alias: str) -> Wire:
            return await there.terminal(alias)

        names = [f"t{number}" for number in range(100)]
        for _ in range(2):
            wires = await asyncio.gather(*map(one, names))
            assert {desk.state for desk in there.relay.register.desks()} == {"card"}
        tasks = [
            asyncio.create_task(held(there, number, desk=f"{name}.r1")) for number, name in enumerate(names)
        ]
        await asyncio.gather(*(echo(wire) for wire in wires))
        await asyncio.gather(*tasks)
        await asyncio.gather(*(wire.socket.close() for wire in wires))
        await there.until(lambda: {desk.state for desk in there.relay.register.desks()} == {"absent"})


async def echo(wire: Wire) -> None:
    """Answer one scenario."""
    await wire.say(answer(await asked(wire)))


async def test_what_waits_has_no_tasks_of_its_own() -> None:
    """A connected terminal that does nothing costs the tasks of aiohttp's connection, and no other."""
    async with served(relay()) as there:
        await there.terminal()
        await there.until(
            lambda: not [task for task in asyncio.all_tasks() if "Line" in repr(task.get_coro())]
        )
        running = {str(task.get_coro()).split(" ")[2] for task in asyncio.all_tasks()}
        assert {name for name in running if "test" not in name} <= {
            "RequestHandler.start",
            "RequestHandler._handle_request",
        }


# --- signed scenarios ---------------------------------------------------------------------------------------


def signer(key: ec.EllipticCurvePrivateKey) -> ScenarioSigner:
    """Return what signs scenarios with *key*, as the HSM would: what its worker lets through, and nothing else."""
    admission = ScenarioAdmission("https://appliance.test", thumbprint(key.public_key()), time.time)

    async def sign(signing_input: bytes) -> bytes:
        admission.admit(signing_input)
        return key.sign(signing_input, ec.ECDSA(hashes.SHA256()))

    return ScenarioSigner("https://appliance.test", key.public_key(), sign, lambda: datetime.now(UTC))


async def test_a_terminal_that_insists_gets_signed_scenarios() -> None:
    """The signature is over the scenario, the terminal, its nonce, reader and mode, and verifies with the key of `welcome`."""
    key = ec.generate_private_key(ec.SECP256R1())
    async with served(relay(signer=signer(key))) as there:
        wire = await there.connect()
        present = Card(reader="r1", state=CardState.PRESENT, insertion=1)
        welcome = await wire.introduced(hello(R1, require_signed=True), present)
        await there.until(lambda: there.states() == {"card"})
        task = asyncio.create_task(held(there))
        await wire.hear(Start)
        jws = (await wire.hear(SignedScenario)).jws
        assert welcome.scenario_key is not None
        public = jwt.PyJWK(
            {"kty": "EC", "crv": "P-256", "x": welcome.scenario_key.x, "y": welcome.scenario_key.y}, "ES256"
        )
        header = jwt.get_unverified_header(jws)
        assert header == {"typ": "jpki-scenario+jwt", "alg": "ES256", "kid": welcome.scenario_key.kid}
        payload = jwt.decode(jws, public, algorithms=["ES256"], issuer=welcome.issuer)
        claims = messages.decode_claims(json.dumps(payload))
        assert (claims.terminal, claims.nonce, claims.reader, claims.mode) == (
            "t1",
            NONCE,
            "r1",
            Mode.PINLESS,
        )
        assert scenarios.exchange_of(claims.scenario) == ONE
        await wire.say(answer(claims.scenario))
        await task


async def test_a_terminal_that_insists_is_refused_where_nothing_is_signed() -> None:
    """The terminal learns the reason, and none of its desks appears."""
    async with served(relay()) as there:
        wire = await there.connect()
        await wire.say(hello(R1, require_signed=True))
        assert (await wire.hear(ApplianceProblem)).code == "terminal_signing_off"
        assert await wire.closed() == CloseCode.SIGNING_OFF
        assert there.relay.register.desks() == ()


# --- lifecycle ----------------------------------------------------------------------------------------------


async def test_draining_lets_the_running_ones_end() -> None:
    """Terminals without a session are sent away at once, the others when theirs is over; nothing new begins."""
    async with served(relay()) as there:
        idle, wire = await there.terminal("t2"), await there.terminal()
        task = asyncio.create_task(held(there))
        said = await asked(wire)
        draining = asyncio.create_task(there.relay.drain(10))
        await idle.hear(Drain)
        assert await idle.closed() == CloseCode.GOING_AWAY
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await there.connect("t3")
        with pytest.raises(GatewayDraining):
            await held(there, 2)
        await wire.hear(Drain)
        await wire.say(answer(said))
        await task
        assert await wire.closed() == CloseCode.GOING_AWAY
        await draining


async def test_draining_ends_in_time() -> None:
    """What is not over when the time is up ends with TerminalLost, whatever else has been at the same terminal."""
    async with served(relay()) as there:
        wire = await there.terminal(said=hello(R1, Reader(alias="r2")))
        task = asyncio.create_task(held(there))
        await asked(wire)
        for number in (2, 3):
            other = asyncio.create_task(held(there, number, desk="t1.r2"))
            await echo(wire)
            await other
            await wire.hear(Result)
        draining = asyncio.create_task(there.relay.drain(0.01))
        with pytest.raises(TerminalLost):
            await task
        assert await wire.closed() == CloseCode.GOING_AWAY
        await draining


async def test_new_settings_reach_terminals_when_they_are_free() -> None:
    """After a change of settings each terminal connects again, none in the middle of a session; others are forgotten."""
    async with served(relay()) as there:
        wire, idle, leaver = await there.terminal(), await there.terminal("t2"), await there.terminal("t3")
        task = asyncio.create_task(held(there))
        said = await asked(wire)
        there.relay.retain({"t1", "t2"})
        assert await leaver.closed() == CloseCode.RENEWED
        there.relay.renew(Terms(heartbeat=7), "https://new.test", None)
        assert await idle.closed() == CloseCode.RENEWED
        await wire.say(answer(said))
        await task
        assert await wire.closed() == CloseCode.RENEWED
        assert {one.desk for one in there.relay.register.desks()} == {"t1.r1", "t2.r1"}
        welcome = await (await there.connect()).introduced(hello())
        assert (welcome.heartbeat_ms, welcome.issuer) == (7000, "https://new.test")


async def test_old_settings_are_not_kept_up_by_readers_in_turn() -> None:
    """After a change of settings a busy terminal begins nothing new at its other reader, and connects again when it is free."""
    async with served(relay()) as there:
        wire = await there.terminal(said=hello(R1, Reader(alias="r2")))
        task = asyncio.create_task(held(there))
        said = await asked(wire)
        there.relay.renew(Terms(heartbeat=7), "https://new.test", None)
        with pytest.raises(TerminalAbsent):
            await held(there, 2, desk="t1.r2")
        with pytest.raises(ReaderBusy):
            await held(there, 3)
        await wire.say(answer(said))
        await task
        assert await wire.closed() == CloseCode.RENEWED
        again = await there.terminal(said=hello(R1, Reader(alias="r2")))
        task = asyncio.create_task(held(there, 4, desk="t1.r2"))
        await again.say(answer(await asked(again)))
        await task


async def test_a_terminal_that_is_forgotten_before_it_introduces_itself_gets_no_desk() -> None:
    """Who was let in by the old settings, and is slow to speak, is let go like those who had spoken."""
    async with served(relay()) as there:
        slow = await there.connect()
        there.relay.retain(set())
        await slow.say(hello())
        assert await slow.closed() == CloseCode.DONE
        assert there.relay.register.desks() == ()


# --- fuzz ---------------------------------------------------------------------------------------------------

SNIPPETS = st.sampled_from(
    [
        messages.encode(hello()),
        messages.encode(Card(reader="r1", state=CardState.PRESENT, insertion=3)),
        messages.encode(Card(reader="r1", state=CardState.EMPTY, insertion=3)),
        messages.encode(Responses(session=session(1), seq=0, responses=("9000",))),
        messages.encode(Responses(session=session(1), seq=0, responses=("6A82",))),
        messages.encode(Responses(session=session(2), seq=1, responses=("9000", "9000"))),
        messages.encode(TerminalProblem(session=session(1), code=TerminalCode.CARD_BUSY)),
        messages.encode(Abort(session=session(1))),
        "{}",
        "x",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.lists(SNIPPETS | st.text(max_size=30) | st.binary(max_size=30), max_size=6),
    greeted=st.booleans(),
)
def test_any_frames_end_in_our_errors(frames: list[str | bytes], greeted: bool) -> None:  # noqa: FBT001 - hypothesis' way
    """Whatever a terminal sends during a session: the caller gets an answer or our error in time, and the relay serves on."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        complaints: list[object] = []
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        async with served(relay(QUICK)) as there:
            wire = await there.terminal() if greeted else await there.connect()
            task = asyncio.create_task(held(there))
            with suppress(ConnectionError):
                for frame in frames:
                    await (
                        wire.socket.send_bytes(frame)
                        if isinstance(frame, bytes)
                        else wire.socket.send_str(frame)
                    )
            with suppress(ApplianceError):
                await task
            await wire.socket.close()
            other = await there.terminal("t2")
            task = asyncio.create_task(held(there, desk="t2.r1"))
            await echo(other)
            with suppress(CardTimeout):
                await task
        assert complaints == []

    asyncio.run(run())
