"""Cards put on readers and taken away by command; the readers are sockets, to which a card connects."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import pytest

from appliance.simulator import control
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import FaultyCard, Removed
from appliance.simulator.pcscd import VirtualReader
from appliance.simulator.reader import Departure
from appliance.simulator.table import Left, Table
from tests.simulator.conversation import JPKI

WAIT = 10.0
POWER_ON = bytes.fromhex("000101")


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Two readers."""
    with ExitStack() as opened:
        yield [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]


@pytest.fixture
def left() -> SimpleQueue[Left]:
    """Which cards have left, and why."""
    return SimpleQueue()


@pytest.fixture
def table(card_data: CardData, sockets: list[socket.socket], left: SimpleQueue[Left]) -> Iterator[Table]:
    """Three cards, the third of which leaves at its first command, and two readers."""
    faults: list[list[Removed]] = [[], [], [Removed(1)]]
    cards = [
        (Path(f"card{number}"), FaultyCard(SoftwareCard(card_data), each))
        for number, each in enumerate(faults, 1)
    ]
    readers = [VirtualReader(f"Reader {each.getsockname()[1]}", each.getsockname()[1]) for each in sockets]
    with Table(cards, readers, left.put) as table:
        yield table


def told(table: Table, *lines: str) -> list[str]:
    """Return the answers to *lines*."""
    return [said for line in lines for said in control.answer(table, line)]


def test_insert_and_remove(table: Table, left: SimpleQueue[Left]) -> None:
    """A card is put on its reader, is there, and is taken away."""
    assert told(table, "insert 1") == ["ok"]
    assert table.is_inserted(1)
    assert told(table, "remove 1") == ["ok"]
    assert not table.is_inserted(1)
    assert left.get(timeout=WAIT) == Left(1, Departure.STOPPED)


def test_status(table: Table, sockets: list[socket.socket]) -> None:
    """The status has a line for each card, and says on which reader it is."""
    told(table, "insert 1", "insert 3 2")
    ports = [each.getsockname()[1] for each in sockets]
    assert told(table, "status") == [
        f"card 1 card1 on reader 1 Reader {ports[0]} (127.0.0.1:{ports[0]})",
        "card 2 card2 on no reader",
        f"card 3 card3 on reader 2 Reader {ports[1]} (127.0.0.1:{ports[1]})",
        "ok",
    ]


def test_swap(table: Table) -> None:
    """Another card takes the place of the first."""
    assert told(table, "insert 1", "remove 1", "insert 2 1", "remove", "insert 1") == ["ok"] * 5


def test_all_at_once(table: Table) -> None:
    """Without number every card is meant; where there is none, that is an error."""
    assert told(table, "remove") == ["error: no card is on a reader"]
    assert told(table, "insert 1 2", "insert 2 1", "remove") == ["ok"] * 3
    assert told(table, "insert", "remove") == ["error: there is no reader 3", "ok"]
    assert not any(table.is_inserted(number) for number in table.numbers)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("insert 1", "card 1 is on reader 1"),
        ("insert 2 1", "reader 1 is taken"),
        ("insert 2 3", "there is no reader 3"),
        ("insert 2 0", "there is no reader 0"),
        ("insert 3", "there is no reader 3"),
        ("insert 4", "there is no card 4"),
        ("insert one", "'one' is no number"),
        ("insert -1", "'-1' is no number"),
        ("insert " + "1" * 5_000, f"'{'1' * 40}' is no number"),
        ("remove 2", "card 2 is on no reader"),
        ("remove 4", "there is no card 4"),
        ("remove 1 1", f"the commands are: {control.COMMANDS}"),
        ("insert 1 1 1", f"the commands are: {control.COMMANDS}"),
        ("status 1", f"the commands are: {control.COMMANDS}"),
        ("", f"the commands are: {control.COMMANDS}"),
        ("eject", f"the commands are: {control.COMMANDS}"),
    ],
)
def test_errors(table: Table, line: str, reason: str) -> None:
    """What cannot be done is said in one line, and changes nothing."""
    told(table, "insert 1")
    assert told(table, line) == [f"error: {reason}"]
    assert [table.is_inserted(number) for number in table.numbers] == [True, False, False]


def test_quit(table: Table) -> None:
    """The one who quits gets no answer."""
    with pytest.raises(control.Quit):
        told(table, "quit")


def test_card_that_leaves_by_itself(
    table: Table, sockets: list[socket.socket], left: SimpleQueue[Left]
) -> None:
    """A card that a fault removed is told, and can be put on again."""
    for _ in range(2):
        assert told(table, "insert 3 1") == ["ok"]
        connection, _address = sockets[0].accept()
        with connection:
            command = bytes.fromhex(JPKI)
            connection.sendall(POWER_ON + len(command).to_bytes(2) + command)
            assert left.get(timeout=WAIT) == Left(3, Departure.REMOVED)
        assert told(table, "remove 3") == ["error: card 3 is on no reader"]


def test_reader_that_is_gone(table: Table, sockets: list[socket.socket]) -> None:
    """A reader that does not listen is an error like any other."""
    sockets[0].close()
    (said,) = told(table, "insert 1")
    assert said.startswith("error: no virtual reader listens")


def test_table_is_cleared(card_data: CardData, sockets: list[socket.socket]) -> None:
    """At the end no card is left on a reader."""
    port = sockets[0].getsockname()[1]
    left: SimpleQueue[Left] = SimpleQueue()
    with Table(
        [(Path("card"), FaultyCard(SoftwareCard(card_data)))], [VirtualReader("Reader", port)], left.put
    ) as table:
        table.insert(1)
    assert left.get(timeout=WAIT) == Left(1, Departure.STOPPED)
