"""
The holders' side of the test hierarchy: CA generations, certificates of holders, CRLs, OCSP responders.

All generations have the same name and different keys, as the real ones have: an issuer is found by its
signature. Names and extensions are those of card facts 3 under rulings 25 to 27, with O=JPKI-TEST. A defect is
a keyword of what builds the thing: `certificate(key, now=now, expired=True)`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Self, TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.card.algorithm import PublicKey
from appliance.simulator.certificate_parts import (
    DAY,
    HOLDER_LIFE,
    YEAR,
    authority_key,
    ca_certificate,
    ca_name,
    distribution_point,
    jpki_name,
    name,
    new_serial,
    policies,
    usage,
    whole,
)
from appliance.simulator.key_files import new_key
from appliance.simulator.people import AOBA, Municipality, pseudonym

USER_AUTHENTICATION: Final = "1.2.392.200149.8.5.1.3.30"
"""The policy of 利用者証明用 certificates."""

_PURPOSE: Final = "user authentication"
_BEGINNINGS: Final = (8 * YEAR, 2 * YEAR)
"""How long ago each generation began: the first near its end, the second in its prime."""

CA_NAME: Final = ca_name(_PURPOSE)
_RESPONDER_NAME: Final = jpki_name(_PURPOSE, (NameOID.COMMON_NAME, "TEST OCSP Responder"))


class HolderOptions(TypedDict, total=False):
    """
    What a holder's certificate may have otherwise than usual.

    *generation* 1 or 2 issues it, for someone in *municipality*. Defects: *expired*; *not_yet_valid*; *policy*
    another one, or None for none; *authority* makes it a CA certificate; *without_usage* leaves keyUsage out;
    *foreign* signs it with a key that no generation has.
    """

    municipality: Municipality
    generation: int
    expired: bool
    not_yet_valid: bool
    policy: str | None
    authority: bool
    without_usage: bool
    foreign: bool


class CrlOptions(TypedDict, total=False):
    """
    What a CRL may have otherwise than usual.

    *generation* signs it; *life* is how long it counts; *number* is its CRLNumber. Defects: *foreign* signs it
    with a key that no generation has; *names* puts another municipality into its distribution point, or None
    leaves that out; *indirect*; *split_by_reason*.
    """

    generation: int
    life: timedelta
    number: int
    foreign: bool
    names: Municipality | None
    indirect: bool
    split_by_reason: bool


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of the CA, and the certificate it gave the OCSP responder."""

    key: rsa.RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate
    responder: x509.Certificate


@dataclass(frozen=True, slots=True)
class HolderAuthority:
    """Who certifies holders: the generations, oldest first, and the key of their OCSP responder."""

    generations: tuple[Generation, ...]
    responder_key: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def create(cls, now: datetime) -> Self:
        """Return an authority with two generations and new keys, as it would stand at *now*."""
        responder_key = new_key()
        return cls(
            tuple(_generation(responder_key.public_key(), now - age, now) for age in _BEGINNINGS),
            responder_key,
        )

    def certificate(
        self, public_key: PublicKey, *, now: datetime, **options: Unpack[HolderOptions]
    ) -> x509.Certificate:
        """Return a holder's certificate for *public_key*, issued shortly before *now*."""
        municipality = options.get("municipality", AOBA)
        number = options.get("generation", len(self.generations))
        issuer_key = new_key() if options.get("foreign") else self._generation(number).key
        start, end = self._validity(number, now, options)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name((NameOID.COUNTRY_NAME, "JP"), (NameOID.COMMON_NAME, pseudonym(municipality))))
            .issuer_name(CA_NAME)
            .public_key(public_key)
            .serial_number(new_serial())
            .not_valid_before(start)
            .not_valid_after(end)
        )
        if not options.get("without_usage"):
            builder = builder.add_extension(usage(digital_signature=True), critical=True)
        if (policy := options.get("policy", USER_AUTHENTICATION)) is not None:
            builder = builder.add_extension(policies(policy), critical=True)
        if options.get("authority"):
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(
            x509.CRLDistributionPoints([distribution_point(crl_name(municipality))]), critical=False
        )
        builder = builder.add_extension(authority_key(issuer_key), critical=False)
        return builder.sign(issuer_key, SHA256())

    def crl(
        self,
        municipality: Municipality,
        revoked: Iterable[int] = (),
        *,
        now: datetime,
        **options: Unpack[CrlOptions],
    ) -> x509.CertificateRevocationList:
        """Return the list of *municipality* at *now* with the *revoked* serial numbers (ruling 27)."""
        generation = self._generation(options.get("generation", len(self.generations)))
        signing_key = new_key() if options.get("foreign") else generation.key
        start = whole(now)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(CA_NAME)
            .last_update(start)
            .next_update(start + options.get("life", DAY))
            .add_extension(authority_key(signing_key), critical=False)
            .add_extension(x509.CRLNumber(options.get("number", int(start.timestamp()))), critical=False)
        )
        if (named := options.get("names", municipality)) is not None:
            reasons = frozenset({x509.ReasonFlags.key_compromise}) if options.get("split_by_reason") else None
            point = x509.IssuingDistributionPoint(
                full_name=[x509.DirectoryName(crl_name(named))],
                relative_name=None,
                only_contains_user_certs=False,
                only_contains_ca_certs=False,
                only_some_reasons=reasons,
                indirect_crl=options.get("indirect", False),
                only_contains_attribute_certs=False,
            )
            builder = builder.add_extension(point, critical=True)
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(start - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(signing_key, SHA256())

    def _generation(self, number: int) -> Generation:
        if not 1 <= number <= len(self.generations):
            raise ValueError(f"there is no generation {number}")
        return self.generations[number - 1]

    def _validity(self, number: int, now: datetime, options: HolderOptions) -> tuple[datetime, datetime]:
        now = whole(now)
        if options.get("expired"):
            return now - YEAR, now - DAY
        if options.get("not_yet_valid"):
            return now + DAY, now + DAY + HOLDER_LIFE
        # an old generation no longer issues: its cards are some years old, and end before it does
        age = DAY if number == len(self.generations) else 4 * YEAR
        return now - age, now - age + HOLDER_LIFE


def crl_name(municipality: Municipality) -> x509.Name:
    """Return the name of the directory entry that holds the CRL of *municipality* (card facts 3.2)."""
    return jpki_name(
        _PURPOSE,
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "CRL Distribution Points"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, municipality.prefecture),
        (NameOID.COMMON_NAME, f"{municipality.city} CRLDP"),
    )


def _generation(responder_key: rsa.RSAPublicKey, start: datetime, now: datetime) -> Generation:
    key, now = new_key(), whole(now)
    certificate = ca_certificate(_PURPOSE, key, whole(start))
    responder = (
        x509.CertificateBuilder()
        .subject_name(_RESPONDER_NAME)
        .issuer_name(CA_NAME)
        .public_key(responder_key)
        .serial_number(new_serial())
        .not_valid_before(now - DAY)
        .not_valid_after(now + YEAR)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(responder_key), critical=False)
        .add_extension(authority_key(key), critical=False)
        .sign(key, SHA256())
    )
    return Generation(key, certificate, responder)
