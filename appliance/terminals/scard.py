"""
PC/SC as typed, blocking calls. The only module that touches pyscard.

Every result code of the PC/SC service becomes one of our errors here; what is not in the table is a card that could
not be read. Calls have no time limit of their own, but those that wait.

What pcsc-lite does not tell, seen with 1.9.9: it looks at each reader every 0.4 seconds, and counts what it has seen
come and go. A card that is powered down when it is gone already makes it call the reader empty at once, while its look
is still at a card. Put one on before the next look, and it is not noticed for as long as it lies there. So a
connection whose card does not answer is kept until the service has looked (`Connection.close`), and a reader that is
called empty without a look is powered once (`Context.wake`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final, Self

from smartcard import scard

from appliance.errors import (
    CardAbsent,
    CardBusy,
    CardError,
    CardRemoved,
    CardTimeout,
    CardUnreadable,
    PcscRefused,
    PcscUnavailable,
    ReaderAbsent,
)

_MEANINGS: Final[dict[int, type[CardError]]] = {
    scard.SCARD_E_NO_SERVICE: PcscUnavailable,
    scard.SCARD_E_SERVICE_STOPPED: PcscUnavailable,
    scard.SCARD_E_INVALID_HANDLE: PcscUnavailable,
    scard.SCARD_F_COMM_ERROR: PcscUnavailable,
    scard.SCARD_F_INTERNAL_ERROR: PcscUnavailable,
    scard.SCARD_E_CANCELLED: PcscUnavailable,
    scard.SCARD_W_SECURITY_VIOLATION: PcscRefused,
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

LOOK_SECONDS: Final = 1.0
"""Within this the service has looked at every reader, at what it says is every 0.4 seconds."""
_NEW_READERS: Final = "\\\\?PnP?\\Notification"
"""The reader that changes when readers come or go."""


def _require(result: int, doing: str) -> None:
    if result != scard.SCARD_S_SUCCESS:
        error = _MEANINGS.get(result, CardUnreadable)
        raise error(f"{doing}: PC/SC says {result & 0xFFFFFFFF:08X}")


@dataclass(frozen=True, slots=True)
class ReaderState:
    """What the PC/SC service knows of a reader. *insertions* changes with every card put in or taken out."""

    card_present: bool
    insertions: int
    raw: int = 0

    @classmethod
    def from_raw(cls, raw: int) -> Self:
        """Return the state that PC/SC writes as *raw*: flags, and in the upper half the count."""
        return cls(bool(raw & scard.SCARD_STATE_PRESENT), raw >> 16, raw)

    @property
    def mute(self) -> bool:
        """Whether a card is there that does not answer to power."""
        return bool(self.raw & scard.SCARD_STATE_MUTE)


class Connection:
    """A card that nobody else can speak to, powered for us."""

    def __init__(self, context: "Context", reader: str) -> None:
        self._context, self._reader = context, reader
        self._lost = False
        self._before = context.state(reader)
        result, self._card, self._protocol = scard.SCardConnect(
            context.handle,
            reader,
            scard.SCARD_SHARE_EXCLUSIVE,
            scard.SCARD_PROTOCOL_T1 | scard.SCARD_PROTOCOL_T0,
        )
        _require(result, "connecting to the card")
        if context.state(reader).insertions != self._before.insertions:
            # Whether this is the card from before or after cannot be told. Whoever connects again gets one that lies still.
            scard.SCardDisconnect(self._card, scard.SCARD_UNPOWER_CARD)
            raise CardRemoved("a card came or went while it was connected to")

    def transmit(self, command: bytes) -> bytes:
        """Send a command APDU and return the response's bytes."""
        result, response = scard.SCardTransmit(self._card, self._protocol, list(command))
        self._lost = result != scard.SCARD_S_SUCCESS or not response
        _require(result, "speaking with the card")
        if not response:
            # What pcsc-lite says until it has noticed that the card is gone.
            raise CardRemoved("the card fell silent in the middle of a command")
        return bytes(response)

    def control(self, code: int, data: bytes = b"") -> bytes | None:
        """Return the reader's answer to a control command; None where it does not know it."""
        result, answer = scard.SCardControl(self._card, code, list(data))
        return bytes(answer) if result == scard.SCARD_S_SUCCESS else None

    @property
    def atr(self) -> bytes:
        """The card's answer to reset."""
        result, _reader, _state, _protocol, atr = scard.SCardStatus(self._card)
        _require(result, "asking for the card's ATR")
        return bytes(atr)

    def require_same_card(self) -> None:
        """
        Raise CardRemoved if a card was taken out or put in since the connection was made.

        The service does not always tell the connection: a card pulled in the middle of a command and put
        back at once goes on being spoken to.
        """
        if self._context.state(self._reader).insertions != self._before.insertions:
            self._lost = True
            raise CardRemoved("the card was taken off the reader in between")

    def close(self) -> None:
        """Power the card down and let go of it; one that fell silent is held until the service has looked."""
        if self._lost:
            self._await_look()
        scard.SCardDisconnect(self._card, scard.SCARD_UNPOWER_CARD)

    def _await_look(self) -> None:
        known, deadline = self._before, monotonic() + LOOK_SECONDS
        try:
            while known.insertions == self._before.insertions and (left := deadline - monotonic()) > 0:
                known = self._context.state(self._reader, known, int(left * 1000) + 1)
        except CardError:
            return  # without service or reader there is no look to wait for


class Context:
    """A connection to the PC/SC service. Used by one thread; only `cancel` may come from another."""

    def __init__(self) -> None:
        result, self.handle = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
        _require(result, "reaching the PC/SC service")

    def readers(self) -> tuple[str, ...]:
        """Return the names of the connected readers."""
        result, names = scard.SCardListReaders(self.handle, [])
        if result == scard.SCARD_E_NO_READERS_AVAILABLE:
            return ()
        _require(result, "listing readers")
        return tuple(str(name) for name in names)

    def state(self, reader: str, known: ReaderState | None = None, wait_ms: int = 0) -> ReaderState:
        """Return *reader*'s state; wait at most *wait_ms* for it to differ from *known*."""
        return self._ask([(reader, scard.SCARD_STATE_UNAWARE if known is None else known.raw)], wait_ms)[
            reader
        ]

    def wait(self, known: Mapping[str, ReaderState], wait_ms: int) -> None:
        """Wait at most *wait_ms* for a reader to come, to go, or to differ from *known*."""
        asked = [(reader, state.raw) for reader, state in known.items()]
        self._ask([(_NEW_READERS, scard.SCARD_STATE_UNAWARE), *asked], wait_ms)

    def _ask(self, asked: list[tuple[str, int]], wait_ms: int) -> dict[str, ReaderState]:
        result, states = scard.SCardGetStatusChange(self.handle, wait_ms, asked)
        if result == scard.SCARD_E_TIMEOUT:
            return {reader: ReaderState.from_raw(raw) for reader, raw in asked}
        _require(result, "asking for the readers' state")
        return {str(reader): ReaderState.from_raw(raw) for reader, raw, _atr in states}

    def cancel(self) -> None:
        """End the waiting that is under way in the context's own thread."""
        scard.SCardCancel(self.handle)

    def wake(self, reader: str) -> None:
        """Have *reader* power what lies on it, where the service calls it empty without having looked."""
        result, card, _protocol = scard.SCardConnect(self.handle, reader, scard.SCARD_SHARE_DIRECT, 0)
        if result == scard.SCARD_S_SUCCESS:
            protocols = scard.SCARD_PROTOCOL_T1 | scard.SCARD_PROTOCOL_T0
            scard.SCardReconnect(card, scard.SCARD_SHARE_EXCLUSIVE, protocols, scard.SCARD_UNPOWER_CARD)
            scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)

    def close(self) -> None:
        """Let go of the service."""
        scard.SCardReleaseContext(self.handle)


@contextmanager
def context() -> Iterator[Context]:
    """Give a connection to the service for the length of a block."""
    opened = Context()
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def connected(reader: str) -> Iterator[Connection]:
    """Give a connection to the card on the *reader* of exactly that name; everything is let go of at the end."""
    with context() as service:
        connection = Connection(service, reader)
        try:
            yield connection
        finally:
            connection.close()


def control_code(number: int) -> int:
    """Return the platform's code for the control command *number*."""
    return int(scard.SCARD_CTL_CODE(number))
