"""
The holders' side of the test hierarchy: CA generations, certificates of holders, CRLs, OCSP responders.

All generations have the same name and different keys, as the real ones have: an issuer is found by its
signature. Names and extensions are those of card facts 3 under rulings 25 to 27, with O=JPKI-TEST. A defect is
a keyword of what builds the thing: `certificate(key, now=now, expired=True)`.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Self, TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.simulator.key_files import new_key
from appliance.simulator.people import AOBA, Municipality, pseudonym

USER_AUTHENTICATION: Final = "1.2.392.200149.8.5.1.3.30"
"""The policy of 利用者証明用 certificates."""
DIGITAL_SIGNATURE: Final = "1.2.392.200149.8.5.1.1.20"
"""The policy of 署名用 certificates, which authenticate nobody."""
CPS: Final = "http://www.jpki.go.jp/cps.html"

_DAY, _YEAR = timedelta(days=1), timedelta(days=365)
_BEGINNINGS: Final = (8 * _YEAR, 2 * _YEAR)
"""How long ago each generation began: the first near its end, the second in its prime."""
_CA_LIFE: Final = 10 * _YEAR
_HOLDER_LIFE: Final = 5 * _YEAR

_COMMON: Final = (
    (NameOID.COUNTRY_NAME, "JP"),
    (NameOID.ORGANIZATION_NAME, "JPKI-TEST"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "JPKI for user authentication"),
)


def _name(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in pairs])


CA_NAME: Final = _name(
    *_COMMON, (NameOID.ORGANIZATIONAL_UNIT_NAME, "Japan Agency for Local Authority Information Systems")
)
_CA_OTHER_NAME: Final = _name(
    (NameOID.COUNTRY_NAME, "JP"), (NameOID.ORGANIZATION_NAME, "公的個人認証サービス-TEST")
)
_RESPONDER_NAME: Final = _name(*_COMMON, (NameOID.COMMON_NAME, "TEST OCSP Responder"))


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
        self, public_key: rsa.RSAPublicKey, *, now: datetime, **options: Unpack[HolderOptions]
    ) -> x509.Certificate:
        """Return a holder's certificate for *public_key*, issued shortly before *now*."""
        municipality = options.get("municipality", AOBA)
        number = options.get("generation", len(self.generations))
        issuer_key = new_key() if options.get("foreign") else self._generation(number).key
        start, end = self._validity(number, now, options)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name((NameOID.COUNTRY_NAME, "JP"), (NameOID.COMMON_NAME, pseudonym(municipality))))
            .issuer_name(CA_NAME)
            .public_key(public_key)
            .serial_number(_serial())
            .not_valid_before(start)
            .not_valid_after(end)
        )
        if not options.get("without_usage"):
            builder = builder.add_extension(_usage(digital_signature=True), critical=True)
        if (policy := options.get("policy", USER_AUTHENTICATION)) is not None:
            information = x509.PolicyInformation(x509.ObjectIdentifier(policy), [CPS])
            builder = builder.add_extension(x509.CertificatePolicies([information]), critical=True)
        if options.get("authority"):
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(
            x509.CRLDistributionPoints([_distribution_point(crl_name(municipality))]), critical=False
        )
        builder = builder.add_extension(_authority_key(issuer_key), critical=False)
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
        start = _whole(now)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(CA_NAME)
            .last_update(start)
            .next_update(start + options.get("life", _DAY))
            .add_extension(_authority_key(signing_key), critical=False)
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
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(start - _DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(signing_key, SHA256())

    def _generation(self, number: int) -> Generation:
        if not 1 <= number <= len(self.generations):
            raise ValueError(f"there is no generation {number}")
        return self.generations[number - 1]

    def _validity(self, number: int, now: datetime, options: HolderOptions) -> tuple[datetime, datetime]:
        now = _whole(now)
        if options.get("expired"):
            return now - _YEAR, now - _DAY
        if options.get("not_yet_valid"):
            return now + _DAY, now + _DAY + _HOLDER_LIFE
        # an old generation no longer issues: its cards are some years old, and end before it does
        age = _DAY if number == len(self.generations) else 4 * _YEAR
        return now - age, now - age + _HOLDER_LIFE


def crl_name(municipality: Municipality) -> x509.Name:
    """Return the name of the directory entry that holds the CRL of *municipality* (card facts 3.2)."""
    return _name(
        *_COMMON,
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "CRL Distribution Points"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, municipality.prefecture),
        (NameOID.COMMON_NAME, f"{municipality.city} CRLDP"),
    )


def _generation(responder_key: rsa.RSAPublicKey, start: datetime, now: datetime) -> Generation:
    key, start, now = new_key(), _whole(start), _whole(now)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(CA_NAME)
        .issuer_name(CA_NAME)
        .public_key(key.public_key())
        .serial_number(_serial())
        .not_valid_before(start)
        .not_valid_after(start + _CA_LIFE)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(_CA_OTHER_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.CRLDistributionPoints([_distribution_point(CA_NAME)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    responder = (
        x509.CertificateBuilder()
        .subject_name(_RESPONDER_NAME)
        .issuer_name(CA_NAME)
        .public_key(responder_key)
        .serial_number(_serial())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _YEAR)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(responder_key), critical=False)
        .add_extension(_authority_key(key), critical=False)
        .sign(key, SHA256())
    )
    return Generation(key, certificate, responder)


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _distribution_point(name: x509.Name) -> x509.DistributionPoint:
    return x509.DistributionPoint([x509.DirectoryName(name)], None, None, None)


def _authority_key(key: rsa.RSAPrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _serial() -> int:
    """Return a serial number of four bytes, as the real ones have."""
    return secrets.randbelow(0x7F000000) + 1


def _whole(moment: datetime) -> datetime:
    """Return *moment* in UTC without fractions of a second, which certificates do not have."""
    return moment.astimezone(UTC).replace(microsecond=0)
