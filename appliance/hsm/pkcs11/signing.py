"""
Signatures that have been checked: whatever the module returns, only what the pinned public key verifies goes on.

That is not mistrust of arithmetic. A key object kept over a re-initialisation was seen to sign with another key,
and for EC keys the link from the public to the private object is an attribute anyone can write.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from pkcs11 import Mechanism
from pkcs11.types import PrivateKey, SignMixin

from appliance.errors import HsmKeyUnsafe, HsmSigningFailed
from appliance.hsm.messages import Role
from appliance.hsm.pkcs11.token import PublicKey, mapped, mechanism
from appliance.hsm.vendor import Vendor

_CANARY_PREFIX = b"jpki-appliance canary v1\0"
"""No challenge is this long, and a zero byte is in no signing input: a canary's signature fits nothing else."""
_CANARY_RANDOM_BYTES = 32
_SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""DER of DigestInfo for SHA-256 up to the digest itself (RFC 8017 §9.2, note 1)."""

_PKCS1V15, _SHA256, _SHA384 = padding.PKCS1v15(), SHA256(), SHA384()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key in the token, with the *pinned* public key its signatures have to verify with."""

    vendor: Vendor
    role: Role
    private: PrivateKey
    pinned: PublicKey

    def sign(self, message: bytes) -> bytes:
        """
        Return the signature over *message*, or raise HsmSigningFailed.

        RSA gives PKCS#1 v1.5 over SHA-256. ECDSA gives DER (ECDSA-Sig-Value), as `cryptography` does, whatever the
        module returns: over SHA-256 on P-256, over SHA-384 on P-384. Ed25519 gives RFC 8032's 64 bytes.
        """
        bare, how = self.bare(message)
        with mapped(HsmSigningFailed, f"signing with the {self.role} key"):
            signature = bare()
        if how is Mechanism.ECDSA and self.vendor.signing.ecdsa_signature == "raw":
            half = len(signature) // 2
            signature = encode_dss_signature(
                int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
            )
        self._verify(signature, message)
        return signature

    def bare(self, message: bytes) -> tuple[Callable[[], bytes], Mechanism]:
        """Return what has the module sign *message*, and nothing else, with the mechanism; raise HsmKeyUnsafe."""
        private = self.private
        if not isinstance(private, SignMixin):
            raise HsmKeyUnsafe(f"the {self.role} key cannot sign")
        on_curve = isinstance(self.pinned, ec.EllipticCurvePublicKey)
        how = mechanism(self.vendor, self.role, on_curve=on_curve)
        hashed = prepared(message, how, _hash(self.pinned).name)
        return lambda: private.sign(hashed, mechanism=how), how

    def canary(self) -> float:
        """Sign and verify a message nobody else chose; return the seconds that took."""
        message = canary_message()
        began = time.monotonic()
        self.sign(message)
        return time.monotonic() - began

    def _verify(self, signature: bytes, message: bytes) -> None:
        try:
            if isinstance(self.pinned, rsa.RSAPublicKey):
                self.pinned.verify(signature, message, _PKCS1V15, _SHA256)
            elif isinstance(self.pinned, ec.EllipticCurvePublicKey):
                self.pinned.verify(signature, message, ec.ECDSA(_hash(self.pinned)))
            else:
                self.pinned.verify(signature, message)
        except InvalidSignature as error:
            raise HsmSigningFailed(
                f"the pinned public key does not verify what the {self.role} key signed"
            ) from error


def canary_message() -> bytes:
    """Return a message whose signature is good for nothing."""
    return _CANARY_PREFIX + secrets.token_bytes(_CANARY_RANDOM_BYTES)


def _hash(key: PublicKey) -> SHA256 | SHA384:
    """Return what is signed of a message: a hash as long as the curve, and SHA-256 with RSA."""
    return _SHA384 if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size > 256 else _SHA256


def prepared(message: bytes, how: Mechanism, hash_name: str = "sha256") -> bytes:
    """Return what the mechanism *how* is given of *message*: modules differ in what they hash themselves."""
    if how is Mechanism.RSA_PKCS:
        return _SHA256_DIGEST_INFO + hashlib.sha256(message).digest()
    # CKM_ECDSA_SHA256 is not known to every module; hashing here is the same everywhere.
    return hashlib.new(hash_name, message).digest() if how is Mechanism.ECDSA else message
