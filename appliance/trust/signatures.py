"""
Which signatures on certificates, CRLs and OCSP answers count: a list, and nothing that is not on it.

RSA of at least 2,048 bits, PKCS#1 v1.5 with SHA-256; ECDSA on P-256 with SHA-256 and on P-384 with SHA-384. The JPKI
uses the first (card facts 3.1); a next generation could use the others (ruling 28).
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.x509.oid import SignatureAlgorithmOID

SMALLEST_MODULUS: Final = 2_048
"""Bits."""

_RSA_HASHES: Final = {SignatureAlgorithmOID.RSA_WITH_SHA256: SHA256}
_EC_HASHES: Final = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: SHA384,
}
_CURVE_HASHES: Final = {"secp256r1": SHA256, "secp384r1": SHA384}

ALGORITHMS: Final = frozenset({*_RSA_HASHES, *_EC_HASHES})
"""Signature algorithms that count."""


def is_strong(key: object) -> bool:
    """Tell whether *key* is of a kind and size that counts."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= SMALLEST_MODULUS
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVE_HASHES


def verified(
    key: object, algorithm: x509.ObjectIdentifier, signature: bytes, signed: Iterable[bytes | memoryview]
) -> bool:
    """
    Tell whether *signature* is one that counts, by *key*, over the pieces *signed* one after another.

    The pieces are hashed where they lie, so a list of a hundred megabytes is not copied.
    """
    if not is_strong(key):
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm in _RSA_HASHES:
            rsa_hash = _RSA_HASHES[algorithm]()
            key.verify(signature, _digest(rsa_hash, signed), padding.PKCS1v15(), Prehashed(rsa_hash))
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm in _EC_HASHES:
            ec_hash = _EC_HASHES[algorithm]()
            if not isinstance(ec_hash, _CURVE_HASHES[key.curve.name]):
                return False
            key.verify(signature, _digest(ec_hash, signed), ec.ECDSA(Prehashed(ec_hash)))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _digest(kind: HashAlgorithm, pieces: Iterable[bytes | memoryview]) -> bytes:
    digest = hashlib.new(kind.name)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
