"""A program's view of a reader in the private pcscd, and cards that are there when a test begins and gone when it ends."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from smartcard import scard

from appliance.simulator.faults import FaultyCard
from appliance.simulator.pcscd import VirtualReader
from appliance.simulator.reader import inserted

WAIT_MS = 30_000


@dataclass(frozen=True, slots=True)
class Client:
    """A client of the reader *name*."""

    context: int
    name: str

    @classmethod
    @contextlib.contextmanager
    def of(cls, reader: VirtualReader) -> Iterator[Self]:
        """Have a client of *reader* for the length of a block."""
        result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
        assert result == scard.SCARD_S_SUCCESS, scard.SCardGetErrorMessage(result)
        try:
            yield cls(context, reader.name)
        finally:
            scard.SCardReleaseContext(context)

    @property
    def reader_names(self) -> list[str]:
        """The readers that PC/SC lists, in its order."""
        result, names = scard.SCardListReaders(self.context, [])
        assert result == scard.SCARD_S_SUCCESS, scard.SCardGetErrorMessage(result)
        return list(names)

    def await_card(self, since: int | None = None) -> bytes:
        """
        Wait until a card is seen, and return its ATR.

        *since* is the count when the reader was empty. pcscd calls a card present a moment before it counts it, and
        whoever connects in that moment is told later that a card came.
        """
        _count, atr = self._await(scard.SCARD_STATE_PRESENT, lambda count: count != since)
        return atr

    def await_removal(self) -> int:
        """
        Wait until no card is seen, and return the count.

        A client that powers down a card which is gone makes pcscd call the reader empty at once; that it has really
        looked shows in its count of cards coming and going. A card put on before that would not be seen at all.
        """
        count, _atr = self._await(scard.SCARD_STATE_EMPTY, lambda count: count % 2 == 0)
        return count

    def _await(self, wanted: int, has_looked: Callable[[int], bool]) -> tuple[int, bytes]:
        known = scard.SCARD_STATE_UNAWARE
        while True:
            result, states = scard.SCardGetStatusChange(self.context, WAIT_MS, [(self.name, known)])
            assert result == scard.SCARD_S_SUCCESS, scard.SCardGetErrorMessage(result)
            _name, known, atr = states[0]
            if known & wanted and not known & scard.SCARD_STATE_MUTE and has_looked(known >> 16):
                return known >> 16, bytes(atr)

    def connect(self) -> Callable[[str], str]:
        """Connect to the card, and return what transmits a command to it: hexadecimal, or what went wrong."""
        result, handle, protocol = scard.SCardConnect(
            self.context, self.name, scard.SCARD_SHARE_SHARED, scard.SCARD_PROTOCOL_T1
        )
        assert result == scard.SCARD_S_SUCCESS, scard.SCardGetErrorMessage(result)

        def transmit(command: str) -> str:
            result, answer = scard.SCardTransmit(handle, protocol, list(bytes.fromhex(command)))
            return (
                bytes(answer).hex() if result == scard.SCARD_S_SUCCESS else scard.SCardGetErrorMessage(result)
            )

        return transmit


@contextlib.contextmanager
def lying_on(reader: VirtualReader, card: FaultyCard) -> Iterator[Client]:
    """
    Have *card* on *reader*, seen by pcscd, for the length of a block.

    pcscd looks every 400 ms. Without waiting for the removal, the next test would find the card of this one.
    """
    with Client.of(reader) as client:
        with inserted(card, reader.host, reader.port):
            client.await_card()
            yield client
        client.await_removal()
