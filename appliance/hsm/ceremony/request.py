"""
The PKCS#10 request by which the institution asks for a certificate of its new key.

This is the one time that the institution key signs bytes that are neither a card's challenge nor a message of ours
with a prefix: a CertificationRequestInfo, hundreds of bytes long, before the key has any certificate and so before a
card would believe it anything. The worker that holds the key in service has no verb for it.
"""

from collections.abc import Callable
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    PrivateFormat,
)

from appliance.errors import TranscriptInvalid
from appliance.hsm.ceremony.plan import RequestPlan
from appliance.hsm.ceremony.subject import distinguished_name


class KeyInToken(rsa.RSAPrivateKey):
    """An RSA key as `cryptography` asks for one; *sign* has the token sign a message with PKCS#1 v1.5 and SHA-256."""

    def __init__(self, public: rsa.RSAPublicKey, sign: Callable[[bytes], bytes]) -> None:
        self._public = public
        self._sign = sign

    @property
    def key_size(self) -> int:
        """Bits of the modulus."""
        return self._public.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        """Return the public half."""
        return self._public

    def sign(self, data: bytes, padding: AsymmetricPadding, algorithm: object) -> bytes:
        """Return the token's signature over *data*; other paddings and hashes than its one mechanism's are refused."""
        if not (isinstance(padding, PKCS1v15) and isinstance(algorithm, SHA256)):
            raise TypeError("the key signs with PKCS#1 v1.5 and SHA-256 alone")
        return self._sign(bytes(data))

    def decrypt(self, ciphertext: bytes, padding: AsymmetricPadding) -> NoReturn:  # noqa: ARG002 - never happens
        """Refuse: the key signs."""
        raise TypeError("the key only signs")

    def private_numbers(self) -> NoReturn:
        """Refuse: the key stays in the token."""
        raise TypeError("the key stays in the token")

    def private_bytes(
        self,
        encoding: Encoding,  # noqa: ARG002 - never happens
        format: PrivateFormat,  # noqa: A002, ARG002 - as the base class calls it
        encryption_algorithm: KeySerializationEncryption,  # noqa: ARG002 - never happens
    ) -> NoReturn:
        """Refuse: the key stays in the token."""
        raise TypeError("the key stays in the token")

    def __copy__(self) -> NoReturn:
        raise TypeError("the key stays in the token")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("the key stays in the token")


def make(plan: RequestPlan, public: rsa.RSAPublicKey, sign: Callable[[bytes], bytes]) -> str:
    """Return the request (PEM) that *plan* describes for *public*, signed by *sign*."""
    builder = x509.CertificateSigningRequestBuilder(subject_name=distinguished_name(plan.subject))
    request = builder.sign(KeyInToken(public, sign), SHA256(), rsa_padding=PKCS1v15())
    return request.public_bytes(Encoding.PEM).decode("ascii")


def check(pem: str, plan: RequestPlan, public: rsa.RSAPublicKey) -> None:
    """Raise TranscriptInvalid unless *pem* is a request of *public* for itself, and says what *plan* says."""
    try:
        request = x509.load_pem_x509_csr(pem.encode("utf-8"))
        if request.public_bytes(Encoding.PEM).decode("ascii") != pem:
            raise TranscriptInvalid("the request is not in the one form that it has")
        signed_by_itself, key, subject = request.is_signature_valid, request.public_key(), request.subject
    except ValueError as error:
        raise TranscriptInvalid("the request cannot be read") from error
    if not signed_by_itself:
        raise TranscriptInvalid("the request's signature is not by the key it is for")
    if not isinstance(key, rsa.RSAPublicKey) or key.public_numbers() != public.public_numbers():
        raise TranscriptInvalid("the request is for another key than the institution key of the transcript")
    if subject != distinguished_name(plan.subject):
        raise TranscriptInvalid("the request's subject is not the planned one")
