"""
The institution's card-verifiable certificates (CVC): parse, build, check a chain.

    7F21 820233
      5F4E 820129  issuer reference (16) ‖ holder reference (16) ‖ 90 03 010001 ‖ 91 820100 modulus
      5F37 820100  signature, RSA PKCS#1 v1.5 with SHA-256 over the 297 body bytes

With an elliptic curve (hypothetical, ruling 28) the key is `86 61`, an uncompressed P-384 point, the signature r‖s
of ECDSA with SHA-384, and the lengths follow. Certificates carry no dates, no extensions and no role; the issuer
reference alone says where one belongs. The card takes each in two blocks and checks it with the key it trusted
last (card facts 2.1, rulings 2 to 4 and 9).
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.card import algorithm
from appliance.card.algorithm import Algorithm, PublicKey
from appliance.card.tlv import Tlv, header
from appliance.errors import CardAnswerMalformed, CvcChainInvalid, CvcMalformed

EXPONENT: Final = 65_537

_CERTIFICATE, _BODY, _SIGNATURE = 0x7F21, 0x5F4E, 0x5F37
_EXPONENT, _MODULUS, _POINT = 0x90, 0x91, 0x86
_REFERENCES: Final = 32
_MODULUS_LENGTH: Final = 256
_POINT_LENGTH: Final = 97


class Shape(StrEnum):
    """What a certificate looks like, by the algorithm of the key in it. Its issuer's is the same."""

    RSA_2048 = "cvc-rsa-2048"
    P384 = "cvc-p384"

    @property
    def algorithm(self) -> Algorithm:
        """What the certified key, and the issuer's, sign with."""
        return {
            Shape.RSA_2048: Algorithm.RSA_2048_PKCS1_SHA256,
            Shape.P384: Algorithm.ECDSA_P384_SHA384,
        }[self]

    @property
    def body_length(self) -> int:
        """How many bytes are signed."""
        return {Shape.RSA_2048: 297, Shape.P384: 131}[self]

    @property
    def signature_length(self) -> int:
        """How many bytes a signature has."""
        return algorithm.SIGNATURE_LENGTH[self.algorithm]

    @property
    def block_1_start(self) -> bytes:
        """The headers that block 1 begins with; the body follows."""
        body = header(_BODY, self.body_length)
        return header(_CERTIFICATE, len(body) + self.body_length + self.block_2_length) + body

    @property
    def block_1_length(self) -> int:
        """How many bytes block 1 has."""
        return len(self.block_1_start) + self.body_length

    @property
    def block_2_start(self) -> bytes:
        """The header that block 2 begins with; the signature follows."""
        return header(_SIGNATURE, self.signature_length)

    @property
    def block_2_length(self) -> int:
        """How many bytes block 2 has."""
        return len(self.block_2_start) + self.signature_length

    @property
    def length(self) -> int:
        """How many bytes a certificate file has."""
        return self.block_1_length + self.block_2_length


@dataclass(frozen=True, slots=True)
class KeyReference:
    """Name of a key, 鍵ID: seven ASCII digits, then nine bytes that we do not interpret."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 16 or not (self.octets[:7].isascii() and self.octets[:7].isdigit()):
            raise CvcMalformed("a key reference has 16 bytes and begins with seven digits")

    @classmethod
    def of(cls, code: str, serial: int = 1) -> Self:
        """Return the reference of key *serial* of the party with the seven-digit *code*."""
        return cls(f"{code}\x08\x05{serial:03d}0000".encode("ascii"))

    @property
    def code(self) -> str:
        """The seven digits; in a leaf, the institution code (機関コード; UNVERIFIED)."""
        return self.octets[:7].decode("ascii")


@dataclass(frozen=True, slots=True)
class Body:
    """What an issuer signs: who certifies whose key."""

    issuer: KeyReference
    holder: KeyReference
    public_key: PublicKey

    def __post_init__(self) -> None:
        if algorithm.of_key(self.public_key) is None:
            raise CvcMalformed("the certified key is neither RSA-2048 nor P-384")
        if isinstance(self.public_key, rsa.RSAPublicKey):
            numbers = self.public_key.public_numbers()
            if numbers.e != EXPONENT or not numbers.n % 2:
                raise CvcMalformed("the certified key is not an RSA-2048 one with the exponent 65537")

    @property
    def shape(self) -> Shape:
        """What the certificate looks like."""
        return Shape.RSA_2048 if isinstance(self.public_key, rsa.RSAPublicKey) else Shape.P384

    def to_bytes(self) -> bytes:
        """Return the bytes that are signed."""
        return self.issuer.octets + self.holder.octets + _key_to_bytes(self.public_key)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Return the body that *encoded* is, or raise CvcMalformed."""
        issuer, holder = KeyReference(encoded[:16]), KeyReference(encoded[16:_REFERENCES])
        body = cls(issuer, holder, _key_from_bytes(encoded[_REFERENCES:]))
        if body.to_bytes() != encoded:
            raise CvcMalformed("the public key in the certificate has not the one shape the card takes")
        return body


def _key_to_bytes(key: PublicKey) -> bytes:
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        modulus = Tlv(_MODULUS, numbers.n.to_bytes(_MODULUS_LENGTH)).to_bytes()
        return Tlv(_EXPONENT, numbers.e.to_bytes(3)).to_bytes() + modulus
    return Tlv(_POINT, key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)).to_bytes()


def _key_from_bytes(encoded: bytes) -> PublicKey:
    """Return the key whose last bytes *encoded* ends with; the caller compares the rest."""
    try:
        if len(encoded) == Shape.RSA_2048.body_length - _REFERENCES:
            return rsa.RSAPublicNumbers(EXPONENT, int.from_bytes(encoded[-_MODULUS_LENGTH:])).public_key()
        if len(encoded) == Shape.P384.body_length - _REFERENCES:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), encoded[-_POINT_LENGTH:])
    except ValueError as error:
        raise CvcMalformed("the certificate holds no public key") from error
    raise CvcMalformed(f"a certificate body does not have {_REFERENCES + len(encoded)} bytes")


@dataclass(frozen=True)
class Certificate:
    """One certificate, checked for shape only; who signed it is `verify`'s to say. Its bytes are made once."""

    body: Body
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.signature) != self.body.shape.signature_length:
            raise CvcMalformed(f"a certificate signature does not have {len(self.signature)} bytes")

    @cached_property
    def _encoded(self) -> bytes:
        content = Tlv(_BODY, self.body.to_bytes()).to_bytes() + Tlv(_SIGNATURE, self.signature).to_bytes()
        return Tlv(_CERTIFICATE, content).to_bytes()

    def to_bytes(self) -> bytes:
        """Return the bytes of a certificate file: 568 with an RSA key."""
        return self._encoded

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Return the certificate that *encoded* is, or raise CvcMalformed."""
        try:
            outer = Tlv.from_bytes(encoded)
            body, signature = outer.children
        except (CardAnswerMalformed, ValueError) as error:
            raise CvcMalformed("the bytes are not one certificate with a body and a signature") from error
        if (outer.tag, body.tag, signature.tag) != (_CERTIFICATE, _BODY, _SIGNATURE):
            raise CvcMalformed("the objects are not 7F21 {5F4E, 5F37}")
        return cls(Body.from_bytes(body.value), signature.value)

    @cached_property
    def blocks(self) -> tuple[bytes, bytes]:
        """The two parts in which the card takes the certificate: headers with body, then signature."""
        encoded = self.to_bytes()
        return encoded[: self.body.shape.block_1_length], encoded[self.body.shape.block_1_length :]

    def verify(self, issuer_key: PublicKey) -> None:
        """Raise CvcChainInvalid unless *issuer_key*, of the same algorithm, made the signature."""
        if not algorithm.verified(
            self.body.shape.algorithm, issuer_key, self.signature, self.body.to_bytes()
        ):
            raise CvcChainInvalid(
                f"the certificate of {self.body.holder.code} was not signed by the key of "
                f"{self.body.issuer.code} that it names"
            )


@dataclass(frozen=True, slots=True)
class Chain:
    """An institution's certificates in the order the card takes them; made by `check_chain` alone."""

    intermediate: Certificate
    leaf: Certificate

    @property
    def institution_code(self) -> str:
        """機関コード: what the card signs our nonce together with (its place is UNVERIFIED)."""
        return self.leaf.body.holder.code

    @property
    def public_key(self) -> PublicKey:
        """The institution's key, whose private half the HSM must hold."""
        return self.leaf.body.public_key


def check_chain(intermediate: Certificate, leaf: Certificate, root_key: PublicKey | None = None) -> Chain:
    """
    Return the chain of the two, or raise CvcChainInvalid.

    Checks that the leaf names the intermediate and bears its key's signature. The intermediate's own
    signature is checked where *root_key* is given: the real root's is not public (ruling 9).
    """
    if leaf.body.issuer != intermediate.body.holder:
        raise CvcChainInvalid(
            f"the leaf names issuer {leaf.body.issuer.code}, the intermediate is {intermediate.body.holder.code}"
        )
    leaf.verify(intermediate.body.public_key)
    if root_key is not None:
        intermediate.verify(root_key)
    return Chain(intermediate, leaf)
