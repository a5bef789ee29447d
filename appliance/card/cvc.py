"""
The institution's card-verifiable certificates (CVC): parse, build, check a chain.

    7F21 820233
      5F4E 820129  issuer reference (16) ‖ holder reference (16) ‖ 90 03 010001 ‖ 91 820100 modulus
      5F37 820100  signature, RSA PKCS#1 v1.5 with SHA-256 over the 297 body bytes

They carry no dates, no extensions and no role; the issuer reference alone says where one belongs. The card
takes each in two blocks and checks it with the key it trusted last (card facts 2.1, rulings 2 to 4 and 9).
"""

from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.card.tlv import Tlv, header
from appliance.errors import CardAnswerMalformed, CvcChainInvalid, CvcMalformed

LENGTH: Final = 568
BODY_LENGTH: Final = 297
SIGNATURE_LENGTH: Final = 256
BLOCK_1_LENGTH: Final = LENGTH - 5 - SIGNATURE_LENGTH
EXPONENT: Final = 65_537

_CERTIFICATE, _BODY, _SIGNATURE, _EXPONENT, _MODULUS = 0x7F21, 0x5F4E, 0x5F37, 0x90, 0x91
_REFERENCES: Final = 32
_MODULUS_LENGTH: Final = 256


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
    modulus: int

    def __post_init__(self) -> None:
        if self.modulus.bit_length() != _MODULUS_LENGTH * 8 or not self.modulus % 2:
            raise CvcMalformed("the modulus is not an RSA-2048 one")

    @property
    def public_key(self) -> rsa.RSAPublicKey:
        """The certified key."""
        return rsa.RSAPublicNumbers(EXPONENT, self.modulus).public_key()

    def to_bytes(self) -> bytes:
        """Return the 297 bytes that are signed."""
        exponent = Tlv(_EXPONENT, EXPONENT.to_bytes(3)).to_bytes()
        modulus = Tlv(_MODULUS, self.modulus.to_bytes(_MODULUS_LENGTH)).to_bytes()
        return self.issuer.octets + self.holder.octets + exponent + modulus

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Return the body that *encoded* is, or raise CvcMalformed."""
        if len(encoded) != BODY_LENGTH:
            raise CvcMalformed(f"a certificate body has {BODY_LENGTH} bytes, not {len(encoded)}")
        modulus = int.from_bytes(encoded[-_MODULUS_LENGTH:])
        body = cls(KeyReference(encoded[:16]), KeyReference(encoded[16:_REFERENCES]), modulus)
        if body.to_bytes() != encoded:
            raise CvcMalformed("the public key in the certificate has not the one shape the card takes")
        return body


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate, checked for shape only; who signed it is `verify`'s to say."""

    body: Body
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.signature) != SIGNATURE_LENGTH:
            raise CvcMalformed(f"a certificate signature has {SIGNATURE_LENGTH} bytes")

    def to_bytes(self) -> bytes:
        """Return the 568 bytes of a certificate file."""
        content = Tlv(_BODY, self.body.to_bytes()).to_bytes() + Tlv(_SIGNATURE, self.signature).to_bytes()
        return Tlv(_CERTIFICATE, content).to_bytes()

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

    @property
    def blocks(self) -> tuple[bytes, bytes]:
        """The two parts in which the card takes the certificate: headers with body, then signature."""
        encoded = self.to_bytes()
        return encoded[:BLOCK_1_LENGTH], encoded[BLOCK_1_LENGTH:]

    def verify(self, issuer_key: rsa.RSAPublicKey) -> None:
        """Raise CvcChainInvalid unless *issuer_key* made the signature."""
        try:
            issuer_key.verify(self.signature, self.body.to_bytes(), padding.PKCS1v15(), SHA256())
        except InvalidSignature as error:
            raise CvcChainInvalid(
                f"the certificate of {self.body.holder.code} was not signed by the key of "
                f"{self.body.issuer.code} that it names"
            ) from error


BLOCK_1_START: Final = header(_CERTIFICATE, LENGTH - 5) + header(_BODY, BODY_LENGTH)
"""The headers that block 1 begins with."""
BLOCK_2_START: Final = header(_SIGNATURE, SIGNATURE_LENGTH)
"""The header that block 2 begins with."""


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
    def public_key(self) -> rsa.RSAPublicKey:
        """The institution's key, whose private half the HSM must hold."""
        return self.leaf.body.public_key


def check_chain(
    intermediate: Certificate, leaf: Certificate, root_key: rsa.RSAPublicKey | None = None
) -> Chain:
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
