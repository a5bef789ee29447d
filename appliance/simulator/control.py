"""
The table by command: one line is one command, its answer some lines and then `ok` or `error: REASON`.

    insert [CARD [READER]]   put a card on its reader or another; without number, every card that is on none
    remove [CARD]            take a card away; without number, every card
    status                   where each card is
    quit                     take all cards away and end

Made for pipes as well as for people: whoever writes a line reads until `ok` or `error`.
"""

from collections.abc import Iterator
from typing import Final

from appliance.errors import ReaderAbsent
from appliance.simulator.table import Refused, Table

_MOST_DIGITS: Final = 9
_SHOWN: Final = 40
COMMANDS = "insert [CARD [READER]], remove [CARD], status, quit"


class Quit(Exception):
    """The one at the control has had enough."""


def answer(table: Table, line: str) -> Iterator[str]:
    """Do what *line* says, and yield the lines to answer; Quit is raised instead where it says so."""
    try:
        yield from _execute(table, line.split())
    except Refused as refused:
        yield f"error: {refused}"
    except ReaderAbsent as absent:
        yield f"error: {absent.detail}"
    else:
        yield "ok"


def _execute(table: Table, words: list[str]) -> Iterator[str]:
    match words:
        case ["insert", *numbers] if len(numbers) <= 2:
            _insert(table, [_number(word) for word in numbers])
        case ["remove", *numbers] if len(numbers) <= 1:
            for number in map(_number, numbers) if numbers else _some(table, inserted=True):
                table.remove(number)
        case ["status"]:
            for number in table.numbers:
                yield table.status(number)
        case ["quit"]:
            raise Quit
        case _:
            raise Refused(f"the commands are: {COMMANDS}")


def _insert(table: Table, numbers: list[int]) -> None:
    match numbers:
        case [card, reader]:
            table.insert(card, reader)
        case [card]:
            table.insert(card)
        case _:
            for card in _some(table, inserted=False):
                table.insert(card)


def _some(table: Table, *, inserted: bool) -> list[int]:
    """Return the cards that are on a reader, or those that are on none; Refused where there is none of them."""
    numbers = [number for number in table.numbers if table.is_inserted(number) == inserted]
    if not numbers:
        raise Refused("no card is on a reader" if inserted else "every card is on a reader")
    return numbers


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS):
        raise Refused(f"'{word[:_SHOWN]}' is no number")
    return int(word)
