"""What a person at the terminal needs to know at one moment, as a value: whoever shows it compares it with the last."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeAlias


class Link(StrEnum):
    """How it stands with the appliance."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    AWAY = "away"
    """It could not be reached, or the connection was lost; there will be another attempt."""
    ENDING = "ending"


class Place(StrEnum):
    """How it stands at one reader."""

    ABSENT = "absent"
    """The reader is not there."""
    IDLE = "idle"
    PLACE_CARD = "place-card"
    TALKING = "talking"
    ENTER_PIN = "enter-pin"
    ENTER_PIN_ON_PAD = "enter-pin-on-pad"
    DONE = "done"
    """The card may be taken away."""
    REFUSED = "refused"


ENDED: Final = frozenset({Place.DONE, Place.REFUSED})


@dataclass(frozen=True, slots=True)
class ReaderLine:
    """What is said about one reader; *code* says why it was refused."""

    place: Place
    code: str | None = None
    card: bool = False
    """Whether a card lies there."""


@dataclass(frozen=True, slots=True)
class Status:
    """
    Everything at once. *reason* says in English why the appliance is away, *code* is that of an error, where there is
    one, and *seconds* how long until the next attempt. Of several *nodes*, one that is *connected* is enough.
    """

    link: Link = Link.CONNECTING
    terminal: str | None = None
    """What the appliance calls this terminal."""
    code: str | None = None
    reason: str = ""
    seconds: float = 0.0
    nodes: int = 1
    connected: int = 0
    readers: Mapping[str, ReaderLine] = field(default_factory=dict)


Show: TypeAlias = Callable[[Status], None]


def show_nobody(_status: Status) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class _NodeLink:
    """How it stands with one node; members as in `Status`."""

    link: Link = Link.CONNECTING
    terminal: str | None = None
    code: str | None = None
    reason: str = ""
    seconds: float = 0.0


_TELLING: Final = (Link.ENDING, Link.CONNECTED, Link.CONNECTING, Link.AWAY)
"""Of several nodes, the one is told of that comes first here."""


class Board:
    """Keeps the status of the terminal with *readers* (aliases) and *nodes*, and shows every change of it."""

    def __init__(self, readers: tuple[str, ...], show: Show = show_nobody, nodes: int = 1) -> None:
        self._show = show
        self._links = [_NodeLink()] * nodes
        self._absent = set(readers)
        self.status = Status(readers=dict.fromkeys(readers, ReaderLine(Place.ABSENT)), nodes=nodes)

    def link(  # noqa: PLR0913 - each has its name at the call
        self,
        link: Link,
        *,
        node: int = 0,
        terminal: str | None = None,
        code: str | None = None,
        reason: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Take down how it stands with the *node* of the appliance."""
        self._links[node] = _NodeLink(link, terminal, code, reason, seconds)
        told = min(self._links, key=lambda one: _TELLING.index(one.link))
        self._take(
            replace(
                self.status,
                link=told.link,
                terminal=told.terminal,
                code=told.code,
                reason=told.reason,
                seconds=told.seconds,
                connected=sum(one.link is Link.CONNECTED for one in self._links),
            )
        )

    def card(self, reader: str, *, present: bool | None) -> None:
        """Take down whether a card lies on *reader*; None where the reader is not there."""
        line = self.status.readers[reader]
        place = line.place
        (self._absent.add if present is None else self._absent.discard)(reader)
        if present is None:
            place = Place.ABSENT
        elif place is Place.ABSENT or (place in ENDED and line.card and not present):
            place = Place.IDLE
        self._reader(reader, ReaderLine(place, line.code if place is line.place else None, bool(present)))

    def place(self, reader: str, place: Place, code: str | None = None) -> None:
        """Take down how it stands at *reader*; nothing is awaited at one that is not there."""
        if place is Place.IDLE and reader in self._absent:
            place = Place.ABSENT
        self._reader(reader, replace(self.status.readers[reader], place=place, code=code))

    def _reader(self, reader: str, line: ReaderLine) -> None:
        self._take(replace(self.status, readers={**self.status.readers, reader: line}))

    def _take(self, status: Status) -> None:
        if status != self.status:
            self.status = status
            self._show(status)
