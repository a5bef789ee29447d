"""The readers of a connected terminal, and the conversations at them, as the appliance knows them."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never

from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange
from appliance.errors import ApplianceError, CardRemoved
from appliance.terminals.messages import CardState, Reader, Start
from appliance.terminals.sessions import APPLIANCE, Move, Phase, after


class DeskState(StrEnum):
    """What is the matter at a desk."""

    ABSENT = "absent"
    EMPTY = "empty"
    CARD = "card"
    BUSY = "busy"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Terms:
    """How terminals are treated. All in seconds but *most*, the most that may be connected."""

    heartbeat: float = 20.0
    exchange: float = 10.0
    card: float = 15.0
    pin: float = 60.0
    hello: float = 5.0
    lag: float = 1.0
    """What an answer may be on its way, on top of what the terminal has for it."""
    most: int = 4096


class Place:
    """A reader of a terminal, as far as we are told."""

    __slots__ = ("insertion", "reader", "session", "shown", "since", "state", "stuck")

    def __init__(self, reader: Reader, since: float) -> None:
        self.reader = reader
        self.state = CardState.ABSENT
        self.insertion = 0
        self.session: Session | None = None
        self.stuck = False
        self.shown, self.since = DeskState.ABSENT, since

    def look(self, now: float) -> None:
        """Remember when what is shown of the place has changed."""
        shown = self._now()
        if shown is not self.shown:
            self.shown, self.since = shown, now

    def _now(self) -> DeskState:
        if self.session is not None:
            return DeskState.BUSY
        match self.state:
            case CardState.ABSENT:
                return DeskState.ABSENT
            case _ if self.stuck:
                return DeskState.STUCK
            case CardState.EMPTY:
                return DeskState.EMPTY
            case CardState.PRESENT:
                return DeskState.CARD
            case _:
                assert_never(self.state)


class Session:
    """One conversation with the card at *place*, announced by *start*."""

    __slots__ = (
        "answer",
        "answered",
        "asked",
        "card",
        "error",
        "insertion",
        "next",
        "phase",
        "place",
        "start",
        "waited",
    )

    def __init__(self, start: Start, place: Place) -> None:
        self.start, self.place = start, place
        self.phase = Phase.CALLED
        self.insertion: int | None = None
        self.next = 0
        self.asked: Exchange | None = None
        self.answer: asyncio.Future[tuple[Response, ...]] | None = None
        self.card: asyncio.Future[None] | None = None
        self.error: ApplianceError | None = None
        self.answered: float | None = None
        """When the last answer came, by `time.monotonic`."""
        self.waited: float | None = None
        """Seconds from the answer before to the scenario that was sent last: how long the card waited for us."""
        if place.state is CardState.PRESENT:
            self.bind()

    def move(self, move: Move) -> None:
        """Go where *move* leads, or raise TerminalProtocolViolated."""
        self.phase = after(APPLIANCE, self.phase, move)

    def bind(self) -> None:
        """Take the card that lies at the place now: this one, and no other."""
        self.move(Move.CARD)
        self.insertion = self.place.insertion
        if self.card is not None and not self.card.done():
            self.card.set_result(None)

    def fail(self, error: ApplianceError) -> None:
        """Tell whoever waits, or comes to ask later."""
        self.error = self.error or error
        for waited in (self.card, self.answer):
            if waited is not None and not waited.done():
                waited.set_exception(error)

    def require_card(self) -> None:
        """Raise what ended the session, or CardRemoved where its card has left."""
        if self.error is not None:
            raise self.error
        if self.phase is Phase.GONE:
            raise CardRemoved("the card left the reader, or another one was put on")


def seen(waited: asyncio.Future[Any]) -> None:
    """Take note of how *waited* ended, so that asyncio does not complain of a failure that came with a cancellation."""
    if waited.done() and not waited.cancelled():
        waited.exception()
