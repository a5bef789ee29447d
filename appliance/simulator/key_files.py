"""Keys as files: PEM, and private ones for their owner alone from the first byte on."""

import os
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from appliance.card.algorithm import PublicKey

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_BITS = 2048


def new_key(bits: int = _BITS) -> rsa.RSAPrivateKey:
    """Return a new RSA key."""
    return rsa.generate_private_key(65_537, bits)


def new_curve_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key on P-384, for the next generation of cards."""
    return ec.generate_private_key(ec.SECP384R1())


def private_pem(key: PrivateKey) -> bytes:
    """Return *key* as PKCS#8 PEM, not encrypted: it is a key of made-up parties."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: PublicKey) -> bytes:
    """Return *key* as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_private(path: Path, content: bytes) -> None:
    """Write *content* to *path*, readable and writable by the owner alone, also where the file was there before."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)


def read_private(path: Path) -> rsa.RSAPrivateKey:
    """Return the RSA key in *path*. Raises ValueError for another kind of key."""
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{path} holds no RSA key")  # noqa: TRY004 - the content is wrong, not the argument
    return key


def read_either_private(path: Path) -> PrivateKey:
    """Return the RSA or elliptic curve key in *path*. Raises ValueError for another kind of key."""
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds neither an RSA nor an elliptic curve key")  # noqa: TRY004 - as above
    return key


def read_public(path: Path) -> PublicKey:
    """Return the RSA or elliptic curve public key in *path*. Raises ValueError for another kind of key."""
    key = load_pem_public_key(path.read_bytes())
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ValueError(f"{path} holds neither an RSA nor an elliptic curve key")  # noqa: TRY004 - as above
    return key
