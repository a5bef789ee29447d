"""
One session at one reader: what the appliance has done with one card, for one power-up of it.

The card is spoken to through `Readers`, as the appliance does with readers of its own; what comes on top is what a network
makes necessary: the allow-list, signatures where they are insisted on, one scenario at a time in its order, and an end
to everything. A session ends by its task being cancelled, or by what it reports itself.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange, VerifyHolder
from appliance.card.profile import Profile
from appliance.config.terminals import LONGEST_SCENARIO, LONGEST_WAIT
from appliance.errors import (
    ApplianceError,
    CardError,
    CardRemoved,
    CardTimeout,
    CardUnreadable,
    PinCancelled,
    TerminalCommandRefused,
    TerminalMessageInvalid,
    TerminalProtocolViolated,
    TerminalSignatureRefused,
)
from appliance.terminals import scenarios
from appliance.terminals.agent.allowlist import AllowList
from appliance.terminals.agent.signatures import Verifier
from appliance.terminals.agent.status import Board, Place
from appliance.terminals.messages import (
    FromTerminal,
    Mode,
    PinEntry,
    Scenario,
    SignedScenario,
    Start,
    TerminalCode,
    TerminalProblem,
)
from appliance.terminals.readers import Readers
from appliance.terminals.session import PcscCard
from appliance.terminals.sessions import TERMINAL, TerminalMove, TerminalPhase, after

LONGEST_PAUSE: Final = 330.0
"""Seconds that a card is held for an appliance that says nothing about it."""
_LONGEST_DETAIL: Final = 200

AskPin: TypeAlias = Callable[[str, threading.Event, Callable[[], None]], str | None]
"""
Asks the holder at the reader of that alias for the PIN, in a thread; None when declined, or given up meanwhile. Calls
what it is given once keys are no longer shown: only then is the holder told to enter anything.
"""
Send: TypeAlias = Callable[[FromTerminal], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Equipment:
    """What all sessions of a terminal have in common."""

    readers: Readers
    profile: Profile
    board: Board
    pin_entry: PinEntry
    ask_pin: AskPin
    clock: Callable[[], float]
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class _Task:
    exchange: Exchange
    seq: int
    deadline: float
    """By the loop's clock."""


@dataclass(slots=True)
class Session:
    """The session that *start* begins; *verifier* where scenarios have to be signed."""

    start: Start
    equipment: Equipment
    send: Send
    settled: Callable[[], None]
    """Called when an answer has been sent."""
    verifier: Verifier | None
    answering: bool = False
    """Whether an answer is on its way: what happens to the card is told after it."""
    _phase: TerminalPhase = TerminalPhase.WAITING
    _seq: int = 0
    _tasks: "asyncio.Queue[_Task]" = field(default_factory=asyncio.Queue)
    _connected: bool = False
    _serving: "asyncio.Task[None] | None" = None
    _failure: ApplianceError | None = None
    _given_up: threading.Event = field(default_factory=threading.Event)
    _listed: AllowList = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listed = AllowList(self.equipment.profile, self.start.mode)

    @property
    def busy(self) -> bool:
        """Whether a scenario is being done, or its answer is on its way."""
        return self._phase is TerminalPhase.BUSY or self.answering

    def move(self, move: TerminalMove) -> None:
        """Go on by *move*, or raise TerminalProtocolViolated."""
        self._phase = after(TERMINAL, self._phase, move)

    def take(self, said: Scenario | SignedScenario, *, card: bool) -> None:
        """
        Have *said* done next; *card* tells whether a card lies on the reader now.

        What breaks the protocol raises TerminalProtocolViolated or TerminalMessageInvalid; what this terminal will not do
        ends the session.
        """
        # A card that has left, or had another one put in its place, is the end of its session.
        card = (card or self._connected) and self._phase is not TerminalPhase.GONE
        self.move(TerminalMove.SCENARIO)
        arrived = self._loop.time()
        try:
            scenario = self._believed(said)
            if scenario.seq != self._seq:
                raise TerminalProtocolViolated(f"scenario {scenario.seq} came in the place of {self._seq}")
            exchange = scenarios.exchange_of(scenario)
            _require_one_frame(exchange)
            self._listed.admit(exchange)
        except (TerminalSignatureRefused, TerminalCommandRefused) as error:
            self._fail(error)
        else:
            seconds = min(scenario.deadline_ms / 1_000, LONGEST_SCENARIO)
            self._tasks.put_nowait(_Task(exchange, scenario.seq, arrived + seconds))
            if not card:
                self._fail(CardRemoved("the card was taken away"))

    def card_put_on(self) -> None:
        """Take note that a card was put on the reader."""
        if self._phase is TerminalPhase.WAITING:
            self.move(TerminalMove.CARD)

    def card_gone(self) -> None:
        """Take note that the card has left the reader. While a scenario is done, the card's own silence says so."""
        if self._phase is TerminalPhase.READY:
            self.move(TerminalMove.CARD_GONE)
        elif self._phase is TerminalPhase.BUSY and not self._connected:
            self._fail(CardRemoved("the card was taken away"))

    async def run(self) -> None:
        """Do what the appliance asks until the session ends; report what goes wrong on this side."""
        try:
            await self._served()
        except (CardError, TerminalCommandRefused, TerminalSignatureRefused) as error:
            self.move(TerminalMove.SEND_PROBLEM)
            code = _code(error)
            self.equipment.board.place(self.start.reader, Place.REFUSED, code)
            await self._say(
                TerminalProblem(session=self.start.session, code=code, detail=_printable(error.detail))
            )
        finally:
            self._given_up.set()

    async def _served(self) -> None:
        """Serve until it fails, by itself or by `_fail`."""
        self._serving = asyncio.create_task(self._serve())
        if self._failure is not None:
            self._serving.cancel()
        try:
            await self._serving
        except asyncio.CancelledError:
            # Where the appliance has ended the session meanwhile, there is nothing more to be reported.
            if self._failure is None or self._phase is TerminalPhase.OVER:
                raise
            raise self._failure from None

    def _fail(self, error: ApplianceError) -> None:
        """End the session with *error*, whatever it is doing."""
        self._failure = self._failure or error
        if self._serving is not None:
            self._serving.cancel()

    async def _serve(self) -> None:
        equipment, reader = self.equipment, self.start.reader
        if self.start.mode is Mode.PIN and equipment.pin_entry is PinEntry.NONE:
            raise PinCancelled("no PIN can be entered at this terminal")
        equipment.board.place(reader, Place.PLACE_CARD)
        async with equipment.readers.card(
            reader,
            wait=min(self.start.wait_ms / 1_000, LONGEST_WAIT),
            seconds=LONGEST_SCENARIO,
            enter_pin=self._enter_pin,
        ) as card:
            self._connected = True
            self.card_put_on()
            equipment.board.place(reader, Place.TALKING)
            while True:
                task = await self._next()
                answers = await self._done(card, task)
                if not scenarios.ran_through(task.exchange, answers):
                    self._listed.stopped(len(answers))
                self._seq += 1
                self.move(TerminalMove.SEND_RESPONSES)
                await self._say(scenarios.responses(self.start.session, task.seq, answers))

    async def _say(self, message: FromTerminal) -> None:
        self.answering = True
        try:
            await self.send(message)
        finally:
            self.answering = False
            self.settled()

    async def _next(self) -> _Task:
        try:
            async with asyncio.timeout(LONGEST_PAUSE):
                return await self._tasks.get()
        except TimeoutError as error:
            raise CardTimeout("the appliance did not say in time what is to be done") from error

    async def _done(self, card: PcscCard, task: _Task) -> tuple[Response, ...]:
        """Return what *card* answers to *task*; after its deadline nothing is sent to the card any more."""
        board, reader = self.equipment.board, self.start.reader
        asks = any(isinstance(step, VerifyHolder) for step in task.exchange.steps)
        if asks and self.equipment.pin_entry is PinEntry.PAD:
            board.place(reader, Place.ENTER_PIN_ON_PAD)
        try:
            async with asyncio.timeout_at(task.deadline):
                answers = await card.exchange(task.exchange, within=task.deadline - self._loop.time())
        except TimeoutError as error:
            raise CardTimeout("the scenario was not done by its deadline") from error
        board.place(reader, Place.TALKING)
        scenarios.require_fitting(task.exchange, answers)
        return answers

    def _believed(self, said: Scenario | SignedScenario) -> Scenario:
        match said, self.verifier:
            case Scenario(), None:
                return said
            case SignedScenario(), Verifier() as verifier:
                return verifier.verified(said, self.start, self.equipment.clock())
            case Scenario(), _:
                raise TerminalSignatureRefused("the scenario is not signed")
            case _:
                raise TerminalProtocolViolated("a signed scenario came where none was asked for")

    def _enter_pin(self) -> str | None:
        """Ask the holder, in the card's thread."""
        equipment = self.equipment
        if equipment.pin_entry is not PinEntry.SCREEN:
            return None
        pin = equipment.ask_pin(
            self.start.reader, self._given_up, lambda: self._show_from_thread(Place.ENTER_PIN)
        )
        self._show_from_thread(Place.TALKING)
        return pin

    def _show_from_thread(self, place: Place) -> None:
        with suppress(RuntimeError):  # a loop that has ended shows nothing
            self._loop.call_soon_threadsafe(self._show, place)

    def _show(self, place: Place) -> None:
        if not self._given_up.is_set():
            self.equipment.board.place(self.start.reader, place)


def _require_one_frame(exchange: Exchange) -> None:
    """Raise TerminalMessageInvalid where the answers to *exchange* would not fit into one frame."""
    try:
        fits = len(tuple(scenarios.batches(exchange))) == 1
    except ValueError:
        fits = False
    if not fits:
        raise TerminalMessageInvalid("the answers to a scenario would not fit into one frame")


def _code(error: ApplianceError) -> TerminalCode:
    try:
        return TerminalCode(error.code)
    except ValueError:
        return TerminalCode(CardUnreadable.code)


def _printable(text: str) -> str:
    return "".join(each if " " <= each <= "~" else "?" for each in text)[:_LONGEST_DETAIL]
