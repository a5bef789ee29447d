"""
The holder's certificate: whose it is, who issued it, whether it is one for user authentication.

The JPKI policy is declared to `cryptography`'s path builder. All generations of the CA have one name, so the
issuer is found by signature among the configured anchors (card facts 3.1). Time is an argument. The pseudonymous
subject holds a municipality code, and is not looked into: nothing here needs it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self, TypeVar

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
    Defect,
    Distrust,
    TrustError,
)
from appliance.trust import signatures

E = TypeVar("E", bound=x509.ExtensionType)
_UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

USER_AUTHENTICATION: Final = x509.ObjectIdentifier("1.2.392.200149.8.5.1.3.30")
"""Policy of certificates for user authentication (利用者証明用), card facts 3.2."""
UNDERSTOOD: Final = frozenset(
    {
        x509.KeyUsage.oid,
        x509.CertificatePolicies.oid,
        x509.BasicConstraints.oid,
        x509.CRLDistributionPoints.oid,
    }
)
"""Extensions that a holder's certificate may mark critical (RFC 5280 §4.2)."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """The CA certificates that are believed; at least one."""

    certificates: tuple[x509.Certificate, ...]
    policy: PolicyBuilder = field(init=False, repr=False, compare=False)
    """The path builder's, but for the time; the newest first: most cards are of its generation."""

    def __post_init__(self) -> None:
        if not self.certificates:
            raise ConfigInvalid("there is no CA certificate to believe")
        if not all(_may_issue(certificate) for certificate in self.certificates):
            raise ConfigInvalid("a certificate among those to believe is no CA's, or its key is too weak")
        newest_first = sorted(self.certificates, key=lambda ca: ca.not_valid_before_utc, reverse=True)
        policy = (
            PolicyBuilder()
            .store(Store(newest_first))
            .max_chain_depth(1)
            .extension_policies(ca_policy=_AUTHORITY, ee_policy=_END_ENTITY)
        )
        object.__setattr__(self, "policy", policy)

    def named(self, name: x509.Name) -> list[x509.Certificate]:
        """Return the anchors called *name*: all generations of one CA."""
        return [anchor for anchor in self.certificates if anchor.subject == name]

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
    refusal = CertificateMalformed("the card's certificate file holds no X.509 certificate")
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Parsed only when looked at: what every decision needs is read here. Extensions are the path builder's first,
        # and `extensions` below is for whoever needs more of them: reading all costs as much as two signatures.
        certificate.public_key()
    except (*_UNREADABLE, Warning) as error:
        # The library warns of some forms that RFC 5280 forbids; where warnings are errors, that is a refusal too.
        raise refusal from error
    if certificate.serial_number <= 0:
        # The library still warns where RFC 5280 §4.1.2.2 forbids.
        raise refusal
    return certificate


def verify(certificate: x509.Certificate, anchors: Anchors, now: datetime) -> HolderCertificate:
    """
    Return *certificate* as one that can be believed at *now*, or refuse.

    Checks, in this order, and nothing else:
      1. one of *anchors* signed it, and was valid at *now*: otherwise CertificateUntrusted;
      2. it is no CA's certificate (this and the next five: CertificateUnsuitable with the reason);
      3. its signature algorithm is on the list;
      4. its key is of a kind and size that counts;
      5. its key usage is critical, and is to sign and not to issue;
      6. it is under the JPKI policy for user authentication;
      7. it has no critical extension that is not understood;
      8. the path builder, which knows the rest of RFC 5280 §6.1, finds the path: the same;
      9. it is valid at *now*: otherwise CertificateExpired or CertificateNotYetValid.

    Revocation is the caller's duty.
    """
    try:
        holder = _path(certificate, anchors, now)
    except VerificationError as error:
        # The path builder says only that it failed. Which check it was shows by asking one after another.
        raise _refusal(certificate, anchors, now) from error
    # The path builder has its own, longer lists of both.
    for reason, holds in ((Defect.SIGNATURE_ALGORITHM, _is_signed_as_allowed), (Defect.KEY, _has_strong_key)):
        if not holds(certificate, None):
            raise _unfit(reason)
    return holder


def extensions(certificate: x509.Certificate) -> x509.Extensions:
    """Return all extensions of *certificate*, or raise CertificateMalformed."""
    try:
        return certificate.extensions
    except (*_UNREADABLE, Warning) as error:
        raise CertificateMalformed("the certificate's extensions cannot be read") from error


def issued_by(anchor: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Tell whether the key of *anchor*, by its name and signature, issued *certificate*."""
    try:
        certificate.verify_directly_issued_by(anchor)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    """Tell whether *now* lies within the dates of *certificate*, both ends included (RFC 5280 §4.1.2.5)."""
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _path(certificate: x509.Certificate, anchors: Anchors, at: datetime) -> HolderCertificate:
    chain = anchors.policy.time(at).build_client_verifier().verify(certificate, []).chain
    if len(chain) != 2:
        raise VerificationError("an anchor is no holder")
    return HolderCertificate(chain[0], chain[1])


def _refusal(certificate: x509.Certificate, anchors: Anchors, now: datetime) -> TrustError:
    """Return why there is no path for *certificate* at *now*."""
    issuers = [anchor for anchor in anchors.certificates if issued_by(anchor, certificate)]
    if not issuers:
        return CertificateUntrusted(Distrust.NO_ISSUER, "no configured CA issued the holder's certificate")
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    inside = min(max(now, start), end)
    # A holder's certificate that has ended is that, also where its CA has ended since.
    if not any(is_valid(issuer, inside) for issuer in issuers):
        return CertificateUntrusted(
            Distrust.ISSUER_NOT_VALID, "the CA that issued the holder's certificate is not valid at this time"
        )
    _require_fitness(certificate)
    try:
        _path(certificate, anchors, inside)
    except VerificationError as error:
        return CertificateUnsuitable(Defect.PATH, f"there is no path to the issuer: {error}")
    if now > end:
        return CertificateExpired(f"the holder's certificate ended on {end:%Y-%m-%d}")
    return CertificateNotYetValid(f"the holder's certificate begins on {start:%Y-%m-%d}")


def _require_fitness(certificate: x509.Certificate) -> None:
    """Make checks 2 to 7 one by one: the path builder, which made them already, does not say which one failed."""
    found = extensions(certificate)
    for reason, holds in _CHECKS:
        if not holds(certificate, found):
            raise _unfit(reason)


def _unfit(reason: Defect) -> CertificateUnsuitable:
    return CertificateUnsuitable(reason, f"the holder's certificate fails the check '{reason}'")


def _is_signed_as_allowed(certificate: x509.Certificate, _: x509.Extensions | None) -> bool:
    return certificate.signature_algorithm_oid in signatures.ALGORITHMS


def _has_strong_key(certificate: x509.Certificate, _: x509.Extensions | None) -> bool:
    return signatures.is_strong(certificate.public_key())


def _is_end_entity(_: x509.Certificate, found: x509.Extensions) -> bool:
    constraints = _extension(found, x509.BasicConstraints)
    return constraints is None or not constraints.value.ca


def _signs_and_does_not_issue(_: x509.Certificate, found: x509.Extensions) -> bool:
    usage = _extension(found, x509.KeyUsage)
    return usage is not None and usage.critical and _only_signs(usage.value)


def _is_for_user_authentication(_: x509.Certificate, found: x509.Extensions) -> bool:
    policies = _extension(found, x509.CertificatePolicies)
    return policies is not None and _names_the_policy(policies.value)


def _is_understood(_: x509.Certificate, found: x509.Extensions) -> bool:
    return all(extension.oid in UNDERSTOOD for extension in found if extension.critical)


def _only_signs(usage: x509.KeyUsage) -> bool:
    return usage.digital_signature and not usage.key_cert_sign and not usage.crl_sign


def _names_the_policy(policies: x509.CertificatePolicies) -> bool:
    return any(policy.policy_identifier == USER_AUTHENTICATION for policy in policies)


def _extension(found: x509.Extensions, kind: type[E]) -> x509.Extension[E] | None:
    try:
        return found.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


_CHECKS: Final[tuple[tuple[Defect, Callable[[x509.Certificate, x509.Extensions], bool]], ...]] = (
    (Defect.AUTHORITY, _is_end_entity),
    (Defect.SIGNATURE_ALGORITHM, _is_signed_as_allowed),
    (Defect.KEY, _has_strong_key),
    (Defect.KEY_USAGE, _signs_and_does_not_issue),
    (Defect.POLICY, _is_for_user_authentication),
    (Defect.CRITICAL_EXTENSION, _is_understood),
)


def _require_no_authority(
    _: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints | None
) -> None:
    if constraints is not None and constraints.ca:
        raise ValueError(Defect.AUTHORITY)


def _require_usage(_: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage) -> None:
    if not _only_signs(usage):
        raise ValueError(Defect.KEY_USAGE)


def _require_policy(_: Policy, _certificate: x509.Certificate, policies: x509.CertificatePolicies) -> None:
    if not _names_the_policy(policies):
        raise ValueError(Defect.POLICY)


def _may_issue(certificate: x509.Certificate) -> bool:
    """Tell whether *certificate* is a CA's whose key counts. Asked once, when anchors are made."""
    found = extensions(certificate)
    constraints, usage = _extension(found, x509.BasicConstraints), _extension(found, x509.KeyUsage)
    return (
        constraints is not None
        and constraints.value.ca
        and usage is not None
        and usage.value.key_cert_sign
        and signatures.is_strong(certificate.public_key())
    )


_AUTHORITY: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
    .require_present(x509.KeyUsage, Criticality.CRITICAL, None)
)
_END_ENTITY: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.KeyUsage, Criticality.CRITICAL, _require_usage)
    .require_present(x509.CertificatePolicies, Criticality.AGNOSTIC, _require_policy)
    .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _require_no_authority)
    .may_be_present(x509.CRLDistributionPoints, Criticality.AGNOSTIC, None)
)
