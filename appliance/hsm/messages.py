"""
What daemon and worker say to one another: a closed set of messages, each in a frame of bounded length.

A worker is started, told its `TokenSetup`, and then answers one request after another:

    daemon                          worker
    TokenSetup            ──▶
                          ◀──       Loaded      module loaded, token found, PIN counters in order
    LogIn                 ──▶
                          ◀──       LoggedIn    the login is over
                          ◀──       Ready       keys found, checked, and each has signed
    SignChallenge, …      ──▶
                          ◀──       Signature, … or Refusal

When the module fails, the worker climbs the ladder before it answers, and says so; the same number stands on all:

    SignChallenge         ──▶
                          ◀──       Climbing    a rung is tried
                          ◀──       LoginNeeded that rung needs a login
    LogIn                 ──▶
                          ◀──       LoggedIn
                          ◀──       Climbed     whether the rung has healed
                          ◀──       Signature or Refusal

The login waits for the daemon's word, because a worker must not be killed inside it: SoftHSM truncates its token
file at every login before writing it again. A progress report alone could still be under way while the daemon
decides to kill. So between `LogIn` and the next message, and only there, a worker is never killed.

A request carries the time at which nobody waits for its answer any more. One that is late, or was withdrawn, before
the worker begins it costs no signature.

A frame is four bytes of length, big-endian, and one MessagePack document. Requests carry a number that the
answer repeats; whoever reads another number than the expected one ends the conversation.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec

from appliance.errors import HsmUnavailable
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.vendor import Vendor

HEADER_BYTES = 4
LARGEST_FRAME = 1 << 16
"""The most bytes after a header. A signing input is at most 16 KiB, everything else is smaller."""


class Role(StrEnum):
    """What a key is for. There is one key for each role."""

    INSTITUTION = "institution"
    TOKEN = "token"  # noqa: S105 - the name of a key
    LEDGER = "ledger"


class KeyLabel(StrEnum):
    """What a pinned key is called in metrics and reports: a closed set, whatever keys come and go."""

    INSTITUTION = "institution"
    INSTITUTION_NEXT = "institution-next"
    """The key that takes over in a rotation, while both live."""
    TOKEN = "token"  # noqa: S105 - the name of a key
    LEDGER = "ledger"


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """A public key that a token's private key must belong to, as DER SubjectPublicKeyInfo."""

    label: KeyLabel
    role: Role
    spki: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the SubjectPublicKeyInfo, in hexadecimal: how a request names the key."""
        return fingerprint(self.spki)


def fingerprint(spki: bytes) -> str:
    """Return how requests name the key whose DER SubjectPublicKeyInfo is *spki*: its SHA-256 in hexadecimal."""
    return hashlib.sha256(spki).hexdigest()


@dataclass(frozen=True, slots=True)
class Terms:
    """
    By what a worker admits what it signs, apart from the keys.

    Where a key stays and these change, what began by the old ones is still let through by workers with the old ones only.
    """

    issuer: str
    token_lifetime_seconds: int
    challenge_bytes: int


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """What all messages have in common: the name of the kind travels along."""


class TokenSetup(_Message, frozen=True, kw_only=True, tag=True):
    """What a worker must know. It names the file with the PIN and never holds the PIN."""

    vendor: Vendor
    """How this module differs from others."""
    module: str
    """Path of the PKCS#11 module."""
    token: str
    """Label of the token; exactly one token may have it."""
    pin_file: str
    institution_keys: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=2)]
    """The pinned public keys of the institution, the preferred one first, as DER SubjectPublicKeyInfo."""
    token_key: bytes | None
    """The pinned P-256 public key of result tokens, as DER SubjectPublicKeyInfo; None where it lives elsewhere."""
    challenge_bytes: Annotated[int, msgspec.Meta(ge=8, le=32)]
    """The one length of a challenge, from the card profile."""
    challenges_per_minute: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    issuer: Annotated[str, msgspec.Meta(min_length=1)]
    """The `iss` of our result tokens."""
    token_lifetime_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)]
    """The longest time from `iat` to `exp` of a result token."""
    ledger_key: bytes | None = None
    """The pinned Ed25519 or P-256 public key of checkpoints, as DER SubjectPublicKeyInfo; None where there is none."""
    ledger_origin: str = ""
    """The origin of our log: the worker signs no other log's checkpoints."""

    @property
    def terms(self) -> Terms:
        """By what the worker admits what it signs."""
        return Terms(self.issuer, self.token_lifetime_seconds, self.challenge_bytes)

    @property
    def pinned(self) -> tuple[PinnedKey, ...]:
        """The keys, institution's first. Of two institution keys the preferred one is the next."""
        labels = (KeyLabel.INSTITUTION_NEXT, KeyLabel.INSTITUTION)[-len(self.institution_keys) :]
        institution = zip(labels, self.institution_keys, strict=True)
        return (
            *(PinnedKey(label, Role.INSTITUTION, spki) for label, spki in institution),
            *(() if self.token_key is None else (PinnedKey(KeyLabel.TOKEN, Role.TOKEN, self.token_key),)),
            *(() if self.ledger_key is None else (PinnedKey(KeyLabel.LEDGER, Role.LEDGER, self.ledger_key),)),
        )


class LogIn(_Message, frozen=True, tag=True):
    """Go ahead: from here to the next answer the worker is not killed."""


class SignChallenge(_Message, frozen=True, tag=True):
    """Sign a card's *challenge* with the institution key of the fingerprint *key*."""

    challenge: bytes
    key: str


class SignToken(_Message, frozen=True, tag=True):
    """Sign the *signing_input* of a result token (header and payload) with the token key."""

    signing_input: bytes


class SignScenario(_Message, frozen=True, tag=True):
    """Sign the *signing_input* of a scenario (header and payload) with the token key, for a terminal that insists."""

    signing_input: bytes


class SignCheckpoint(_Message, frozen=True, tag=True):
    """Sign the *text* of a checkpoint of our log with the ledger key."""

    text: bytes


class Canary(_Message, frozen=True, tag=True):
    """Sign a message that the worker makes up with the key of the fingerprint *key*, and verify it."""

    key: str


class Status(_Message, frozen=True, tag=True):
    """Tell what the worker speaks with."""


class Withdraw(_Message, frozen=True, tag=True):
    """Do not begin request *withdrawn*, if it is not too late. Has no answer of its own."""

    withdrawn: int


class Loaded(_Message, frozen=True, tag=True):
    """The module is loaded and the token found; the worker waits for `LogIn`."""


class LoggedIn(_Message, frozen=True, tag=True):
    """The login has succeeded; the keys are looked for."""


class Ready(_Message, frozen=True, tag=True):
    """Every key was found, checked, and has signed a canary in so many *seconds*, in the order of the set-up."""

    seconds: tuple[float, ...] = ()


class NotBegun(_Message, frozen=True, tag=True):
    """The request was too late or withdrawn, or the worker ends: surely nothing was signed for it."""


class Signature(_Message, frozen=True, tag=True):
    """A verified *signature*: PKCS#1 v1.5 with RSA, DER (ECDSA-Sig-Value) with a curve."""

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
    firmware: str
    serial: str
    signatures: int
    """Signatures it was asked for since it was ready, canaries included."""


class Climbing(_Message, frozen=True, tag=True):
    """The module failed with *ckr*, of *error_class*, and *rung* is tried."""

    rung: Rung
    ckr: str
    error_class: ErrorClass


class LoginNeeded(_Message, frozen=True, tag=True):
    """The rung needs a login; the worker waits for `LogIn`."""


class Climbed(_Message, frozen=True, tag=True):
    """The *rung* was tried, and has *healed* or not."""

    rung: Rung
    healed: bool


class Refusal(_Message, frozen=True, kw_only=True, tag=True):
    """The request failed: *code* and *detail* of one of our errors."""

    code: str
    detail: str
    ckr: str = ""
    """Name of the module's return value, where it was the module that failed."""
    error_class: ErrorClass = ErrorClass.PERMANENT
    unsigned: bool = False
    """Whether it is sure that nothing was signed."""
    usable: bool = False
    """Whether the worker takes further requests; otherwise it has ended."""


Verb = SignChallenge | SignToken | SignScenario | SignCheckpoint | Canary | Status
"""All that a worker can be asked for once it is up. What each may sign stands in `admission`."""
Progress = Climbing | LoginNeeded | LoggedIn | Climbed
"""What comes before the answer to a request."""
Answer = (
    Loaded
    | LoggedIn
    | Ready
    | Signature
    | CanaryResult
    | StatusReport
    | Climbing
    | LoginNeeded
    | Climbed
    | NotBegun
    | Refusal
)

FOREVER = float("inf")


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A *verb* for the worker, the *number* its answer will carry, and when it is too late to begin (monotonic)."""

    number: int
    verb: (
        TokenSetup
        | LogIn
        | Withdraw
        | SignChallenge
        | SignToken
        | SignScenario
        | SignCheckpoint
        | Canary
        | Status
    )
    deadline: float = FOREVER


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
