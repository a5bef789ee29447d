"""
Signed notes (C2SP signed-note): text that one or more keys have signed, and verifier keys as text. Pure.

Three of the assigned signature types are known, and nothing else is:

    0x01  Ed25519 over the text
    0x02  ECDSA P-256 over SHA-256 of the text, DER; its key ID is taken from the SubjectPublicKeyInfo alone
    0x04  Ed25519 cosignature of a witness, with a time (C2SP tlog-cosignature)
"""

import re
import struct
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from appliance.errors import LedgerProofInvalid

PublicKey: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

LARGEST_NOTE: Final = 1 << 17
_MOST_SIGNATURES: Final = 64
_DASH: Final = "— "
_NAME: Final = re.compile(r"[^\s+]+")
_TIMESTAMP: Final = struct.Struct(">Q")
_ID_BYTES: Final = 4
_LATEST: Final = (1 << 63) - 1


class KeyType(IntEnum):
    """Signature types (C2SP signed-note, "Signature types")."""

    ED25519 = 0x01
    ECDSA = 0x02
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One line under a note: who says to have signed it, and the signature."""

    name: str
    key_id: bytes
    signature: bytes

    def to_text(self) -> str:
        """Return the line, with its newline."""
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.signature).decode()}\n"

    @classmethod
    def from_text(cls, line: str) -> "NoteSignature":
        """Return the signature in a *line* without newline, or raise LedgerProofInvalid."""
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        content = _base64(encoded)
        if not line.startswith(_DASH) or not _NAME.fullmatch(name) or len(content) <= _ID_BYTES:
            raise LedgerProofInvalid("a signature line of a note is malformed")
        return cls(name, content[:_ID_BYTES], content[_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class Note:
    """A *text*, which ends with a newline, and the *signatures* under it, believed or not."""

    text: str
    signatures: tuple[NoteSignature, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.endswith("\n") or any(letter < " " and letter != "\n" for letter in self.text):
            raise ValueError("a note's text ends with a newline and has no other control characters")

    @classmethod
    def from_bytes(cls, content: bytes) -> "Note":
        """Return the note that *content* is, or raise LedgerProofInvalid."""
        try:
            whole = content.decode()
        except UnicodeDecodeError as error:
            raise LedgerProofInvalid("a note is not UTF-8") from error
        # The last empty line parts text and signatures; the text may have empty lines too.
        text, blank, lines = whole.rpartition("\n\n")
        if len(content) > LARGEST_NOTE or not blank or not lines.endswith("\n"):
            raise LedgerProofInvalid("a note is a text, an empty line, and signature lines")
        signatures = signatures_in(lines.encode())
        try:
            return cls(text + "\n", signatures)
        except ValueError as error:
            raise LedgerProofInvalid("a note has control characters") from error

    def to_bytes(self) -> bytes:
        """Return the note as it is published."""
        return (self.text + "\n" + "".join(one.to_text() for one in self.signatures)).encode()

    def signed_by(self, keys: Iterable["VerifierKey"]) -> tuple["VerifierKey", ...]:
        """
        Return those of *keys* that have signed the note, or raise LedgerProofInvalid where there is none.

        Lines of unknown keys are ignored, as the specification demands; a line of a known key whose signature does
        not verify makes the whole note invalid.
        """
        found: list[VerifierKey] = []
        for key in keys:
            for line in self.signatures:
                if (line.name, line.key_id) == (key.name, key.key_id):
                    key.verify(self.text, line.signature)
                    found.append(key)
                    break
        if not found:
            raise LedgerProofInvalid("no known key has signed the note")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key that signs notes under a *name*."""

    name: str
    type: KeyType
    key: PublicKey

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or any(letter < " " for letter in self.name):
            raise ValueError("a key's name has neither spaces nor plus signs")
        p256 = isinstance(self.key, ec.EllipticCurvePublicKey) and isinstance(self.key.curve, ec.SECP256R1)
        if (self.type is KeyType.ECDSA) != p256 or not (
            p256 or isinstance(self.key, ed25519.Ed25519PublicKey)
        ):
            raise ValueError("the key is not of its type")

    @classmethod
    def of_log(cls, name: str, key: PublicKey) -> "VerifierKey":
        """Return *key* as the one that signs the notes of the log *name*."""
        is_ed25519 = isinstance(key, ed25519.Ed25519PublicKey)
        return cls(name, KeyType.ED25519 if is_ed25519 else KeyType.ECDSA, key)

    @classmethod
    def from_text(cls, text: str) -> "VerifierKey":
        """Return the key in `name+id+base64`, or raise LedgerProofInvalid."""
        # Base64 has plus signs of its own, a name has none.
        name, key_id, encoded = (*text.strip().split("+", 2), "", "")[:3]
        content = _base64(encoded)
        try:
            kind = KeyType(content[0])
            if kind is KeyType.ECDSA:
                key = load_der_public_key(content[1:])
            else:
                key = ed25519.Ed25519PublicKey.from_public_bytes(content[1:])
            if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
                raise LedgerProofInvalid("a verifier key is of an unknown kind")
            parsed = cls(name, kind, key)
        except (ValueError, IndexError, UnsupportedAlgorithm) as error:
            raise LedgerProofInvalid("a verifier key is not NAME+ID+KEY of a known type") from error
        if parsed.key_id.hex() != key_id:
            raise LedgerProofInvalid("the ID in a verifier key is not that of its name and key")
        return parsed

    def to_text(self) -> str:
        """Return the key as `name+id+base64`."""
        encoded = b64encode(bytes([self.type]) + self._encoded).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @property
    def key_id(self) -> bytes:
        """The four bytes before each of this key's signatures."""
        named = b"" if self.type is KeyType.ECDSA else self.name.encode() + b"\n" + bytes([self.type])
        return sha256(named + self._encoded).digest()[:_ID_BYTES]

    def signature(self, signature: bytes) -> NoteSignature:
        """Return the line for a *signature* by this key."""
        return NoteSignature(self.name, self.key_id, signature)

    def verify(self, text: str, signature: bytes) -> None:
        """Check what this key has signed, or raise LedgerProofInvalid."""
        message = text.encode()
        try:
            if isinstance(self.key, ec.EllipticCurvePublicKey):
                self.key.verify(signature, message, ec.ECDSA(SHA256()))
            elif self.type is KeyType.COSIGNATURE:
                self.key.verify(signature[_TIMESTAMP.size :], cosigned(text, cosigned_at(signature)))
            else:
                self.key.verify(signature, message)
        except InvalidSignature as error:
            raise LedgerProofInvalid(f"a signature of {self.name} does not verify") from error

    @property
    def _encoded(self) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PublicKey):
            return self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signatures_in(content: bytes) -> tuple[NoteSignature, ...]:
    """Return the signatures in *content*, one a line and nothing else, or raise LedgerProofInvalid."""
    try:
        lines = content.decode()
    except UnicodeDecodeError as error:
        raise LedgerProofInvalid("signature lines are not UTF-8") from error
    if not lines.endswith("\n"):
        raise LedgerProofInvalid("a signature line is cut off")
    signatures = tuple(NoteSignature.from_text(line) for line in lines[:-1].split("\n"))
    if len(signatures) > _MOST_SIGNATURES:
        raise LedgerProofInvalid(f"a note has more than {_MOST_SIGNATURES} signatures")
    return signatures


def cosigned(text: str, timestamp: int) -> bytes:
    """Return what a witness signs of a checkpoint's *text* (C2SP tlog-cosignature, "Ed25519 signed message")."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def cosigned_at(signature: bytes) -> int:
    """Return the POSIX time in a witness's *signature*, or raise LedgerProofInvalid."""
    if len(signature) <= _TIMESTAMP.size:
        raise LedgerProofInvalid("a cosignature is too short")
    timestamp: int = _TIMESTAMP.unpack_from(signature)[0]
    if timestamp > _LATEST:
        raise LedgerProofInvalid("a cosignature's time is out of range")
    return timestamp


def _base64(text: str) -> bytes:
    try:
        content = b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise LedgerProofInvalid("something in a note is not base64") from error
    if b64encode(content).decode() != text:
        raise LedgerProofInvalid("something in a note is not canonical base64")
    return content
