"""
Sessions as tables: in which phase which move may come, on either side of the wire. What is absent is a violation.

A session is one conversation with one card, for one power-up of it. The appliance opens it with `start`, and it ends
with `result` where it comes to its end, with `problem` or `abort` of either side where it does not. Both sides can
end one at the same time, so what the other has sent before it could know is expected, once, and changes nothing: that
is what LEFT and LATE are for.

The terminal reports a card that comes or goes with `card`, but never while it works on a scenario: it does that after
its answer. So a card that goes while the appliance waits for an answer went before the scenario was begun.

Rules for whoever changes this: a move is looked up by `after`, in one place a side; a phase is left by a table's entry
or not at all; `docs/terminal-protocol.md` shows both tables, and a test holds the two to one another.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from appliance.errors import TerminalProtocolViolated


class Phase(StrEnum):
    """A session on the appliance's side."""

    CALLED = "called"
    """`start` is sent; no card lies there yet."""
    HELD = "held"
    """A card lies there, and nothing is asked of it now."""
    ASKED = "asked"
    """A scenario is sent, and its answer awaited."""
    GONE = "gone"
    """The card has left; only how the session ends is to be said."""
    LEFT = "left"
    """We have ended it; the terminal may have ended it at the same time."""
    LATE = "late"
    """We have ended it while an answer was awaited, which may still come."""
    OVER = "over"


class Move(StrEnum):
    """What happens to a session on the appliance's side."""

    CARD = "card: put on"
    CARD_GONE = "card: gone or another"
    RESPONSES = "responses"
    PROBLEM = "problem"
    ABORT = "abort"
    SEND_SCENARIO = "(sends) scenario"
    SEND_RESULT = "(sends) result"
    SEND_END = "(sends) problem or abort"


class TerminalPhase(StrEnum):
    """A session on the terminal's side."""

    WAITING = "waiting"
    """`start` came; no card lies there yet."""
    READY = "ready"
    """The session has its card."""
    BUSY = "busy"
    """A scenario is being done."""
    GONE = "gone"
    """The card has left; another one is not this session's."""
    OVER = "over"


class TerminalMove(StrEnum):
    """What happens to a session on the terminal's side."""

    SCENARIO = "scenario"
    RESULT = "result"
    PROBLEM = "problem"
    ABORT = "abort"
    CARD = "a card is put on"
    CARD_GONE = "the card is taken off"
    SEND_RESPONSES = "(sends) responses"
    SEND_PROBLEM = "(sends) problem"
    SEND_ABORT = "(sends) abort"


APPLIANCE: Final[Mapping[tuple[Phase, Move], Phase]] = MappingProxyType(
    {
        (Phase.CALLED, Move.CARD): Phase.HELD,
        (Phase.CALLED, Move.CARD_GONE): Phase.CALLED,
        (Phase.CALLED, Move.PROBLEM): Phase.OVER,
        (Phase.CALLED, Move.ABORT): Phase.OVER,
        (Phase.CALLED, Move.SEND_END): Phase.LEFT,
        (Phase.HELD, Move.CARD_GONE): Phase.GONE,
        (Phase.HELD, Move.PROBLEM): Phase.OVER,
        (Phase.HELD, Move.ABORT): Phase.OVER,
        (Phase.HELD, Move.SEND_SCENARIO): Phase.ASKED,
        (Phase.HELD, Move.SEND_RESULT): Phase.LEFT,
        (Phase.HELD, Move.SEND_END): Phase.LEFT,
        (Phase.ASKED, Move.RESPONSES): Phase.HELD,
        (Phase.ASKED, Move.PROBLEM): Phase.OVER,
        (Phase.ASKED, Move.ABORT): Phase.OVER,
        (Phase.ASKED, Move.CARD_GONE): Phase.ASKED,
        (Phase.ASKED, Move.SEND_END): Phase.LATE,
        (Phase.GONE, Move.CARD_GONE): Phase.GONE,
        (Phase.GONE, Move.PROBLEM): Phase.OVER,
        (Phase.GONE, Move.ABORT): Phase.OVER,
        (Phase.GONE, Move.SEND_RESULT): Phase.LEFT,
        (Phase.GONE, Move.SEND_END): Phase.LEFT,
        (Phase.LATE, Move.RESPONSES): Phase.LEFT,
        (Phase.LATE, Move.PROBLEM): Phase.OVER,
        (Phase.LATE, Move.ABORT): Phase.OVER,
        (Phase.LEFT, Move.PROBLEM): Phase.OVER,
        (Phase.LEFT, Move.ABORT): Phase.OVER,
    }
)
"""The appliance's side. From ASKED, a card that has gone leads to LATE by the `problem` that is sent at once."""

TERMINAL: Final[Mapping[tuple[TerminalPhase, TerminalMove], TerminalPhase]] = MappingProxyType(
    {
        (TerminalPhase.WAITING, TerminalMove.CARD): TerminalPhase.READY,
        (TerminalPhase.WAITING, TerminalMove.SCENARIO): TerminalPhase.BUSY,
        (TerminalPhase.WAITING, TerminalMove.RESULT): TerminalPhase.OVER,
        (TerminalPhase.WAITING, TerminalMove.PROBLEM): TerminalPhase.OVER,
        (TerminalPhase.WAITING, TerminalMove.ABORT): TerminalPhase.OVER,
        (TerminalPhase.WAITING, TerminalMove.SEND_PROBLEM): TerminalPhase.OVER,
        (TerminalPhase.WAITING, TerminalMove.SEND_ABORT): TerminalPhase.OVER,
        (TerminalPhase.READY, TerminalMove.CARD_GONE): TerminalPhase.GONE,
        (TerminalPhase.READY, TerminalMove.SCENARIO): TerminalPhase.BUSY,
        (TerminalPhase.READY, TerminalMove.RESULT): TerminalPhase.OVER,
        (TerminalPhase.READY, TerminalMove.PROBLEM): TerminalPhase.OVER,
        (TerminalPhase.READY, TerminalMove.ABORT): TerminalPhase.OVER,
        (TerminalPhase.READY, TerminalMove.SEND_PROBLEM): TerminalPhase.OVER,
        (TerminalPhase.READY, TerminalMove.SEND_ABORT): TerminalPhase.OVER,
        (TerminalPhase.BUSY, TerminalMove.PROBLEM): TerminalPhase.OVER,
        (TerminalPhase.BUSY, TerminalMove.ABORT): TerminalPhase.OVER,
        (TerminalPhase.BUSY, TerminalMove.SEND_RESPONSES): TerminalPhase.READY,
        (TerminalPhase.BUSY, TerminalMove.SEND_PROBLEM): TerminalPhase.OVER,
        (TerminalPhase.BUSY, TerminalMove.SEND_ABORT): TerminalPhase.OVER,
        (TerminalPhase.GONE, TerminalMove.CARD): TerminalPhase.GONE,
        (TerminalPhase.GONE, TerminalMove.CARD_GONE): TerminalPhase.GONE,
        (TerminalPhase.GONE, TerminalMove.SCENARIO): TerminalPhase.BUSY,
        (TerminalPhase.GONE, TerminalMove.RESULT): TerminalPhase.OVER,
        (TerminalPhase.GONE, TerminalMove.PROBLEM): TerminalPhase.OVER,
        (TerminalPhase.GONE, TerminalMove.ABORT): TerminalPhase.OVER,
        (TerminalPhase.GONE, TerminalMove.SEND_PROBLEM): TerminalPhase.OVER,
        (TerminalPhase.GONE, TerminalMove.SEND_ABORT): TerminalPhase.OVER,
        (TerminalPhase.OVER, TerminalMove.SCENARIO): TerminalPhase.OVER,
        (TerminalPhase.OVER, TerminalMove.RESULT): TerminalPhase.OVER,
        (TerminalPhase.OVER, TerminalMove.PROBLEM): TerminalPhase.OVER,
        (TerminalPhase.OVER, TerminalMove.ABORT): TerminalPhase.OVER,
    }
)
"""
The terminal's side. A scenario that finds no card, or another card than the session's, is answered at once with the
`problem` card_removed: BUSY, and over. One for a session that is over crossed with what ended it, and is dropped.
"""

P = TypeVar("P", Phase, TerminalPhase)
M = TypeVar("M", Move, TerminalMove)


def after(table: Mapping[tuple[P, M], P], phase: P, move: M) -> P:
    """Return the phase to which *move* leads from *phase*, or raise TerminalProtocolViolated."""
    following = table.get((phase, move))
    if following is None:
        raise TerminalProtocolViolated(f"'{move}' came in a session that is '{phase}'")
    return following
