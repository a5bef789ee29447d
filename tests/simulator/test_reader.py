"""A software card on a virtual reader: first with a socket as the reader, then with a real pcscd."""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.errors import ConfigInvalid, ReaderAbsent
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.credentials import CredentialName
from appliance.simulator.faults import Fault, FaultyCard, Mute, Removed, Slow
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.reader import Departure, InsertedCard, load_card
from tests.pcsc import Client, lying_on
from tests.simulator.conversation import (
    ANCHOR,
    CHALLENGE,
    JPKI,
    PIN,
    QUERY,
    VERIFY_WRONG,
    Institution,
    load,
    sign,
)

WAIT = 10.0


@dataclass
class Reader:
    """The reader's end of the wire, and the card on it."""

    connection: socket.socket
    card: InsertedCard

    def send(self, frame: str) -> None:
        """Send one frame, in two parts as vpcd does."""
        octets = bytes.fromhex(frame)
        self.connection.sendall(len(octets).to_bytes(2))
        self.connection.sendall(octets)

    def receive(self) -> str:
        """Return the next frame."""
        length = int.from_bytes(self.connection.recv(2, socket.MSG_WAITALL))
        return self.connection.recv(length, socket.MSG_WAITALL).hex()

    def departure(self) -> Departure | None:
        """Wait until the card has left by itself, and return why."""
        self.card.wait(WAIT)
        return self.card.departure


Insert = Callable[..., Reader]


@pytest.fixture
def insert(card: SoftwareCard) -> Iterator[Insert]:
    """Put the card with the given faults on a reader that is a socket."""
    readers: list[Reader] = []

    def put(*faults: Fault) -> Reader:
        with socket.create_server(("127.0.0.1", 0)) as server:
            host, port = server.getsockname()
            inserted = InsertedCard(FaultyCard(card, faults), host, port)
            connection, _address = server.accept()
        connection.settimeout(WAIT)
        readers.append(Reader(connection, inserted))
        return readers[-1]

    yield put
    for reader in readers:
        reader.card.remove()
        reader.connection.close()


def test_atr(insert: Insert) -> None:
    """The reader gets the ATR when it asks for it."""
    reader = insert()
    reader.send("04")
    assert reader.receive() == "3be000ff8131fe4514"


@pytest.mark.parametrize("control", ["00", "01", "02"])
def test_power(insert: Insert, control: str) -> None:
    """Power and reset are not answered, and afterwards no application is selected."""
    reader = insert()
    reader.send(JPKI)
    assert reader.receive() == "9000"
    reader.send(control)
    reader.send(PIN)
    assert reader.receive() == "6a82"


def test_unknown_control(insert: Insert) -> None:
    """A control that vpcd does not have is not answered and changes nothing."""
    reader = insert()
    reader.send(JPKI)
    assert reader.receive() == "9000"
    reader.send("07")
    reader.send(PIN)
    assert reader.receive() == "9000"


def test_stop(insert: Insert) -> None:
    """A card that is taken away leaves."""
    reader = insert()
    assert not reader.card.has_left
    assert reader.card.remove() is Departure.STOPPED
    assert reader.card.has_left
    assert reader.connection.recv(1) == b""


def test_reader_goes_away(insert: Insert) -> None:
    """A card whose reader goes away ends, also in the middle of a frame."""
    reader = insert()
    reader.connection.sendall(b"\x00")
    reader.connection.close()
    assert reader.departure() is Departure.READER_CLOSED


def test_removed(insert: Insert) -> None:
    """A card that is removed closes the connection without an answer."""
    reader = insert(Removed(2))
    reader.send(JPKI)
    assert reader.receive() == "9000"
    reader.send(PIN)
    assert reader.connection.recv(1) == b""
    assert reader.departure() is Departure.REMOVED


def test_mute(insert: Insert) -> None:
    """A mute card says nothing, keeps the connection, and still stops when told."""
    reader = insert(Mute(1))
    reader.send(JPKI)
    reader.send("04")
    assert reader.receive() == "3be000ff8131fe4514"
    assert reader.card.remove() is Departure.STOPPED


def test_slow(insert: Insert) -> None:
    """A slow card answers after its delay."""
    reader = insert(Slow(1, 0.2))
    start = time.monotonic()
    reader.send(JPKI)
    assert reader.receive() == "9000"
    assert time.monotonic() - start >= 0.2


def test_slow_card_stops_at_once(insert: Insert) -> None:
    """A card that is to stop does not first wait for its delay to end."""
    reader = insert(Slow(1, 3600))
    reader.send(JPKI)
    assert reader.card.remove() is Departure.STOPPED


def test_card_whose_tries_cannot_be_written(card_data: CardData, tmp_path: Path) -> None:
    """A card whose folder takes nothing any more leaves, says why, and can still be taken away."""
    card_data.save(tmp_path / "card")
    told: list[Departure] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        inserted = InsertedCard(load_card(tmp_path / "card"), host, port, told.append)
        connection, _address = server.accept()
    with connection:
        connection.settimeout(WAIT)
        reader = Reader(connection, inserted)
        for command in (JPKI, PIN):
            reader.send(command)
            assert reader.receive() == "9000"
        (tmp_path / "card").rename(tmp_path / "elsewhere")
        reader.send(VERIFY_WRONG)
        assert connection.recv(1) == b""
        assert reader.departure() is Departure.UNWRITABLE
    assert inserted.remove() is Departure.UNWRITABLE
    assert told == [Departure.UNWRITABLE]


def test_no_reader(card_data: CardData, tmp_path: Path) -> None:
    """Where no reader listens, and where no card is, the error says which."""
    with pytest.raises(ConfigInvalid):
        load_card(tmp_path)
    card_data.save(tmp_path)
    with socket.socket() as held:
        # Nobody else comes to listen there meanwhile.
        held.bind(("127.0.0.1", 0))
        with pytest.raises(ReaderAbsent):
            InsertedCard(load_card(tmp_path), "127.0.0.1", held.getsockname()[1])


def test_reader_names(private_pcscd: PrivatePcscd) -> None:
    """PC/SC lists the readers under the names that are told."""
    with Client.of(private_pcscd.readers[0]) as client:
        assert {reader.name for reader in private_pcscd.readers} < set(client.reader_names)


def test_card_in_pcscd(private_pcscd: PrivatePcscd, card_data: CardData, tmp_path: Path) -> None:
    """A card is seen when it is put on, answers through PC/SC, keeps its tries in its folder, and is seen to leave."""
    card_data.save(tmp_path)
    with lying_on(private_pcscd.readers[0], load_card(tmp_path)) as client:
        assert client.await_card() == card_data.atr.value
        transmit = client.connect()
        answers = [transmit(command) for command in (JPKI, PIN, VERIFY_WRONG, QUERY)]
        assert answers == ["9000", "9000", "63c2", "63c2"]
        assert transmit("00B08A00000000").startswith(card_data.certificate.hex())
    assert CardData.load(tmp_path).tries(CredentialName.PIN) == 2


def test_institution_in_pcscd(
    private_pcscd: PrivatePcscd, card: SoftwareCard, institution: Institution
) -> None:
    """Extended commands pass through PC/SC: an institution can authenticate there as it does locally."""
    with lying_on(private_pcscd.readers[0], FaultyCard(card)) as client:
        transmit = client.connect()
        assert [transmit(command) for command in (JPKI, ANCHOR)] == ["9000", "9000"]
        for certificate in (institution.intermediate, institution.leaf):
            assert [transmit(command.to_bytes().hex()) for command in load(certificate)] == ["9000", "9000"]
        challenge = bytes.fromhex(transmit(CHALLENGE))[:-2]
        assert transmit(institution.answer(challenge).to_bytes().hex()) == "9000"
        assert len(transmit(sign(0x03, bytes(32)).to_bytes().hex())) == 2 * 258


def test_removal_in_pcscd(private_pcscd: PrivatePcscd, card: SoftwareCard) -> None:
    """A card that leaves in the middle of a command makes that command fail, and its reader is empty."""
    with lying_on(private_pcscd.readers[0], FaultyCard(card, [Removed(2)])) as client:
        transmit = client.connect()
        assert transmit(JPKI) == "9000"
        assert not transmit(PIN).endswith("9000")
        client.await_removal()


def test_two_cards(private_pcscd: PrivatePcscd, card_data: CardData) -> None:
    """Each card is on its own reader, and cards know nothing of each other."""
    first, second = private_pcscd.readers[:2]
    with (
        lying_on(first, FaultyCard(SoftwareCard(card_data))) as one,
        lying_on(second, FaultyCard(SoftwareCard(card_data))) as two,
        Client.of(private_pcscd.readers[2]) as three,
    ):
        to_one, to_two = one.connect(), two.connect()
        assert [to_one(command) for command in (JPKI, PIN, VERIFY_WRONG)] == ["9000", "9000", "63c2"]
        assert [to_two(command) for command in (JPKI, PIN, QUERY)] == ["9000", "9000", "63c3"]
        three.await_removal()
