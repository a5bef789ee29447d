"""
Cards and readers on a table: cards are put on readers and taken away again while others use them.

Cards and readers are numbered from 1. A card that a fault removed, or that was taken away, can be put on again, on
the same or another reader; its steps begin anew when that reader gives it power, its counts of tries do not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from appliance.simulator.faults import FaultyCard
from appliance.simulator.pcscd import VirtualReader
from appliance.simulator.reader import Departure, InsertedCard


class Refused(Exception):
    """What was asked for cannot be done; the message says why."""


@dataclass(frozen=True, slots=True)
class Left:
    """Card *number* is no longer on its reader."""

    number: int
    departure: Departure


@dataclass(slots=True)
class _Place:
    """One card, and where it lies."""

    folder: Path
    card: FaultyCard
    reader: int | None = None
    inserted: InsertedCard | None = None


class Table:
    """
    The *cards*, each with the folder it is kept in, and the *readers*; a context manager, which clears the table.

    *tell* is called, in another thread, when a card has left its reader for whatever reason.
    """

    def __init__(
        self,
        cards: Sequence[tuple[Path, FaultyCard]],
        readers: Sequence[VirtualReader],
        tell: Callable[[Left], None],
    ) -> None:
        self._places = [_Place(folder, card) for folder, card in cards]
        self._readers = tuple(readers)
        self._tell = tell

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Take all cards away."""
        for place in self._places:
            if place.inserted is not None:
                place.inserted.remove()

    @property
    def numbers(self) -> range:
        """The numbers of the cards."""
        return range(1, len(self._places) + 1)

    def is_inserted(self, number: int) -> bool:
        """Whether card *number* lies on a reader."""
        inserted = self._place(number).inserted
        return inserted is not None and not inserted.has_left

    def insert(self, number: int, reader: int | None = None) -> None:
        """Put card *number* on the reader of that number, or on *reader*. Raises Refused, ReaderAbsent."""
        place, where = self._place(number), number if reader is None else reader
        if self.is_inserted(number):
            raise Refused(f"card {number} is on reader {place.reader}")
        if not 1 <= where <= len(self._readers):
            raise Refused(f"there is no reader {where}")
        if any(self.is_inserted(other) and self._place(other).reader == where for other in self.numbers):
            raise Refused(f"reader {where} is taken")
        target = self._readers[where - 1]
        place.inserted = InsertedCard(
            place.card, target.host, target.port, lambda departure: self._tell(Left(number, departure))
        )
        place.reader = where

    def remove(self, number: int) -> None:
        """Take card *number* away, and return when it has left. Raises Refused where it is on no reader."""
        place = self._place(number)
        if place.inserted is None or place.inserted.has_left:
            raise Refused(f"card {number} is on no reader")
        place.inserted.remove()

    def status(self, number: int) -> str:
        """Return where card *number* is, in one line."""
        place = self._place(number)
        if not self.is_inserted(number) or place.reader is None:
            return f"card {number} {place.folder} on no reader"
        reader = self._readers[place.reader - 1]
        return f"card {number} {place.folder} on reader {place.reader} {reader.name} ({reader.host}:{reader.port})"

    def _place(self, number: int) -> _Place:
        if number not in self.numbers:
            raise Refused(f"there is no card {number}")
        return self._places[number - 1]
