"""
The holder's certificate: whose it is, who issued it, whether it is one for user authentication.

The JPKI policy is declared to `cryptography`'s path builder. All generations of the CA have one name, so the
issuer is found by signature among the configured anchors (card facts 3.1). Time is an argument.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from appliance.card.algorithm import PublicKey
from appliance.errors import (
    CertificateExpired,
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateUnsuitable,
    CertificateUntrusted,
    ConfigInvalid,
)

USER_AUTHENTICATION: Final = x509.ObjectIdentifier("1.2.392.200149.8.5.1.3.30")
"""Policy of certificates for user authentication (利用者証明用), card facts 3.2."""
SMALLEST_MODULUS: Final = 2048
"""Bits. The path builder holds issuers to its own minimum, and leaves the holder's key to us."""
CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
"""Curves that a holder's key may be on."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """The CA certificates that are believed; at least one."""

    certificates: tuple[x509.Certificate, ...]

    def __post_init__(self) -> None:
        if not self.certificates:
            raise ConfigInvalid("there is no CA certificate to believe")

    @classmethod
    def from_pem(cls, files: Iterable[bytes]) -> Self:
        """Return the anchors in PEM *files*, or raise ConfigInvalid."""
        found: list[x509.Certificate] = []
        for number, pem in enumerate(files, start=1):
            try:
                found += x509.load_pem_x509_certificates(pem)
            except ValueError as error:
                raise ConfigInvalid(f"CA file {number} holds no PEM certificate") from error
        return cls(tuple(found))


@dataclass(frozen=True, slots=True)
class HolderCertificate:
    """A certificate that a configured CA issued for user authentication, with its *issuer*."""

    certificate: x509.Certificate
    issuer: x509.Certificate

    @property
    def public_key(self) -> PublicKey:
        """The holder's key; its kind was checked with the certificate."""
        key = self.certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            raise TypeError("a holder's key is an RSA or an elliptic curve key")
        return key

    @property
    def not_after(self) -> datetime:
        """When the certificate ends."""
        return self.certificate.not_valid_after_utc


def parse(der: bytes) -> x509.Certificate:
    """Return the certificate in *der*, or raise CertificateMalformed."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Parsed only when looked at: what cannot be read is refused here and not in the middle of a decision.
        _ = certificate.extensions, certificate.public_key(), certificate.subject, certificate.issuer
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise CertificateMalformed("the card's certificate file holds no X.509 certificate") from error
    return certificate


def verify(certificate: x509.Certificate, anchors: Anchors, now: datetime) -> HolderCertificate:
    """
    Return *certificate* as one that can be believed at *now*, or refuse.

    Checks, in this order, and nothing else:
      1. one of *anchors*, valid at *now*, signed it: otherwise CertificateUntrusted;
      2. it is valid at *now*: otherwise CertificateExpired or CertificateNotYetValid;
      3. it is an end entity for user authentication: a critical key usage of digitalSignature and nothing
         that issues, the JPKI policy, no other critical extension, an RSA key of at least 2,048 bits or one
         on P-256 or P-384: otherwise CertificateUnsuitable.

    Revocation is the caller's duty.
    """
    try:
        return _verify(certificate, anchors, now)
    except VerificationError as error:
        refusal = error
    # The path builder says only that it failed. Which check it was shows by asking one after another.
    inside = min(max(now, certificate.not_valid_before_utc), certificate.not_valid_after_utc)
    if not any(_issued(anchor, certificate, inside) for anchor in anchors.certificates):
        raise CertificateUntrusted("no configured CA issued the holder's certificate") from refusal
    try:
        _verify(certificate, anchors, inside)
    except VerificationError as error:
        raise CertificateUnsuitable("the certificate is not one for user authentication") from error
    if now > inside:
        raise CertificateExpired(f"the holder's certificate ended on {inside:%Y-%m-%d}") from refusal
    raise CertificateNotYetValid(f"the holder's certificate begins on {inside:%Y-%m-%d}") from refusal


def _verify(certificate: x509.Certificate, anchors: Anchors, at: datetime) -> HolderCertificate:
    verifier = (
        PolicyBuilder()
        .store(Store(list(anchors.certificates)))
        .time(at)
        .max_chain_depth(1)
        .extension_policies(ca_policy=_AUTHORITY, ee_policy=_END_ENTITY)
        .build_client_verifier()
    )
    chain = verifier.verify(certificate, []).chain
    if len(chain) != 2:
        raise VerificationError("an anchor is no holder")
    return HolderCertificate(chain[0], chain[1])


def _issued(anchor: x509.Certificate, certificate: x509.Certificate, at: datetime) -> bool:
    """Tell whether *anchor*, valid at the time *at*, signed *certificate*."""
    try:
        certificate.verify_directly_issued_by(anchor)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return anchor.not_valid_before_utc <= at <= anchor.not_valid_after_utc


def _signs_and_does_not_issue(_: Policy, certificate: x509.Certificate, usage: x509.KeyUsage) -> None:
    if not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise ValueError("key usage is not that of an end entity that signs")
    key = certificate.public_key()
    strong_rsa = isinstance(key, rsa.RSAPublicKey) and key.key_size >= SMALLEST_MODULUS
    known_curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES)
    if not (strong_rsa or known_curve):
        raise ValueError("the key is neither RSA of at least 2,048 bits nor on a curve that is allowed")


def _is_for_user_authentication(
    _: Policy, _certificate: x509.Certificate, policies: x509.CertificatePolicies
) -> None:
    if USER_AUTHENTICATION not in {policy.policy_identifier for policy in policies}:
        raise ValueError("the policy for user authentication is not among the certificate's")


def _is_no_authority(
    _: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints | None
) -> None:
    if constraints is not None and constraints.ca:
        raise ValueError("the certificate is a CA's")


def _issues(_: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage) -> None:
    if not usage.key_cert_sign:
        raise ValueError("key usage is not that of a CA")


_AUTHORITY: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
    .require_present(x509.KeyUsage, Criticality.CRITICAL, _issues)
)
_END_ENTITY: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.KeyUsage, Criticality.CRITICAL, _signs_and_does_not_issue)
    .require_present(x509.CertificatePolicies, Criticality.AGNOSTIC, _is_for_user_authentication)
    .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_no_authority)
)
