"""
What the process that speaks with the HSM is sent for, what it brings back, and how it is sent.

python-pkcs11 is never in a process that does something else, so each errand is a process of its own, started by
exec, that gets one errand on standard input, answers once on standard output, and ends. The PIN is in neither: the
plan names its file. The process is not killed, whatever becomes of the command that sent it: it may be logging in,
and SoftHSM would lose the token.
"""

import subprocess
import sys
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from appliance.errors import BY_CODE, HsmUnavailable
from appliance.hsm.ceremony.plan import Reviewed
from appliance.hsm.ceremony.transcript import Module, TokenIdentity

_LAST_WORDS = 500


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag=True):
    """What errands and answers have in common."""


class Look(_Message, frozen=True, kw_only=True, tag=True):
    """Look at the token without logging in, for what *plan*, in *folder*, would meet there."""

    plan: bytes
    folder: str


class MakeKeys(_Message, frozen=True, kw_only=True, tag=True):
    """
    Make the keys of *plan*, after destroying those that an unfinished ceremony by the plan *discard* has left.

    The file *claim* gets the plan when no key of its names is in the token, before the first is made.
    """

    plan: bytes
    folder: str
    claim: str
    discard: bytes | None


class FindKey(_Message, frozen=True, kw_only=True, tag=True):
    """Find the institution key of *transcript* in the token, and state that the chain was imported for it."""

    plan: bytes
    folder: str
    transcript: bytes
    intermediate: bytes
    leaf: bytes
    root_key: str | None
    next: bool


class Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object in the token that bears the *label* or the *id* of a planned key."""

    kind: str
    label: str
    id: str
    fingerprint: str | None
    """SHA-256 of the SubjectPublicKeyInfo, where the object is a public key that can be read."""

    def __str__(self) -> str:
        key = "" if self.fingerprint is None else f", SHA-256 {self.fingerprint}"
        return f"{self.kind} '{self.label}' with id {self.id}{key}"


class Seen(_Message, frozen=True, kw_only=True, tag=True):
    """What is there."""

    module: Module
    token: TokenIdentity
    taken: tuple[Taken, ...]
    missing: tuple[str, ...]
    """Mechanisms the keys would need that the token does not offer."""


class Stated(_Message, frozen=True, kw_only=True, tag=True):
    """It is done: the *transcript*."""

    transcript: bytes


class Refused(_Message, frozen=True, kw_only=True, tag=True):
    """
    It is not done: *code* and *detail* of one of our errors.

    *left* names what could not be taken away again, and is empty only where it is known that no key was left. Where none
    was to be made, or it did not come so far, it is None.
    """

    code: str
    detail: str
    left: tuple[str, ...] | None = None


Errand = Look | MakeKeys | FindKey
Answer = Seen | Stated | Refused

ERRANDS: msgspec.msgpack.Decoder[Errand] = msgspec.msgpack.Decoder(Look | MakeKeys | FindKey)
_ANSWERS: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Seen | Stated | Refused)

T = TypeVar("T", Seen, Stated)


def send(errand: Errand, reviewed: Reviewed, *, hold: Sequence[int] = ()) -> Answer:
    """
    Send a process on *errand* to the token of *reviewed* and return its answer.

    The descriptors in *hold* stay open in it: a lock on one is held until it has ended, too. Raises HsmUnavailable
    where it ends without an answer.
    """
    with subprocess.Popen(
        (sys.executable, "-I", "-m", "appliance.hsm.ceremony.process"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **reviewed.environment},
        pass_fds=tuple(hold),
        start_new_session=True,  # a terminal's Ctrl-C must not hit it in the middle of a login
    ) as process:
        answered, said = process.communicate(msgspec.msgpack.encode(errand))
    try:
        return _ANSWERS.decode(answered)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        last_words = said.decode("utf-8", "replace").strip()[-_LAST_WORDS:]
        detail = f"the ceremony's process ended with status {process.returncode} and without an answer"
        raise HsmUnavailable(f"{detail}: {last_words}" if last_words else detail) from error


def expected(answer: Answer, wanted: type[T]) -> T:
    """Return *answer* if it is *wanted*; raise what was refused, or HsmUnavailable for any other answer."""
    match answer:
        case Refused() if answer.code in BY_CODE:
            left = f"; left in the token: {', '.join(answer.left)}" if answer.left else ""
            raise BY_CODE[answer.code](answer.detail + left)
        case _ if isinstance(answer, wanted):
            return answer
        case _:
            raise HsmUnavailable("the ceremony's process answered another question")
