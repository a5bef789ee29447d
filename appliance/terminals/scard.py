"""
PC/SC as typed, blocking calls. The only module that touches pyscard.

Every result code of the PC/SC service becomes one of our errors here; what is not in the table is a card that could
not be read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from smartcard import scard

from appliance.errors import (
    CardAbsent,
    CardBusy,
    CardError,
    CardRemoved,
    CardTimeout,
    CardUnreadable,
    PcscUnavailable,
    ReaderAbsent,
)

_MEANINGS: Final[dict[int, type[CardError]]] = {
    scard.SCARD_E_NO_SERVICE: PcscUnavailable,
    scard.SCARD_E_SERVICE_STOPPED: PcscUnavailable,
    scard.SCARD_E_INVALID_HANDLE: PcscUnavailable,
    scard.SCARD_F_COMM_ERROR: PcscUnavailable,
    scard.SCARD_F_INTERNAL_ERROR: PcscUnavailable,
    scard.SCARD_W_SECURITY_VIOLATION: PcscUnavailable,
    scard.SCARD_E_NO_READERS_AVAILABLE: ReaderAbsent,
    scard.SCARD_E_UNKNOWN_READER: ReaderAbsent,
    scard.SCARD_E_READER_UNAVAILABLE: ReaderAbsent,
    scard.SCARD_E_NO_SMARTCARD: CardAbsent,
    scard.SCARD_E_SHARING_VIOLATION: CardBusy,
    scard.SCARD_W_REMOVED_CARD: CardRemoved,
    scard.SCARD_W_RESET_CARD: CardRemoved,
    # Seen when a card is pulled in the middle of a command.
    scard.SCARD_E_NOT_TRANSACTED: CardRemoved,
    scard.SCARD_E_TIMEOUT: CardTimeout,
}


_CHANGE_SECONDS: Final = 1.0
"""How long a changed card can go unnoticed by the service, which looks every 0.4 seconds."""
_AGAIN_MS: Final = 100


def _require(result: int, doing: str) -> None:
    if result != scard.SCARD_S_SUCCESS:
        error = _MEANINGS.get(result, CardUnreadable)
        raise error(f"{doing}: PC/SC says {result & 0xFFFFFFFF:08X}")


@dataclass(frozen=True, slots=True)
class ReaderState:
    """What the PC/SC service knows of a reader. *insertions* changes with every card put in or taken out."""

    card_present: bool
    insertions: int
    raw: int


class Connection:
    """A card that nobody else can speak to, powered for us."""

    def __init__(self, context: "Context", reader: str) -> None:
        self._context, self._reader = context, reader
        result, self._card, self._protocol = scard.SCardConnect(
            context.handle,
            reader,
            scard.SCARD_SHARE_EXCLUSIVE,
            scard.SCARD_PROTOCOL_T1 | scard.SCARD_PROTOCOL_T0,
        )
        _require(result, "connecting to the card")
        self._insertions = context.state(reader).insertions

    def transmit(self, command: bytes) -> bytes:
        """Send a command APDU and return the response's bytes."""
        result, response = scard.SCardTransmit(self._card, self._protocol, list(command))
        _require(result, "speaking with the card")
        if not response:
            # What pcsc-lite says until it has noticed that the card is gone.
            raise CardRemoved("the card fell silent in the middle of a command")
        return bytes(response)

    def require_same_card(self) -> None:
        """
        Raise CardRemoved if a card was taken out or put in since the connection was made.

        The service does not always tell the connection: a card pulled in the middle of a command and put
        back at once goes on being spoken to.
        """
        if self._context.state(self._reader).insertions != self._insertions:
            raise CardRemoved("the card was taken off the reader in between")

    def close(self) -> None:
        """Power the card down and let go of it. What cannot be closed is gone already."""
        scard.SCardDisconnect(self._card, scard.SCARD_UNPOWER_CARD)


class Context:
    """A connection to the PC/SC service. Used by one thread."""

    def __init__(self) -> None:
        result, self.handle = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
        _require(result, "reaching the PC/SC service")

    def reader(self, part: str) -> str:
        """Return the one reader whose name contains *part*, or raise ReaderAbsent."""
        result, names = scard.SCardListReaders(self.handle, [])
        _require(result, "listing readers")
        found = [name for name in names if part in name]
        if len(found) != 1:
            raise ReaderAbsent(f"{len(found)} of {len(names)} readers have '{part}' in their name, not one")
        return str(found[0])

    def state(self, reader: str, known: ReaderState | None = None, wait_ms: int = 0) -> ReaderState:
        """Return *reader*'s state; wait at most *wait_ms* for it to differ from *known*."""
        seen = scard.SCARD_STATE_UNAWARE if known is None else known.raw
        result, states = scard.SCardGetStatusChange(self.handle, wait_ms, [(reader, seen)])
        if result == scard.SCARD_E_TIMEOUT and known is not None:
            return known
        _require(result, "asking for the reader's state")
        state: int = states[0][1]
        # pcsc-lite counts insertions and removals in the upper half of the state.
        return ReaderState(bool(state & scard.SCARD_STATE_PRESENT), state >> 16, state)

    def connect(self, part: str, wait_ms: int) -> Connection:
        """
        Return a connection to the card on the reader named by *part*; wait for a card to be put on it.

        For a moment after a card was changed the service still speaks of the old one, and cannot power it. So
        connecting, and nothing else, is tried again for a second.
        """
        reader = self.reader(part)
        tried_until = None
        while True:
            state = self._with_card(reader, wait_ms)
            try:
                return Connection(self, reader)
            except (CardRemoved, CardUnreadable, CardAbsent):
                now = monotonic()
                tried_until = tried_until or now + _CHANGE_SECONDS
                if now >= tried_until:
                    raise
                self.state(reader, state, _AGAIN_MS)

    def _with_card(self, reader: str, wait_ms: int) -> ReaderState:
        """Return *reader*'s state with a card on it, or raise CardAbsent after *wait_ms*."""
        state = self.state(reader)
        if not state.card_present:
            state = self.state(reader, state, wait_ms)
        if not state.card_present:
            raise CardAbsent(f"no card was put on the reader within {wait_ms / 1000:g} s")
        return state

    def close(self) -> None:
        """Let go of the service."""
        scard.SCardReleaseContext(self.handle)


@contextmanager
def connected(part: str, wait_ms: int) -> Iterator[Connection]:
    """Give a connection to the card on the reader named by *part*; everything is let go of at the end."""
    context = Context()
    try:
        connection = context.connect(part, wait_ms)
        try:
            yield connection
        finally:
            connection.close()
    finally:
        context.close()
