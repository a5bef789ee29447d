"""
A software card on a virtual reader of pcscd: the card's side of the vpcd protocol, over TCP.

vpcd listens, and whoever connects is a card that was put on the reader; closing the connection takes it away.
A frame is a two-byte big-endian length and as many bytes: one byte alone is a control, anything else a
command APDU. What the card's faults want on the wire is carried out here.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Final, assert_never

from appliance.errors import ReaderAbsent
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import Atr, CardData
from appliance.simulator.faults import Answer, Delay, Fault, FaultyCard, Removal, Silence
from appliance.simulator.tries import TriesFile

_POWER_OFF, _POWER_ON, _RESET, _ATR = 0x00, 0x01, 0x02, 0x04
_LENGTH: Final = 2
_GLANCE: Final = 0.05
"""Seconds after which a card without anything to do looks whether it shall stop."""
_CONNECT: Final = 5.0
_SEND: Final = 5.0


class Departure(Enum):
    """Why a card is no longer on its reader."""

    STOPPED = "stopped"
    REMOVED = "removed"
    READER_CLOSED = "reader closed"
    UNWRITABLE = "the count of its tries cannot be written"
    FAILED = "failed"
    """By a bug of ours."""


class _ReaderClosed(Exception):
    """The far end has closed the connection."""


class _Stopped(Exception):
    """The card shall leave."""


def load_card(folder: Path, faults: Iterable[Fault] = (), atr: Atr | None = None) -> FaultyCard:
    """
    Return the card kept in *folder*, with *faults*; its counts of tries go back there.

    *atr* says on which side it is read, where that is not the one of the folder.
    """
    data = CardData.load(folder)
    if atr is not None:
        data = replace(data, atr=atr)
    return FaultyCard(SoftwareCard(data, keep_tries=TriesFile(folder).keep), faults)


class InsertedCard:
    """
    A *card* on the reader at *host* and *port*, answered for by a thread of its own until it leaves.

    It leaves when it is removed, when a fault removes it, or when the reader goes away; *tell* is then called in
    that thread. Raises ReaderAbsent where no reader listens.
    """

    def __init__(
        self, card: FaultyCard, host: str, port: int, tell: Callable[[Departure], None] | None = None
    ) -> None:
        self.departure: Departure | None = None
        """Why the card has left; None while it is there."""
        self._stop = threading.Event()
        self._tell = tell
        connection = _connect(host, port)
        self._thread = threading.Thread(target=self._serve, args=(card, connection), name="card", daemon=True)
        self._thread.start()

    @property
    def has_left(self) -> bool:
        """Whether the card is no longer on the reader."""
        return self.departure is not None

    def remove(self) -> Departure:
        """Take the card away if it is still there, and return why it left."""
        self._stop.set()
        self._thread.join()
        if self.departure is None:
            raise RuntimeError("the card's thread has failed")
        return self.departure

    def wait(self, timeout: float) -> None:
        """Wait until the card has left, or *timeout* seconds."""
        self._thread.join(timeout)

    def _serve(self, card: FaultyCard, connection: socket.socket) -> None:
        departure = Departure.FAILED
        try:
            departure = _answer(card, connection, self._stop)
        finally:
            self.departure = departure
            if self._tell is not None:
                self._tell(departure)


@contextlib.contextmanager
def inserted(card: FaultyCard, host: str, port: int) -> Iterator[None]:
    """Have *card* on the reader at *host* and *port* while the block runs."""
    lying = InsertedCard(card, host, port)
    try:
        yield
    finally:
        lying.remove()


def _connect(host: str, port: int) -> socket.socket:
    try:
        connection = socket.create_connection((host, port), timeout=_CONNECT)
    except OSError as error:
        raise ReaderAbsent(f"no virtual reader listens on {host}:{port}: {error}") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(_GLANCE)
    return connection


def _answer(card: FaultyCard, connection: socket.socket, stop: threading.Event) -> Departure:
    try:
        while _serve_frame(card, connection, stop):
            pass
    except _Stopped:
        return Departure.STOPPED
    except (_ReaderClosed, ConnectionError, TimeoutError):
        return Departure.READER_CLOSED
    except OSError:
        return Departure.UNWRITABLE
    else:
        return Departure.REMOVED
    finally:
        card.power_off()
        connection.close()


def _serve_frame(card: FaultyCard, connection: socket.socket, stop: threading.Event) -> bool:
    """Answer one frame, and return whether the card stays."""
    length = int.from_bytes(_receive(connection, _LENGTH, stop))
    frame = _receive(connection, length, stop)
    if length == 1:
        _control(card, connection, frame[0])
        return True
    match card.respond(frame):
        case Answer(octets):
            _send(connection, octets)
        case Delay(seconds, octets):
            if stop.wait(seconds):
                raise _Stopped
            _send(connection, octets)
        case Silence():
            pass
        case Removal():
            return False
        case outcome:
            assert_never(outcome)
    return True


def _control(card: FaultyCard, connection: socket.socket, code: int) -> None:
    match code:
        case _ if code == _POWER_OFF:
            card.power_off()
        case _ if code == _POWER_ON:
            card.power_on()
        case _ if code == _RESET:
            card.reset()
        case _ if code == _ATR:
            _send(connection, card.atr)
        case _:
            pass  # vpcd knows no other; nothing waits for an answer


def _receive(connection: socket.socket, length: int, stop: threading.Event) -> bytes:
    received = b""
    while len(received) < length:
        if stop.is_set():
            raise _Stopped
        try:
            part = connection.recv(length - len(received))
        except TimeoutError:
            continue
        # the kernel forgets this option; without it every second frame waits 40 ms for its acknowledgement
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if not part:
            raise _ReaderClosed
        received += part
    return received


def _send(connection: socket.socket, octets: bytes) -> None:
    connection.settimeout(_SEND)
    connection.sendall(len(octets).to_bytes(_LENGTH) + octets)
    connection.settimeout(_GLANCE)
