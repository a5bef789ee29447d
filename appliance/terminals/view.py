"""
What is known of readers and cards at one moment, as a value; and what happened between two of them.

A desk is a reader as the configuration means it: a part of the name that one connected reader has. Which that is gets
decided anew with every view, so that a reader unplugged and plugged in again is the same desk's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from appliance.errors import PcscRefused, PcscUnavailable, ReaderAbsent, ReaderAmbiguous
from appliance.terminals.scard import ReaderState
from appliance.terminals.transport import Extended

_NONE: Final[Mapping[str, ReaderState]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Desk:
    """A reader as configured: *part* of its name, and how it wants to be treated."""

    part: str
    extended: Extended = Extended.YES
    delay_seconds: float = 0.0
    """Pause before each command but the first, for readers that lose commands in quick succession."""
    pin_pad: bool = True
    """Whether the reader's own keys are used where it has some. UNVERIFIED."""
    pin_seconds: float = 60.0
    """What the holder gets for entering the PIN, on top of the exchange's own time."""


@dataclass(frozen=True, slots=True)
class View:
    """
    What the PC/SC service said at *polled_at*; it has been reachable *up_since*, None where it is not.

    Both are seconds since the epoch.
    """

    polled_at: float
    up_since: float | None
    readers: Mapping[str, ReaderState] = field(default_factory=lambda: _NONE)
    is_refused: bool = False
    """Whether the service runs, and does not let us in."""

    def reader(self, desks: Mapping[str, Desk], alias: str) -> str:
        """
        Return the name of the reader that *alias* means.

        Raises PcscRefused, PcscUnavailable, ReaderAbsent, and ReaderAmbiguous: a card is never taken from the wrong desk.
        """
        if self.is_refused:
            raise PcscRefused("the PC/SC service does not let this account in")
        if self.up_since is None:
            raise PcscUnavailable("the PC/SC service cannot be reached")
        part = desks[alias].part
        found = [name for name in self.readers if part in name]
        if not found:
            raise ReaderAbsent(f"none of {len(self.readers)} readers has '{part}' in its name")
        if len(found) > 1:
            raise ReaderAmbiguous(
                f"{len(found)} of {len(self.readers)} readers have '{part}' in their name, not one"
            )
        rivals = [other for other, desk in desks.items() if other != alias and desk.part in found[0]]
        if rivals:
            raise ReaderAmbiguous(f"'{alias}' and '{rivals[0]}' mean the same reader")
        return found[0]

    def state(self, desks: Mapping[str, Desk], alias: str) -> ReaderState | None:
        """Return the state of the reader that *alias* means; None where it means no single one."""
        try:
            return self.readers[self.reader(desks, alias)]
        except (PcscUnavailable, ReaderAbsent, ReaderAmbiguous):
            return None


NOTHING: Final = View(0.0, None)
"""Before anything was seen."""


@dataclass(frozen=True, slots=True)
class ReaderUp:
    """The *reader* (its alias) is there."""

    reader: str


@dataclass(frozen=True, slots=True)
class ReaderDown:
    """The *reader* (its alias) is gone, or the service with it, or its name has become ambiguous."""

    reader: str


@dataclass(frozen=True, slots=True)
class CardInserted:
    """A card was put on the *reader* (its alias)."""

    reader: str


@dataclass(frozen=True, slots=True)
class CardTaken:
    """The card was taken off the *reader* (its alias)."""

    reader: str


Event: TypeAlias = ReaderUp | ReaderDown | CardInserted | CardTaken


def events(before: View, after: View, desks: Mapping[str, Desk]) -> tuple[Event, ...]:
    """Return what happened at *desks* between two views, in an order in which it can have happened."""
    one_service = before.up_since == after.up_since
    return tuple(
        event
        for alias in desks
        for event in _between(
            alias, before.state(desks, alias), after.state(desks, alias), one_service=one_service
        )
    )


def _between(
    alias: str, before: ReaderState | None, after: ReaderState | None, *, one_service: bool
) -> Iterator[Event]:
    had_card, has_card = before is not None and before.card_present, after is not None and after.card_present
    # A count that differs with a card before and after means another card, or the same one again; a service that
    # was started again counts from the beginning.
    same = one_service and before is not None and after is not None and before.insertions == after.insertions
    if had_card and not (has_card and same):
        yield CardTaken(alias)
    if before is not None and after is None:
        yield ReaderDown(alias)
    if before is None and after is not None:
        yield ReaderUp(alias)
    if has_card and not (had_card and same):
        yield CardInserted(alias)
