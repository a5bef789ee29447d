"""
OCSP (RFC 6960): what to ask, and whether an answer is the issuer's, to this question, and of this time.

`cryptography` writes and reads the messages; everything that makes an answer count is decided here.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.errors import RevocationDataInvalid, RevocationDefect
from appliance.trust import signatures
from appliance.trust.certificates import HolderCertificate, is_valid, issued_by
from appliance.trust.revocation import require_time

NONCE_LENGTH: Final = 32
"""Bytes, RFC 9654 §2.1."""
LARGEST: Final = 64 << 10
"""Bytes of an answer. Real ones have about 2,000."""
FRESH: Final = timedelta(minutes=5)
"""How old an answer may be that does not say until when it counts."""


class Status(StrEnum):
    """What the responder says of a certificate (RFC 6960 §2.2)."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that counts, made by `verify` alone. Without *next_update* it counts for now and is not kept."""

    status: Status
    this_update: datetime
    next_update: datetime | None


class Identifier(StrEnum):
    """
    The hash by which a request names the certificate's issuer (CertID, RFC 6960 §4.1.1).

    It says which certificate is meant, and nothing rests on its strength: who answers has to be authorised by the
    issuer's own key. SHA-1 is what RFC 5019 (§2.1.1) has high-volume responders index by.
    """

    SHA256 = "sha256"
    SHA1 = "sha1"


def request(holder: HolderCertificate, nonce: bytes, identifier: Identifier = Identifier.SHA256) -> bytes:
    """Return the DER of a request about *holder*, named by *identifier*, with *nonce*."""
    named = SHA1() if identifier is Identifier.SHA1 else SHA256()  # noqa: S303  # an identifier, as its class says
    return (
        ocsp.OCSPRequestBuilder()
        .add_certificate(holder.certificate, holder.issuer, named)
        .add_extension(x509.OCSPNonce(nonce), critical=False)
        .build()
        .public_bytes(Encoding.DER)
    )


def verify(der: bytes, holder: HolderCertificate, nonce: bytes, now: datetime) -> Answer:
    """
    Return what the response *der* says of *holder* at *now*, or raise RevocationDataInvalid with the reason.

    Checks, in this order, and nothing else (RFC 6960 §3.2):
      1. it is a successful response in DER of at most LARGEST bytes, without unknown critical extensions;
      2. it is about this certificate of this issuer, and about nothing else;
      3. its signer is authorised: the issuer itself, or one to whom the issuer's same key gave a certificate for
         OCSP signing that is valid and need not be checked for revocation (RFC 6960 §4.2.2.2);
      4. the signature, with an algorithm on the list;
      5. the nonce is ours;
      6. it is not of the future, and not over; one that does not end is at most FRESH.
    """
    response = _parse(der)
    _require_certificate(response, holder)
    signer = _signer(response, holder.issuer, now)
    algorithm = response.signature_algorithm_oid
    if algorithm not in signatures.ALGORITHMS:
        raise RevocationDataInvalid(
            RevocationDefect.ALGORITHM, "the answer is signed with an algorithm not allowed"
        )
    if not signatures.verified(
        signer.public_key(), algorithm, response.signature, [response.tbs_response_bytes]
    ):
        raise RevocationDataInvalid(RevocationDefect.SIGNATURE, "the answer's signature is not its signer's")
    if _nonce(response) != nonce:
        raise RevocationDataInvalid(
            RevocationDefect.NONCE, "the answer is not to this request: its nonce differs"
        )
    this_update, next_update = response.this_update_utc, response.next_update_utc
    require_time(now, this_update, next_update)
    require_time(now, response.produced_at_utc, None)
    if next_update is None and this_update + FRESH < now:
        raise RevocationDataInvalid(
            RevocationDefect.STALE, "the answer is old and does not say how long it counts"
        )
    status = {
        ocsp.OCSPCertStatus.GOOD: Status.GOOD,
        ocsp.OCSPCertStatus.REVOKED: Status.REVOKED,
        ocsp.OCSPCertStatus.UNKNOWN: Status.UNKNOWN,
    }[response.certificate_status]
    return Answer(status, this_update, next_update)


def _parse(der: bytes) -> ocsp.OCSPResponse:
    if len(der) > LARGEST:
        raise RevocationDataInvalid(RevocationDefect.TOO_LARGE, f"the answer has more than {LARGEST} bytes")
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise RevocationDataInvalid(
                RevocationDefect.RESPONDER, f"the responder says {response.response_status.name.lower()}"
            )
        if len(list(response.responses)) != 1:
            raise RevocationDataInvalid(
                RevocationDefect.CERTIFICATE, "the answer is not about one certificate"
            )
        # Parsed only when looked at: what cannot be read is refused here.
        _ = (
            response.certificates,
            response.hash_algorithm,
            response.certificate_status,
            response.produced_at_utc,
        )
        _ = response.serial_number, response.this_update_utc, response.next_update_utc
        _ = response.signature_algorithm_oid
        critical = [
            e for found in (response.extensions, response.single_extensions) for e in found if e.critical
        ]
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
        Warning,
    ) as error:
        raise RevocationDataInvalid(
            RevocationDefect.MALFORMED, "the answer is no OCSP response in DER"
        ) from error
    if any(extension.oid != x509.OCSPNonce.oid for extension in critical):
        raise RevocationDataInvalid(
            RevocationDefect.EXTENSION, "the answer has a critical extension that is unknown"
        )
    return response


def _require_certificate(response: ocsp.OCSPResponse, holder: HolderCertificate) -> None:
    """Compare with the certificate's CertID (RFC 6960 §4.1.1), by the hash that the answer uses: one of Identifier."""
    named = response.hash_algorithm
    if not isinstance(named, SHA256 | SHA1):
        raise RevocationDataInvalid(
            RevocationDefect.CERTIFICATE, "the answer names its certificate by another hash"
        )
    asked = ocsp.OCSPRequestBuilder().add_certificate(holder.certificate, holder.issuer, named).build()
    names = ("serial_number", "issuer_key_hash", "issuer_name_hash")
    if any(getattr(response, name) != getattr(asked, name) for name in names):
        raise RevocationDataInvalid(RevocationDefect.CERTIFICATE, "the answer is about another certificate")


def _signer(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> x509.Certificate:
    candidates = [issuer, *response.certificates]
    for candidate in candidates:
        if _is_named(response, candidate) and (candidate == issuer or _is_delegate(candidate, issuer, now)):
            return candidate
    raise RevocationDataInvalid(
        RevocationDefect.RESPONDER, "the answer's signer is not authorised by the issuer"
    )


def _is_named(response: ocsp.OCSPResponse, candidate: x509.Certificate) -> bool:
    """Tell whether *candidate* is whom the response names as its signer, by name or by key."""
    if response.responder_name is not None:
        return response.responder_name == candidate.subject
    # RFC 6960 §4.2.1: SHA-1 over the key's BIT STRING. A name, on whose strength nothing rests.
    key = candidate.public_key()
    spki = x509.SubjectKeyIdentifier.from_public_key(key).digest
    return response.responder_key_hash == spki


def _is_delegate(candidate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> bool:
    if not (is_valid(candidate, now) and issued_by(issuer, candidate)):
        return False
    try:
        extensions = candidate.extensions
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        extensions.get_extension_for_class(x509.OCSPNoCheck)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return False
    return (
        ExtendedKeyUsageOID.OCSP_SIGNING in purposes
        and usage.digital_signature
        and candidate.signature_algorithm_oid in signatures.ALGORITHMS
    )


def _nonce(response: ocsp.OCSPResponse) -> bytes | None:
    try:
        return response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None
