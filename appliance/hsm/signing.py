"""
Signatures that have been checked: whatever the module returns, only what the pinned public key verifies goes on.

That is not mistrust of arithmetic. A key object kept over a re-initialisation was seen to sign with another key,
and for EC keys the link from the public to the private object is an attribute anyone can write.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from pkcs11.types import PrivateKey, SignMixin

from appliance.errors import HsmKeyUnsafe, HsmSigningFailed
from appliance.hsm.messages import Role
from appliance.hsm.token import MECHANISMS, PublicKey, mapped

_CANARY_PREFIX = b"jpki-appliance canary v1\0"
"""No challenge is this long, and a zero byte is in no signing input: a canary's signature fits nothing else."""
_CANARY_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key in the token, with the *pinned* public key its signatures have to verify with."""

    role: Role
    private: PrivateKey
    pinned: PublicKey

    def sign(self, message: bytes) -> bytes:
        """
        Return the signature over SHA-256 of *message*, or raise HsmSigningFailed.

        RSA gives PKCS#1 v1.5. ECDSA gives DER (ECDSA-Sig-Value), as `cryptography` does, though the module returns
        the bare r and s.
        """
        if not isinstance(self.private, SignMixin):
            raise HsmKeyUnsafe(f"the {self.role} key cannot sign")
        # CKM_ECDSA_SHA256 is not known to every module; hashing here is the same everywhere.
        to_sign = message if isinstance(self.pinned, rsa.RSAPublicKey) else hashlib.sha256(message).digest()
        with mapped(HsmSigningFailed, f"signing with the {self.role} key"):
            signature = self.private.sign(to_sign, mechanism=MECHANISMS[self.role])
        if isinstance(self.pinned, ec.EllipticCurvePublicKey):
            half = len(signature) // 2
            signature = encode_dss_signature(
                int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
            )
        self._verify(signature, message)
        return signature

    def canary(self) -> float:
        """Sign and verify a message nobody else chose; return the seconds that took."""
        message = _CANARY_PREFIX + secrets.token_bytes(_CANARY_RANDOM_BYTES)
        began = time.monotonic()
        self.sign(message)
        return time.monotonic() - began

    def _verify(self, signature: bytes, message: bytes) -> None:
        try:
            if isinstance(self.pinned, rsa.RSAPublicKey):
                self.pinned.verify(signature, message, padding.PKCS1v15(), SHA256())
            else:
                self.pinned.verify(signature, message, ec.ECDSA(SHA256()))
        except InvalidSignature as error:
            raise HsmSigningFailed(
                f"the pinned public key does not verify what the {self.role} key signed"
            ) from error
