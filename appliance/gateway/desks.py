"""What the gateway needs of terminals: desks, each a place where one card can lie."""

import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, Protocol, TypeAlias

from appliance.authentication import Card

SESSION_BYTES: Final = 16
SEPARATOR: Final = "."
"""Between terminal and reader in a remote desk's name; an alias has none."""


class DeskState(StrEnum):
    """What is the matter at a desk."""

    ABSENT = "absent"
    """The reader, or the terminal that has it, is not there."""
    EMPTY = "empty"
    CARD = "card"
    BUSY = "busy"
    """A card is being spoken with, or waited for."""
    STUCK = "stuck"
    """The reader does not come back from its last command."""


@dataclass(frozen=True, slots=True)
class DeskStatus:
    """A desk by its name (`desk-1`, or TERMINAL.READER), and its *state* *since* when (Unix time)."""

    desk: str
    kind: Literal["local", "remote"]
    state: DeskState
    since: float


class Purpose(StrEnum):
    """What a card is wanted for."""

    PINLESS = "pinless"
    PIN = "pin"
    FRONT = "front"
    VISUAL = "visual"
    """The front, and then without a PIN."""


def new_session() -> str:
    """Return a session id that nobody can guess."""
    return secrets.token_hex(SESSION_BYTES)


@dataclass(frozen=True, slots=True)
class Work:
    """What the terminal is told of one conversation with a card."""

    purpose: Purpose
    session: str = field(default_factory=new_session)


class Stage(StrEnum):
    """How far a conversation is."""

    WAITING_FOR_CARD = "waiting-for-card"
    TALKING = "talking"
    WAITING_FOR_PIN = "waiting-for-pin"


Progress: TypeAlias = Callable[[Stage], None]
"""Told, on the event loop, when a conversation comes to another stage."""


class Desks(Protocol):
    """All desks, local and remote."""

    def status(self) -> tuple[DeskStatus, ...]:
        """Return how the desks are, in the order of their names."""

    def state(self, desk: str) -> DeskState | None:
        """Return how *desk* is, None where there is none; asked for each authentication, however many desks there are."""

    def card(self, desk: str, work: Work, progress: Progress) -> AbstractAsyncContextManager[Card]:
        """
        Wait for a card at *desk* for as long as is configured, and give it for one power-up, for us alone.

        Raises DeskUnknown, DeskAbsent, ReaderBusy, ReaderStuck, CardAbsent and other CardErrors.
        """
