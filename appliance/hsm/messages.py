"""
What daemon and worker say to one another: a closed set of messages, each in a frame of bounded length.

A worker is started, told its `TokenSetup`, and then answers one request at a time:

    daemon                          worker
    TokenSetup            ──▶
                          ◀──       Loaded      module loaded, token found, PIN counters in order
    LogIn                 ──▶
                          ◀──       LoggedIn    the login is over
                          ◀──       Ready       keys found, checked, and each has signed
    SignChallenge, …      ──▶
                          ◀──       Signature, … or Refusal

The login waits for the daemon's word, because a worker must not be killed inside it: SoftHSM truncates its token
file at every login before writing it again. A progress report alone could still be under way while the daemon
decides to kill. So between `LogIn` and the next message, and only there, a worker is never killed.

A frame is four bytes of length, big-endian, and one MessagePack document. Requests carry a number that the
answer repeats; whoever reads another number than the expected one ends the conversation.
"""

from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec

from appliance.errors import HsmUnavailable

HEADER_BYTES = 4
LARGEST_FRAME = 1 << 16
"""The most bytes after a header. A signing input is at most 16 KiB, everything else is smaller."""


class Role(StrEnum):
    """What a key is for. There is one key for each role."""

    INSTITUTION = "institution"
    TOKEN = "token"  # noqa: S105 - the name of a key


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """What all messages have in common: the name of the kind travels along."""


class TokenSetup(_Message, frozen=True, kw_only=True, tag=True):
    """What a worker must know. It names the file with the PIN and never holds the PIN."""

    module: str
    """Path of the PKCS#11 module."""
    token: str
    """Label of the token; exactly one token may have it."""
    pin_file: str
    institution_key: bytes
    """The pinned RSA public key of the institution, as DER SubjectPublicKeyInfo."""
    token_key: bytes
    """The pinned P-256 public key that result tokens are verified with, as DER SubjectPublicKeyInfo."""
    challenge_bytes: Annotated[int, msgspec.Meta(ge=8, le=32)]
    """The one length of a challenge, from the card profile."""
    challenges_per_minute: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    issuer: Annotated[str, msgspec.Meta(min_length=1)]
    """The `iss` of our result tokens."""
    token_lifetime_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)]
    """The longest time from `iat` to `exp` of a result token."""


class LogIn(_Message, frozen=True, tag=True):
    """Go ahead: from here to the next answer the worker is not killed."""


class SignChallenge(_Message, frozen=True, tag=True):
    """Sign a card's *challenge* with the institution key."""

    challenge: bytes


class SignToken(_Message, frozen=True, tag=True):
    """Sign the *signing_input* of a result token (header and payload) with the token key."""

    signing_input: bytes


class Canary(_Message, frozen=True, tag=True):
    """Sign a message that the worker makes up with *key*, and verify it."""

    key: Role


class Status(_Message, frozen=True, tag=True):
    """Tell what the worker speaks with."""


class Loaded(_Message, frozen=True, tag=True):
    """The module is loaded and the token found; the worker waits for `LogIn`."""


class LoggedIn(_Message, frozen=True, tag=True):
    """The login has succeeded; the keys are looked for."""


class Ready(_Message, frozen=True, tag=True):
    """Every key was found, checked, and has made a signature that its pinned public key verifies."""


class Signature(_Message, frozen=True, tag=True):
    """A verified *signature*: PKCS#1 v1.5 with RSA, DER (ECDSA-Sig-Value) with P-256."""

    signature: bytes


class CanaryResult(_Message, frozen=True, tag=True):
    """The canary's signature took the module *seconds* and verified."""

    seconds: float


class StatusReport(_Message, frozen=True, kw_only=True, tag=True):
    """What a worker speaks with."""

    pid: int
    library: str
    """Name and version of the module, as it says."""
    token: str
    manufacturer: str
    model: str
    serial: str
    signatures: int
    """Signatures made since the worker was started, canaries included."""


class Refusal(_Message, frozen=True, tag=True):
    """The request failed: *code* and *detail* of one of our errors."""

    code: str
    detail: str


Verb = SignChallenge | SignToken | Canary | Status
Answer = Loaded | LoggedIn | Ready | Signature | CanaryResult | StatusReport | Refusal


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A *verb* for the worker, with the *number* its answer will carry."""

    number: int
    verb: TokenSetup | LogIn | SignChallenge | SignToken | Canary | Status


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The worker's *answer* to the request of this *number*."""

    number: int
    answer: Answer


T = TypeVar("T")

_ENCODER = msgspec.msgpack.Encoder()
_REQUESTS = msgspec.msgpack.Decoder(Request)
_REPLIES = msgspec.msgpack.Decoder(Reply)


def frame(message: Request | Reply) -> bytes:
    """Return *message* as a whole frame. One that is too long is the caller's bug."""
    body = _ENCODER.encode(message)
    if len(body) > LARGEST_FRAME:
        raise ValueError(f"a message of {len(body)} bytes does not fit into a frame")
    return len(body).to_bytes(HEADER_BYTES) + body


def body_length(header: bytes) -> int:
    """Return how many bytes follow *header*, or raise HsmUnavailable: the other end is out of step."""
    length = int.from_bytes(header)
    if len(header) != HEADER_BYTES or not 1 <= length <= LARGEST_FRAME:
        raise HsmUnavailable(f"a frame between daemon and worker announces {length} bytes")
    return length


def read_request(body: bytes) -> Request:
    """Return the request that *body* is, or raise HsmUnavailable."""
    return _read(_REQUESTS, body)


def read_reply(body: bytes) -> Reply:
    """Return the reply that *body* is, or raise HsmUnavailable."""
    return _read(_REPLIES, body)


def _read(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The decoder's own text may quote what it read; the kind of error is enough.
        raise HsmUnavailable(
            f"a frame between daemon and worker is malformed ({type(error).__name__})"
        ) from error
