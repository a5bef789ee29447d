"""
The terminals that are known since the start: who is connected, with which readers, and which were there last.

A terminal that went away stays in it with its desks, so that reception is told that they are away, not that there never
were any.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from appliance.terminals.desks import SEPARATOR, RemoteDesk
from appliance.terminals.line import Line
from appliance.terminals.messages import Hello
from appliance.terminals.pace import Pace
from appliance.terminals.places import DeskState, Place
from appliance.terminals.remote import Connection

_CONNECT_BURST, _CONNECT_RATE = 6, 0.2
"""Connections of one terminal: more in a row are two terminals with one certificate, or one that does not wait."""


@dataclass(slots=True)
class Terminal:
    """One identity: how it is connected now, and which readers it had last."""

    connection: Connection | None = None
    line: Line | None = None
    hello: Hello | None = None
    places: dict[str, Place] = field(default_factory=dict)
    pace: Pace = field(default_factory=lambda: Pace(_CONNECT_BURST, _CONNECT_RATE))


class Register:
    """Terminals by their aliases."""

    def __init__(self) -> None:
        self._terminals: dict[str, Terminal] = {}

    def __iter__(self) -> Iterator[Terminal]:
        return iter(self._terminals.values())

    def entered(self, alias: str) -> Terminal:
        """Return the terminal called *alias*, whether it was known or not."""
        return self._terminals.setdefault(alias, Terminal())

    def has(self, alias: str, terminal: Terminal) -> bool:
        """Return whether *alias* still is this *terminal*."""
        return self._terminals.get(alias) is terminal

    def struck(self, kept: Collection[str]) -> list[Terminal]:
        """Forget the terminals that are none of the *kept*, and return them."""
        return [self._terminals.pop(alias) for alias in set(self._terminals) - set(kept)]

    def has_come(self, alias: str) -> bool:
        """Return whether the terminal called *alias* has introduced itself, so that its readers are known."""
        terminal = self._terminals.get(alias)
        return terminal is not None and terminal.hello is not None

    def found(self, desk: str) -> tuple[Terminal, Place] | None:
        """Return the terminal and the place of *desk* (TERMINAL.READER), where a terminal has it."""
        alias, _, reader = desk.partition(SEPARATOR)
        terminal = self._terminals.get(alias)
        return (
            None if terminal is None or reader not in terminal.places else (terminal, terminal.places[reader])
        )

    def state(self, desk: str) -> DeskState | None:
        """Return how *desk* is; None where no terminal has it."""
        found = self.found(desk)
        return None if found is None else found[1].shown

    def desks(self) -> tuple[RemoteDesk, ...]:
        """Return how the desks are, in the order of their names; those of terminals that are away among them."""
        return tuple(
            RemoteDesk(alias + SEPARATOR + reader, "remote", place.shown, place.since)
            for alias, terminal in sorted(self._terminals.items())
            for reader, place in sorted(terminal.places.items())
        )
