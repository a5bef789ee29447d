"""Sessions of the terminal agent: real readers and software cards, and a real WebSocket server."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from appliance.authentication import converse
from appliance.card import jpki, surface
from appliance.card.dialogue import Exchange, Step
from appliance.card.profile import Header
from appliance.card.verification_number import VerificationNumber
from appliance.errors import CardRemoved, PinRejected
from appliance.simulator.faults import Removed, Slow
from appliance.simulator.pcscd import PrivatePcscd
from appliance.terminals import scenarios
from appliance.terminals.agent.session import Equipment, Session
from appliance.terminals.agent.status import Board, Link, Place
from appliance.terminals.messages import (
    Abort,
    ApplianceProblem,
    FromTerminal,
    Mode,
    Outcome,
    PinEntry,
    Result,
    Start,
    TerminalCode,
    TerminalProblem,
)
from appliance.terminals.sessions import TerminalMove
from appliance.terminals.view import Desk
from tests.terminals.agent.conftest import (
    NONCE,
    OTHER,
    PROFILE,
    Begin,
    Hand,
    Institution,
    answering,
    first,
    problem,
    tries,
)
from tests.terminals.agent.far_side import PATIENCE, READER, SESSION, FarSide


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


class NoCard:
    """Readers on which nobody ever puts a card."""

    @asynccontextmanager
    async def card(self, _reader: str, **_options: object) -> AsyncIterator[None]:
        """Wait without end."""
        await asyncio.Event().wait()
        yield


async def test_a_refusal_and_an_end_that_cross_are_an_end() -> None:
    """A scenario is refused, and before that is told the appliance ends the session: nothing more is said, nothing fails."""
    said: list[FromTerminal] = []

    async def send(message: FromTerminal) -> None:
        said.append(message)

    equipment = Equipment(
        NoCard(),  # type: ignore[arg-type]  # of the readers, a session needs no more
        PROFILE,
        Board((READER,)),
        PinEntry.NONE,
        lambda _reader, _given_up, _silent: None,
        lambda: 0.0,
    )
    start = Start(session=SESSION, reader=READER, mode=Mode.PINLESS, wait_ms=15_000)
    session = Session(start, equipment, send, lambda: None, None)
    session.card_put_on()
    task = asyncio.create_task(session.run())
    await asyncio.sleep(0)
    erase = Exchange((Step("erase", Header.from_hex("000E0000").command()),))
    session.take(scenarios.scenario(SESSION, 0, 1_000, erase), card=True)
    session.move(TerminalMove.ABORT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not said


async def test_pinless_from_start_to_the_card_taken_away(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """A card is asked for, proves its holder in two scenarios, and the person is told when to take it away."""
    running = await begin()
    line = await side.welcomed()
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
    line = await side.welcomed()
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
    line = await side.welcomed()
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
    line = await side.welcomed()
    card = await line.start(Mode.PIN)
    await line.card(present=True)
    await line.say(card.scenario(first(jpki.with_pin(PROFILE, NONCE))))
    await problem(line, TerminalCode.PIN_CANCELLED)
    assert await tries(line) == 3


async def test_without_pin_entry_a_pin_is_declined_at_once(side: FarSide, begin: Begin) -> None:
    """Nobody places a card for what cannot be done at this terminal."""
    await begin()
    line = await side.welcomed()
    await line.start(Mode.PIN)
    await problem(line, TerminalCode.PIN_CANCELLED)


async def test_a_pin_pad_that_is_not_there_declines(
    side: FarSide, begin: Begin, hand: Hand, private_pcscd: PrivatePcscd
) -> None:
    """Where PINs are for the reader's own keys alone, nobody is asked at the keyboard in their place."""
    hand.put()
    desks = {READER: Desk(private_pcscd.readers[1].name, pin_pad=True)}
    running = await begin(**{**answering("1234"), "pin_entry": PinEntry.PAD, "desks": desks})
    line = await side.line()
    assert [reader.pin_entry for reader in (await line.welcome()).readers] == [PinEntry.PAD]
    await line.card(present=True)
    card = await line.start(Mode.PIN)
    await line.say(card.scenario(first(jpki.with_pin(PROFILE, NONCE))))
    await running.place(Place.ENTER_PIN_ON_PAD)
    await problem(line, TerminalCode.PIN_CANCELLED)
    assert await tries(line) == 3


async def test_a_pin_that_comes_after_the_end_is_not_sent(side: FarSide, begin: Begin, hand: Hand) -> None:
    """Who asks for the PIN is told that nobody waits any more; digits that come then go nowhere."""
    told = threading.Event()

    def ask(_reader: str, given_up: threading.Event, silent: Callable[[], None]) -> str:
        silent()
        if given_up.wait(PATIENCE):
            told.set()
        return "9999"

    hand.put()
    running = await begin(pin_entry=PinEntry.SCREEN, ask_pin=ask)
    line = await side.welcomed()
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
    line = await side.welcomed()
    card = await line.start(Mode.FRONT)
    number = VerificationNumber(hand.data.secrets.number_b)
    reading = await converse(surface.read_front(PROFILE, number, NONCE), card, institution.sign)
    assert len(reading.signature) == 256
    assert len(reading.front) > 1_000


async def test_the_front_is_compared_before_the_same_card_proves_its_holder(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """One session is enough for both; a card that leaves while somebody looks is the end of it."""
    hand.put()
    await begin()
    line = await side.welcomed()
    card = await line.start(Mode.VISUAL)
    number = VerificationNumber(hand.data.secrets.number_b)
    await converse(surface.read_front(PROFILE, number, NONCE), card, institution.sign)
    proof = await converse(jpki.pinless(PROFILE, institution.chain, NONCE), card, institution.sign)
    assert len(proof.signature) == 256


async def test_a_card_pulled_between_two_scenarios_ends_the_session(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """The card's leaving is told at once; whatever is asked of it afterwards gets one clear answer."""
    hand.put()
    await begin()
    line = await side.welcomed()
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
    line = await side.welcomed()
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
    line = await side.welcomed()
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
    line = await side.welcomed()
    await line.start(Mode.PINLESS, wait_ms=100)
    await problem(line, TerminalCode.CARD_ABSENT)


async def test_a_scenario_has_its_deadline(side: FarSide, begin: Begin, hand: Hand) -> None:
    """A card that does not answer in time ends the session, and gets nothing more."""
    hand.put(Slow(2, 1.0))
    await begin()
    line = await side.welcomed()
    card = await line.start(Mode.PINLESS)
    card.deadline_ms = 300
    await line.card(present=True)
    await line.say(card.scenario(first(jpki.inspect(PROFILE))))
    await problem(line, TerminalCode.CARD_TIMEOUT)


async def test_a_reader_has_one_session(side: FarSide, begin: Begin) -> None:
    """A second one is refused, and so is one at a reader that there is not; the first goes on."""
    running = await begin()
    line = await side.welcomed()
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
    line = await side.welcomed()
    card = await line.start(Mode.PIN)
    await line.card(present=True)
    verify = Step("verify", Header.from_hex("00200080").command(bytes.fromhex(data_)))
    asked = first(jpki.with_pin(PROFILE, NONCE))
    await line.say(card.scenario(Exchange((*asked.steps[:3], verify))))
    assert "step 4" in (await problem(line, TerminalCode.COMMAND_REFUSED)).detail
    again = await line.start(Mode.PIN, OTHER)
    assert len((await institution.authenticate(again, Mode.PIN)).signature) == 256
