"""
The card's private keys, and what COMPUTE DIGITAL SIGNATURE makes with them (card facts 1.7).

A key says by itself which input each operation (P1) takes, so that a card with another algorithm has another
kind of key and nothing else changes.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from appliance.simulator.key_files import PrivateKey

OPERATIONS: Final = frozenset(range(6))
"""P1 of COMPUTE DIGITAL SIGNATURE, 00 to 05."""
CURVE_OPERATIONS: Final = frozenset({0x02, 0x03})
"""The values of P1 that the next generation of cards has (ruling 28)."""
HASH_AND_SIGN: Final = 0x03
"""P1 of the one operation that the institution's authentication allows (ruling 10)."""

_DIGEST: Final = 32
_CURVE_LENGTH: Final = 48
"""Bytes of a SHA-384 digest, and of each half of a signature on P-384."""
_LONGEST_BLOCK: Final = 245
_PSS: Final = padding.PSS(padding.MGF1(SHA256()), salt_length=_DIGEST)


class CardKey(Protocol):
    """A private key behind an EF."""

    @property
    def signature_length(self) -> int:
        """How many bytes a signature has: Le must leave room for them (ruling 11)."""

    def takes(self, operation: int, length: int) -> bool:
        """Whether *operation* takes an input of *length* bytes."""

    def sign(self, operation: int, data: bytes) -> bytes:
        """Return the signature that *operation* makes of *data*."""


@dataclass(frozen=True, slots=True)
class RsaKey:
    """An RSA-2048 key of today's cards."""

    private: rsa.RSAPrivateKey = field(repr=False)

    @property
    def signature_length(self) -> int:
        """How many bytes a signature has."""
        return self.private.key_size // 8

    def takes(self, operation: int, length: int) -> bool:
        """Whether *operation* takes an input of *length* bytes (ruling 11)."""
        match operation:
            case 0x00:
                return 1 <= length <= _LONGEST_BLOCK
            case 0x02 | 0x04:
                return length == _DIGEST
            case _:
                return length >= 1

    def sign(self, operation: int, data: bytes) -> bytes:
        """Return the signature that *operation* makes of *data*; PSS with MGF1-SHA-256 and salt 32 (ruling 11)."""
        match operation:
            case 0x00:  # the caller gives the DigestInfo, or whatever else: it is padded as it is
                return self.private.sign(data, padding.PKCS1v15(), NoDigestInfo())
            case 0x01:  # the bare hash is padded, without a DigestInfo
                return self.private.sign(hashlib.sha256(data).digest(), padding.PKCS1v15(), NoDigestInfo())
            case 0x02:
                return self.private.sign(data, padding.PKCS1v15(), Prehashed(SHA256()))
            case 0x03:
                return self.private.sign(data, padding.PKCS1v15(), SHA256())
            case 0x04:
                return self.private.sign(data, _PSS, Prehashed(SHA256()))
            case 0x05:
                return self.private.sign(data, _PSS, SHA256())
            case _:
                raise ValueError(f"an RSA key has no operation {operation:02X}")


@dataclass(frozen=True, slots=True)
class CurveKey:
    """A P-384 key of the next generation of cards (hypothetical, ruling 28)."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def signature_length(self) -> int:
        """How many bytes a signature has."""
        return 2 * _CURVE_LENGTH

    def takes(self, operation: int, length: int) -> bool:
        """Whether *operation* takes an input of *length* bytes."""
        return length == _CURVE_LENGTH if operation == 0x02 else length >= 1

    def sign(self, operation: int, data: bytes) -> bytes:
        """Return the signature r‖s that *operation* makes of *data*: a digest for 02, a message for 03."""
        match operation:
            case 0x02:
                return _side_by_side(self.private.sign(data, ec.ECDSA(Prehashed(SHA384()))))
            case 0x03:
                return sign_message(self.private, data)
            case _:
                raise ValueError(f"a curve key has no operation {operation:02X}")


def sign_message(key: PrivateKey, message: bytes) -> bytes:
    """Return the signature over *message* as cards and their certificates have it, whichever kind *key* is."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), SHA256())
    return _side_by_side(key.sign(message, ec.ECDSA(SHA384())))


def _side_by_side(encoded: bytes) -> bytes:
    r, s = decode_dss_signature(encoded)
    return r.to_bytes(_CURVE_LENGTH) + s.to_bytes(_CURVE_LENGTH)
