"""
The transcript of a ceremony: what happened, in one canonical form, signed by the keys it is about.

    { "sha256":     SHA-256 of the statement's canonical bytes (RFC 8785), what witnesses note,
      "signatures": by every key named in the statement,
      "statement":  what happened }

The file is that document in exactly one form, so there is no byte in it that could be another: canonical JSON,
spread over lines for people. The same bytes come from common tools: `jq -cjS .statement FILE | sha256sum`.

What a key signs is `message`: 70 bytes, of which the first 38 name their purpose. No challenge is longer than 32
bytes, and neither a result token nor a checkpoint holds a zero byte, so no signature fits two purposes. Each new key
signs, which proves that whoever ran the ceremony had it; as the statement holds all public keys and the request,
none of them can be put into another transcript.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from appliance.errors import TranscriptInvalid
from appliance.hsm.ceremony.plan import Algorithm
from appliance.hsm.messages import Role

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_PREFIX = b"jpki-appliance ceremony transcript v1\0"

Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})+$")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
AttributeValue = bool | int | str | tuple[str, ...] | None
"""None where the module does not know the attribute."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of a transcript have in common."""


class Software(_Part, frozen=True, kw_only=True):
    """Versions of what ran."""

    appliance: str
    cryptography: str
    python: str
    python_pkcs11: str


class Module(_Part, frozen=True, kw_only=True):
    """The PKCS#11 module, by its file and by its own account."""

    path: str
    sha256: Digest
    description: str
    manufacturer: str
    version: str
    cryptoki: str


class TokenIdentity(_Part, frozen=True, kw_only=True):
    """The token, by its own account."""

    label: str
    manufacturer: str
    model: str
    serial: str
    hardware: str
    firmware: str


class VendorRecord(_Part, frozen=True, kw_only=True):
    """What the vendor profile said of the module, as far as keys are judged by it."""

    name: str
    tested: bool
    omitted: tuple[str, ...]
    unreadable: tuple[str, ...]
    expected: Mapping[str, bool]
    allowed_mechanisms: Literal["enforced", "unenforced", "unknown", "fixed"]
    deviations: tuple[str, ...]


class PublicHalf(_Part, frozen=True, kw_only=True):
    """A key, told by its public half."""

    role: Role
    algorithm: Algorithm
    public_key: str
    """PEM."""
    fingerprint: Digest
    """SHA-256 of the DER SubjectPublicKeyInfo."""


class KeyRecord(PublicHalf, frozen=True, kw_only=True):
    """A key in the token, with the attributes of its private half as they were read back."""

    label: str
    id: Hex
    mechanism: str
    """The one it signs with."""
    attributes: Mapping[str, AttributeValue]


class _Statement(_Part, frozen=True, kw_only=True):
    """What both kinds of ceremony state."""

    purpose: str
    operator: str
    witnesses: tuple[str, ...]
    plan: str
    """The reviewed file itself."""
    plan_sha256: Digest
    began: Time
    ended: Time
    software: Software
    module: Module
    token: TokenIdentity
    vendor: VendorRecord
    countersigners: tuple[PublicHalf, ...]


class KeysMade(_Statement, frozen=True, kw_only=True, tag="keys-made", tag_field="kind"):
    """Keys were made in the token."""

    keys: tuple[KeyRecord, ...]
    request: str | None
    """PKCS#10 request (PEM) for the institution key."""

    @property
    def signers(self) -> tuple[PublicHalf, ...]:
        """Who signs: every new key, then those of earlier ceremonies."""
        return (*self.keys, *self.countersigners)

    def key(self, role: Role) -> KeyRecord | None:
        """Return the key of *role* that was made, or None."""
        return next((key for key in self.keys if key.role is role), None)


class ChainImported(_Statement, frozen=True, kw_only=True, tag="chain-imported", tag_field="kind"):
    """The institution's certificates were imported for a key made in an earlier ceremony."""

    ceremony: Digest
    """SHA-256 of that ceremony's statement."""
    key: KeyRecord
    institution_code: str
    intermediate: Hex
    leaf: Hex
    root_key: str | None
    """PEM, where the root's public key was given."""
    next: bool
    """Whether the chain was written as the next one, beside the one in service."""

    @property
    def signers(self) -> tuple[PublicHalf, ...]:
        """Who signs. Not the institution key: from now on it signs challenges of cards and nothing else."""
        return self.countersigners


Statement = KeysMade | ChainImported


class Signed(_Part, frozen=True, kw_only=True):
    """A signature over `message`: PKCS#1 v1.5 with SHA-256, ECDSA (DER) with SHA-256, or Ed25519."""

    fingerprint: Digest
    signature: Hex


class Transcript(_Part, frozen=True, kw_only=True):
    """The whole document."""

    sha256: Digest
    signatures: tuple[Signed, ...]
    statement: KeysMade | ChainImported

    def to_bytes(self) -> bytes:
        """Return the one form of this document."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"


def from_bytes(content: bytes) -> Transcript:
    """Return the transcript that *content* is in its one form, or raise TranscriptInvalid. Checks nothing else."""
    try:
        transcript = msgspec.json.decode(content, type=Transcript)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TranscriptInvalid(f"the file is not a transcript: {error}") from error
    if transcript.to_bytes() != content:
        raise TranscriptInvalid("the file is not in the one form a transcript has")
    return transcript


def digest(statement: Statement) -> bytes:
    """Return the SHA-256 of the canonical bytes of *statement*."""
    return hashlib.sha256(msgspec.json.encode(statement, order="sorted")).digest()


def message(sha256: bytes) -> bytes:
    """Return what is signed for the statement with the hash *sha256*."""
    return _PREFIX + sha256


def verify(key: PublicKey, signature: bytes, signed: bytes) -> None:
    """Raise TranscriptInvalid unless *key* made *signature* over *signed*."""
    try:
        match key:
            case rsa.RSAPublicKey():
                key.verify(signature, signed, padding.PKCS1v15(), SHA256())
            case ec.EllipticCurvePublicKey():
                key.verify(signature, signed, ec.ECDSA(SHA256()))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, signed)
    except InvalidSignature as error:
        raise TranscriptInvalid(f"the {algorithm_of(key)} key has not signed this statement") from error


def algorithm_of(key: object) -> Algorithm:
    """Return what kind of key *key* is, or raise TranscriptInvalid: none of ours."""
    match key:
        case rsa.RSAPublicKey(key_size=2048) if key.public_numbers().e == 65537:
            return "rsa-2048"
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            return "p-256"
        case ed25519.Ed25519PublicKey():
            return "ed25519"
        case _:
            raise TranscriptInvalid("a key is of none of the algorithms that ceremonies make")


def public_half(role: Role, pem: bytes) -> PublicHalf:
    """Return how the key with the public half *pem* is told, or raise TranscriptInvalid."""
    key = read_key(pem)
    return PublicHalf(
        role=role,
        algorithm=algorithm_of(key),
        public_key=key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii"),
        fingerprint=fingerprint(key),
    )


def read_key(pem: bytes) -> PublicKey:
    """Return the public key in *pem*, or raise TranscriptInvalid: none, or not of our algorithms."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TranscriptInvalid("a public key cannot be read") from error
    algorithm_of(key)
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise TypeError(type(key))
    return key


def fingerprint(key: PublicKey) -> str:
    """Return the SHA-256 of the DER SubjectPublicKeyInfo of *key*."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
