"""What the relay tells of terminals and their desks, and what it is told of the work at one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, Protocol, TypeAlias

from appliance.card.dialogue import Exchange, VerifyHolder
from appliance.terminals.messages import Mode
from appliance.terminals.places import DeskState

SEPARATOR: Final = "."
"""Between terminal and reader in the name of a desk."""


@dataclass(frozen=True, slots=True)
class RemoteDesk:
    """A reader of a terminal as a desk, and its *state* *since* when (seconds since the epoch)."""

    desk: str
    kind: Literal["remote"]
    state: DeskState
    since: float


@dataclass(frozen=True, slots=True)
class Work:
    """What the terminal is told of one conversation: its *session*, 32 hexadecimal digits, and what it is for."""

    session: str
    mode: Mode


class Stage(StrEnum):
    """How far a conversation is."""

    WAITING_FOR_CARD = "waiting-for-card"
    TALKING = "talking"
    WAITING_FOR_PIN = "waiting-for-pin"

    @classmethod
    def of(cls, exchange: Exchange) -> "Stage":
        """Return the stage at which *exchange* is done."""
        asks = any(isinstance(step, VerifyHolder) for step in exchange.steps)
        return cls.WAITING_FOR_PIN if asks else cls.TALKING


Progress: TypeAlias = Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Times:
    """
    What an exchange took in *seconds*, and how long the card had *waited* for it: since its last answer came.

    None for a session's first exchange.
    """

    seconds: float
    waited: float | None


class RelayObserver(Protocol):
    """Told what happens; it must not raise."""

    def connected(self, terminal: str) -> None:
        """Take note that *terminal* is connected."""

    def disconnected(self, terminal: str, code: str | None) -> None:
        """Take note that *terminal* is gone: for one of our error codes, None where it left by itself."""

    def refused(self, terminal: str, code: str) -> None:
        """Take note that a connection of *terminal* was not taken."""

    def exchanged(self, terminal: str, mode: Mode, answers: Sequence[tuple[str, int]], times: Times) -> None:
        """Take note of one exchange of a session for *mode*: each step's name and status word, and its *times*."""


class Unobserved:
    """Takes note of nothing."""

    def connected(self, terminal: str) -> None:
        """Do nothing."""

    def disconnected(self, terminal: str, code: str | None) -> None:
        """Do nothing."""

    def refused(self, terminal: str, code: str) -> None:
        """Do nothing."""

    def exchanged(self, terminal: str, mode: Mode, answers: Sequence[tuple[str, int]], times: Times) -> None:
        """Do nothing."""
