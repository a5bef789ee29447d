"""What a terminal says."""

from typing import Annotated, TypeAlias

import msgspec

from appliance.terminals.messages.frame import (
    MOST_READERS,
    MOST_STEPS,
    Alias,
    Count,
    Hex,
    Label,
    Message,
    Nonce,
    Part,
    Sequence,
    SessionId,
    Text,
    require_hex,
)
from appliance.terminals.messages.vocabulary import CardState, PinEntry, TerminalCode


class Reader(Part, frozen=True):
    """A reader of the terminal's, called *alias*, and what it can do."""

    alias: Alias
    extended: bool | None = None
    """Whether it transmits extended APDUs; null where it does not say."""
    pin_entry: PinEntry = PinEntry.NONE


class Hello(Message, frozen=True, tag="hello"):
    """Who the terminal is; the first frame of a connection."""

    software: Label
    version: Label
    nonce: Nonce
    """128 random bits, new for each connection; signed scenarios repeat them."""
    readers: Annotated[tuple[Reader, ...], msgspec.Meta(max_length=MOST_READERS)]
    require_signed: bool = False
    """Whether it takes signed scenarios only."""

    def __post_init__(self) -> None:
        if len({reader.alias for reader in self.readers}) < len(self.readers):
            raise ValueError("two readers have one alias")


class Card(Message, frozen=True, tag="card"):
    """What is on a *reader* now. Told for each after `Welcome`, and at every change."""

    reader: Alias
    state: CardState
    insertion: Count
    """Goes up with each card that is put on; never down as long as the connection lasts."""


class Responses(Message, frozen=True, tag="responses"):
    """What the card answered to the scenario *seq*: a response APDU for each step that was done."""

    session: SessionId
    seq: Sequence
    responses: Annotated[tuple[Hex, ...], msgspec.Meta(min_length=1, max_length=MOST_STEPS)]

    def __post_init__(self) -> None:
        for text in self.responses:
            require_hex(text)

    def __repr__(self) -> str:
        """Show how many there are; what a card answers is personal."""
        return f"Responses(session={self.session!r}, seq={self.seq}, {len(self.responses)} responses)"


class TerminalProblem(Message, frozen=True, tag="problem"):
    """The session is over on the terminal's side, for the reason *code*."""

    session: SessionId
    code: TerminalCode
    detail: Text = ""


class Abort(Message, frozen=True, tag="abort"):
    """The session is over: a person cancelled it. Both sides may say so."""

    session: SessionId


FromTerminal: TypeAlias = Hello | Card | Responses | TerminalProblem | Abort
