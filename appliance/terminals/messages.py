"""
What terminal and appliance say to one another: the subprotocol `jpki-terminal.v1`, as values.

    terminal                                     appliance
    Hello, Card           ──▶
                          ◀──                    Welcome
                          ◀──                    Start          a person may be asked to place the card
    Card                  ──▶                                   one lies there now
                          ◀──                    Scenario       commands, and the status words they may answer
    Responses             ──▶
                          ◀──                    Scenario
    Responses             ──▶
                          ◀──                    Result
    Problem, Abort        ──▶  ◀──               Problem, Abort end a session at any time

Pure: no I/O, clock or randomness. Everything a frame holds is bounded and of one spelling; what is in a frame that nobody
asked for is refused. When which message may come stands in `sessions`; `docs/terminal-protocol.md` is for those who write
a terminal of their own. APDUs may hold what is personal, so no message shows them in its repr.
"""

from enum import IntEnum, StrEnum
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec

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
    TerminalMessageInvalid,
    TerminalSignatureRefused,
)

SUBPROTOCOL: Final = "jpki-terminal.v1"

LARGEST_FRAME: Final = 64 * 1024
"""Bytes of one frame."""
LARGEST_ANSWER: Final = 60_000
"""Characters of hexadecimal that the responses to one scenario may have together; the rest of a frame is around them."""
MOST_STEPS: Final = 128
MOST_READERS: Final = 8

Alias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")]
"""What a terminal or one of its readers is called."""
SessionId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
"""128 random bits of the appliance's."""
Nonce = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
Hex = Annotated[str, msgspec.Meta(min_length=2, max_length=LARGEST_ANSWER)]
"""
Bytes. Upper case only: one text for one value.

What has such a member checks it (`require_hex`): a pattern would take ten times as long, for the longest of all texts.
"""
StatusText = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-F]{4}\Z")]
Text = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{0,200}\Z")]
"""For people: printable ASCII."""
Label = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,64}\Z")]
StepName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}\Z")]
Code = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
"""One of our error codes (`docs/errors`)."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Sequence = Annotated[int, msgspec.Meta(ge=0, le=999)]
Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=4_000_000)]
_Coordinate = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """What all frames have in common: `type` says which one it is."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stands inside a frame."""


def require_hex(text: str) -> None:
    """Raise ValueError where *text* is not the one hexadecimal form of some bytes. It is not repeated: it is personal."""
    try:
        octets = bytes.fromhex(text)
    except ValueError as error:
        raise ValueError("a text is not hexadecimal") from error
    if octets.hex().upper() != text:
        raise ValueError("a text is not hexadecimal in upper case")


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


class Reader(_Part, frozen=True):
    """A reader of the terminal's, called *alias*, and what it can do."""

    alias: Alias
    extended: bool | None = None
    """Whether it transmits extended APDUs; null where it does not say."""
    pin_entry: PinEntry = PinEntry.NONE


class Hello(_Message, frozen=True, tag="hello"):
    """Who the terminal is; the first frame of a connection."""

    software: Label
    version: Label
    nonce: Nonce
    """128 random bits, new for each connection; signed scenarios repeat them."""
    readers: Annotated[tuple[Reader, ...], msgspec.Meta(max_length=MOST_READERS)]
    require_signed: bool = False
    """Whether it takes signed scenarios only."""

    def __post_init__(self) -> None:
        if len({reader.alias for reader in self.readers}) < len(self.readers):
            raise ValueError("two readers have one alias")


class Card(_Message, frozen=True, tag="card"):
    """What is on a *reader* now. Told for each after `Welcome`, and at every change."""

    reader: Alias
    state: CardState
    insertion: Count
    """Goes up with each card that is put on; never down as long as the connection lasts."""


class Responses(_Message, frozen=True, tag="responses"):
    """What the card answered to the scenario *seq*: a response APDU for each step that was done."""

    session: SessionId
    seq: Sequence
    responses: Annotated[tuple[Hex, ...], msgspec.Meta(min_length=1, max_length=MOST_STEPS)]

    def __post_init__(self) -> None:
        for text in self.responses:
            require_hex(text)

    def __repr__(self) -> str:
        """Show how many there are; what a card answers is personal."""
        return f"Responses(session={self.session!r}, seq={self.seq}, {len(self.responses)} responses)"


class TerminalProblem(_Message, frozen=True, tag="problem"):
    """The session is over on the terminal's side, for the reason *code*."""

    session: SessionId
    code: TerminalCode
    detail: Text = ""


class Abort(_Message, frozen=True, tag="abort"):
    """The session is over: a person cancelled it. Both sides may say so."""

    session: SessionId


class Jwk(_Part, frozen=True):
    """The public key that signs scenarios (RFC 7517)."""

    x: _Coordinate
    y: _Coordinate
    kid: _Coordinate
    """RFC 7638 thumbprint."""
    kty: Literal["EC"] = "EC"
    crv: Literal["P-256"] = "P-256"
    use: Literal["sig"] = "sig"
    alg: Literal["ES256"] = "ES256"


class Welcome(_Message, frozen=True, tag="welcome"):
    """The terminal is connected as *terminal*."""

    terminal: Alias
    heartbeat_ms: Milliseconds
    """The appliance sends a WebSocket ping this often. Two without a ping: the connection is dead."""
    issuer: Label
    """`iss` of signed scenarios."""
    scenario_key: Jwk | None = None
    """What verifies signed scenarios; null where there are none."""


class Start(_Message, frozen=True, tag="start"):
    """A session begins at *reader*: its card, or the next one that is put on it within *wait_ms*, is spoken to."""

    session: SessionId
    reader: Alias
    mode: Mode
    wait_ms: Milliseconds


class HolderVerification(_Part, frozen=True):
    """Have the holder enter a PIN of *digits* digits and send VERIFY with it, once."""

    header: Annotated[str, msgspec.Meta(pattern=r"^0020[0-9A-F]{4}\Z")]
    """CLA, INS, P1 and P2. It is always VERIFY: under another instruction a PIN could be written to a file."""
    digits: Annotated[int, msgspec.Meta(ge=4, le=16)]


class ScenarioStep(_Part, frozen=True, omit_defaults=True):
    """One step: a *command*, or *verify_holder*. The next one is done only where it answers one of *expect*."""

    name: StepName
    expect: Annotated[tuple[StatusText, ...], msgspec.Meta(min_length=1, max_length=32)]
    command: Hex | None = None
    verify_holder: HolderVerification | None = None

    def __post_init__(self) -> None:
        if (self.command is None) is (self.verify_holder is None):
            raise ValueError("a step is either a command or verify_holder")
        if self.command is not None:
            require_hex(self.command)
        if list(self.expect) != sorted(set(self.expect)):
            raise ValueError("expected status words stand once each, in ascending order")

    def __repr__(self) -> str:
        """Show the name; a command may hold what is personal."""
        return f"ScenarioStep({self.name!r})"


Steps = Annotated[tuple[ScenarioStep, ...], msgspec.Meta(min_length=1, max_length=MOST_STEPS)]


class Scenario(_Message, frozen=True, tag="scenario"):
    """Commands for the session's card: done one after another until one answers what it should not."""

    session: SessionId
    seq: Sequence
    """0, 1, 2, … in each session."""
    deadline_ms: Milliseconds
    """What the terminal has for it from its arrival. Nothing is sent to the card afterwards."""
    steps: Steps


class SignedScenario(_Message, frozen=True, tag="signed_scenario"):
    """A scenario as a compact JWS (RFC 7515) whose payload is `ScenarioClaims`."""

    jws: Annotated[
        str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z", max_length=20_000)
    ]


class ScenarioClaims(_Part, frozen=True):
    """What a signed scenario says: the scenario, for whom, and until when."""

    iss: Label
    iat: Count
    exp: Count
    terminal: Alias
    nonce: Nonce
    """That of the terminal's `Hello`."""
    reader: Alias
    mode: Mode
    session: SessionId
    seq: Sequence
    deadline_ms: Milliseconds
    steps: Steps

    @property
    def scenario(self) -> Scenario:
        """The scenario that was signed."""
        return Scenario(session=self.session, seq=self.seq, deadline_ms=self.deadline_ms, steps=self.steps)


class Result(_Message, frozen=True, tag="result"):
    """The session came to its end; the card may be taken away."""

    session: SessionId
    outcome: Outcome
    code: Code | None = None
    """Why it was refused."""


class ApplianceProblem(_Message, frozen=True, tag="problem"):
    """The *session* is over for the reason *code*; without a session, the connection is about to be closed."""

    code: Code
    session: SessionId | None = None
    detail: Text = ""


class Drain(_Message, frozen=True, tag="drain"):
    """The appliance is about to stop: no new session; connect again in *retry_ms*, to another node where there is one."""

    retry_ms: Milliseconds


FromTerminal: TypeAlias = Hello | Card | Responses | TerminalProblem | Abort
FromAppliance: TypeAlias = (
    Welcome | Start | Scenario | SignedScenario | Result | ApplianceProblem | Abort | Drain
)

T = TypeVar("T")

_ENCODER: Final = msgspec.json.Encoder()
_FROM_TERMINAL: Final[msgspec.json.Decoder[FromTerminal]] = msgspec.json.Decoder(FromTerminal)
_FROM_APPLIANCE: Final[msgspec.json.Decoder[FromAppliance]] = msgspec.json.Decoder(FromAppliance)
_CLAIMS: Final = msgspec.json.Decoder(ScenarioClaims)


def encode(message: FromTerminal | FromAppliance) -> str:
    """Return *message* as the text of a frame. One that is too long is the caller's bug."""
    text = _ENCODER.encode(message)
    if len(text) > LARGEST_FRAME:
        raise ValueError(f"a message of {len(text)} bytes does not fit into a frame")
    return text.decode()


def decode_from_terminal(frame: str | bytes) -> FromTerminal:
    """Return what a terminal says with *frame*, or raise TerminalMessageInvalid."""
    return _decode(_FROM_TERMINAL, frame)


def decode_from_appliance(frame: str | bytes) -> FromAppliance:
    """Return what the appliance says with *frame*, or raise TerminalMessageInvalid."""
    return _decode(_FROM_APPLIANCE, frame)


def decode_claims(payload: str | bytes) -> ScenarioClaims:
    """Return the claims that the *payload* of a signed scenario holds, or raise TerminalMessageInvalid."""
    return _decode(_CLAIMS, payload)


def _decode(decoder: msgspec.json.Decoder[T], frame: str | bytes) -> T:
    try:
        content = frame.encode() if isinstance(frame, str) else frame
        if len(content) > LARGEST_FRAME:
            raise TerminalMessageInvalid(f"a frame of {len(content)} bytes")
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # The decoder's own text may quote what it read; the kind of error is enough.
        raise TerminalMessageInvalid(f"a frame is none of ours ({type(error).__name__})") from error
