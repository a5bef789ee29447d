"""
Signature algorithms of cards and institutions, as a profile names them.

In the card's world an ECDSA signature is r‖s, two numbers of the curve's length (ruling 28). Which algorithm counts
is said by the profile and must fit the key; nothing is tried and nothing is guessed.
"""

from enum import StrEnum
from hashlib import sha256, sha384
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_P384_LENGTH: Final = 48


class Algorithm(StrEnum):
    """Algorithms that a profile may name. Those of UNHASHED are known only to be refused."""

    RSA_2048_PKCS1_SHA256 = "rsa-2048-pkcs1-sha256"
    ECDSA_P384_SHA384 = "ecdsa-p384-sha384"
    RSA_2048_PKCS1 = "rsa-2048-pkcs1"
    RSA_2048_RAW = "rsa-2048-raw"
    ECDSA_P384 = "ecdsa-p384"


UNHASHED: Final = frozenset({Algorithm.RSA_2048_PKCS1, Algorithm.RSA_2048_RAW, Algorithm.ECDSA_P384})
"""The card could choose what the key signs: a digest of any document would do as a challenge."""

SIGNATURE_LENGTH: Final = {
    Algorithm.RSA_2048_PKCS1_SHA256: 256,
    Algorithm.ECDSA_P384_SHA384: 2 * _P384_LENGTH,
}


def digest(algorithm: Algorithm, message: bytes) -> bytes:
    """Return the hash of *message* that *algorithm* signs."""
    return {
        Algorithm.RSA_2048_PKCS1_SHA256: sha256,
        Algorithm.ECDSA_P384_SHA384: sha384,
    }[algorithm](message).digest()


def fits(algorithm: Algorithm, key: object) -> bool:
    """Tell whether *key* is a public key for *algorithm*."""
    match algorithm:
        case Algorithm.RSA_2048_PKCS1_SHA256:
            return isinstance(key, rsa.RSAPublicKey) and key.key_size == 2_048
        case Algorithm.ECDSA_P384_SHA384:
            return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
        case Algorithm.RSA_2048_PKCS1 | Algorithm.RSA_2048_RAW | Algorithm.ECDSA_P384:
            return False


def of_key(key: PublicKey) -> Algorithm | None:
    """Return the one algorithm that *key* is used with, or None where there is none."""
    return next((algorithm for algorithm in SIGNATURE_LENGTH if fits(algorithm, key)), None)


def as_cards_write(algorithm: Algorithm, signature: bytes) -> bytes:
    """Return *signature*, as libraries and HSMs write it (ECDSA in DER), in the form cards take: r‖s (ruling 28)."""
    if algorithm is not Algorithm.ECDSA_P384_SHA384:
        return signature
    r, s = decode_dss_signature(signature)
    return r.to_bytes(_P384_LENGTH) + s.to_bytes(_P384_LENGTH)


def verified(algorithm: Algorithm, key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Tell whether *signature* is one over *message* by *key*; False as well where the key does not fit."""
    if not fits(algorithm, key) or len(signature) != SIGNATURE_LENGTH[algorithm]:
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), SHA256())
        else:
            r, s = (int.from_bytes(half) for half in (signature[:_P384_LENGTH], signature[_P384_LENGTH:]))
            key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA384()))
    except InvalidSignature:
        return False
    return True
