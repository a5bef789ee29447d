"""The words of the protocol: states, modes, outcomes, reasons."""

from enum import IntEnum, StrEnum

from appliance.errors import (
    CardAbsent,
    CardAnswerMalformed,
    CardBusy,
    CardRemoved,
    CardTimeout,
    CardUnreadable,
    PcscRefused,
    PcscUnavailable,
    PinCancelled,
    ReaderAbsent,
    ReaderAmbiguous,
    ReaderBusy,
    ReaderStuck,
    ReaderWithoutExtended,
    TerminalCommandRefused,
    TerminalSignatureRefused,
)


class PinEntry(StrEnum):
    """Where a holder can enter a PIN."""

    NONE = "none"
    SCREEN = "screen"
    """At the terminal's own keys."""
    PAD = "pad"
    """At the reader's keys: the PIN never enters the terminal."""


class CardState(StrEnum):
    """What is known of a reader and its card."""

    ABSENT = "absent"
    """There is no such reader now."""
    EMPTY = "empty"
    PRESENT = "present"


class Mode(StrEnum):
    """What a session is for."""

    PINLESS = "pinless"
    PIN = "pin"
    FRONT = "front"
    """The card's front by 照合番号B. Only here and in the next may VERIFY come with data, as the allow-list says."""
    VISUAL = "visual"
    """The front, and then without a PIN, on the same power-up of the card."""


class Outcome(StrEnum):
    """How a session ended that came to its end."""

    DONE = "done"
    REFUSED = "refused"


class CloseCode(IntEnum):
    """Why a connection was closed: WebSocket close codes, RFC 6455 §7.4, ours from 4000 on."""

    DONE = 1000
    GOING_AWAY = 1001
    """The appliance stops, or the terminal does."""
    TOO_LARGE = 1009
    """A frame of more than 64 KiB."""
    HELLO_LATE = 4000
    """No `hello` came in time."""
    MESSAGE_INVALID = 4001
    """A frame that is no message of ours."""
    VIOLATED = 4002
    """A message that may not come here: out of order, repeated, of another session."""
    FLOODING = 4003
    """More frames than anybody needs, or more waiting to be read than is kept."""
    REPLACED = 4004
    """The same terminal has connected again; this is the older connection."""
    SIGNING_OFF = 4005
    """The terminal insists on signed scenarios, and there are none."""
    RENEWED = 4006
    """The configuration was changed: connect again at once."""


class TerminalCode(StrEnum):
    """All that a terminal may report. Each is the code of one of our errors."""

    PCSC_UNAVAILABLE = PcscUnavailable.code
    PCSC_REFUSED = PcscRefused.code
    READER_ABSENT = ReaderAbsent.code
    READER_AMBIGUOUS = ReaderAmbiguous.code
    READER_BUSY = ReaderBusy.code
    READER_STUCK = ReaderStuck.code
    READER_WITHOUT_EXTENDED = ReaderWithoutExtended.code
    CARD_ABSENT = CardAbsent.code
    CARD_BUSY = CardBusy.code
    CARD_REMOVED = CardRemoved.code
    CARD_TIMEOUT = CardTimeout.code
    CARD_UNREADABLE = CardUnreadable.code
    CARD_ANSWER_MALFORMED = CardAnswerMalformed.code
    PIN_CANCELLED = PinCancelled.code
    COMMAND_REFUSED = TerminalCommandRefused.code
    """A command is not on the terminal's allow-list."""
    SIGNATURE_REFUSED = TerminalSignatureRefused.code
    """A scenario is not signed as the terminal insists, or not for it."""
