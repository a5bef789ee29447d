"""What the certificates of the holders' CAs have in common: names, extensions, and a CA's own certificate."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

CPS: Final = "http://www.jpki.go.jp/cps.html"
DAY, YEAR = timedelta(days=1), timedelta(days=365)
HOLDER_LIFE: Final = 5 * YEAR
_CA_LIFE: Final = 10 * YEAR


def name(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """Return the name that consists of *pairs*, in this order."""
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in pairs])


def jpki_name(purpose: str, *pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """Return the name of a party of the test JPKI for *purpose* (ruling 25)."""
    return name(
        (NameOID.COUNTRY_NAME, "JP"),
        (NameOID.ORGANIZATION_NAME, "JPKI-TEST"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, f"JPKI for {purpose}"),
        *pairs,
    )


def ca_name(purpose: str) -> x509.Name:
    """Return the name that all generations of the CA for *purpose* have (card facts 3.1)."""
    return jpki_name(
        purpose, (NameOID.ORGANIZATIONAL_UNIT_NAME, "Japan Agency for Local Authority Information Systems")
    )


_OTHER_NAME: Final = name(
    (NameOID.COUNTRY_NAME, "JP"), (NameOID.ORGANIZATION_NAME, "公的個人認証サービス-TEST")
)


def ca_certificate(purpose: str, key: rsa.RSAPrivateKey, start: datetime) -> x509.Certificate:
    """Return the certificate that the CA for *purpose* with *key* gave itself at *start*."""
    return (
        x509.CertificateBuilder()
        .subject_name(ca_name(purpose))
        .issuer_name(ca_name(purpose))
        .public_key(key.public_key())
        .serial_number(new_serial())
        .not_valid_before(start)
        .not_valid_after(start + _CA_LIFE)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(_OTHER_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.CRLDistributionPoints([distribution_point(ca_name(purpose))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )


def policies(policy: str) -> x509.CertificatePolicies:
    """Return the extension that names *policy* and where it is told."""
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(policy), [CPS])])


def usage(
    *,
    digital_signature: bool = False,
    content_commitment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """Return the extension that allows what is named."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=content_commitment,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def distribution_point(entry: x509.Name) -> x509.DistributionPoint:
    """Return the distribution point that is the directory's *entry*."""
    return x509.DistributionPoint([x509.DirectoryName(entry)], None, None, None)


def authority_key(key: rsa.RSAPrivateKey) -> x509.AuthorityKeyIdentifier:
    """Return the extension that names the issuer's *key*."""
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def new_serial() -> int:
    """Return a serial number of four bytes and no fewer, as the real ones have."""
    return 0x0100_0000 + secrets.randbelow(0x7F00_0000)


def whole(moment: datetime) -> datetime:
    """Return *moment* in UTC without fractions of a second, which certificates do not have."""
    return moment.astimezone(UTC).replace(microsecond=0)
