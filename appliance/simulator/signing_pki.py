"""
The CA for signing (署名用) of the test hierarchy, for cards that are asked to have such a certificate (ruling 20).

Such a certificate tells who its holder is (card facts 3.2) and authenticates nobody: drivers have no use for it
but to see that they do not take it for the other one.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from appliance.simulator.certificate_parts import (
    DAY,
    HOLDER_LIFE,
    YEAR,
    authority_key,
    ca_certificate,
    ca_name,
    name,
    new_serial,
    policies,
    usage,
    whole,
)
from appliance.simulator.key_files import new_key, private_pem, read_private, write_private
from appliance.simulator.people import Municipality, Person, pseudonym

DIGITAL_SIGNATURE: Final = "1.2.392.200149.8.5.1.1.20"
"""The policy of 署名用 certificates, which authenticate nobody."""

_PURPOSE: Final = "digital signature"
_ATTRIBUTES: Final = "1.2.392.200149.8.5.5"
_UTF8_STRING: Final = 0x0C
_CA_AGE: Final = 2 * YEAR
_KEY_FILE, _CERTIFICATE_FILE = "signing-ca-key.pem", "signing-ca.pem"


@dataclass(frozen=True, slots=True)
class SigningAuthority:
    """Who certifies people for signing: one generation."""

    key: rsa.RSAPrivateKey = field(repr=False)
    ca: x509.Certificate

    @classmethod
    def create(cls, now: datetime) -> Self:
        """Return an authority with a new key, as it would stand at *now*."""
        key = new_key()
        return cls(key, ca_certificate(_PURPOSE, key, whole(now) - _CA_AGE))

    def certificate(
        self, public_key: rsa.RSAPublicKey, person: Person, municipality: Municipality, *, now: datetime
    ) -> x509.Certificate:
        """Return the certificate of *person* in *municipality* for *public_key*, issued shortly before *now*."""
        start = whole(now) - DAY
        subject = name(
            (NameOID.COUNTRY_NAME, "JP"),
            (NameOID.LOCALITY_NAME, municipality.prefecture),
            (NameOID.LOCALITY_NAME, municipality.city),
            (NameOID.COMMON_NAME, pseudonym(municipality)),
        )
        birth = f"{person.era}{person.birth:%Y%m%d}"
        attributes = {1: person.name, 3: person.sex.value, 4: birth, 5: person.address}
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name(_PURPOSE))
            .public_key(public_key)
            .serial_number(new_serial())
            .not_valid_before(start)
            .not_valid_after(start + HOLDER_LIFE)
            .add_extension(usage(digital_signature=True, content_commitment=True), critical=True)
            .add_extension(policies(DIGITAL_SIGNATURE), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [_attribute(number, text) for number, text in attributes.items()]
                ),
                critical=False,
            )
            .add_extension(authority_key(self.key), critical=False)
            .sign(self.key, SHA256())
        )

    def save(self, folder: Path) -> None:
        """Write key and certificate into *folder*, which exists."""
        write_private(folder / _KEY_FILE, private_pem(self.key))
        (folder / _CERTIFICATE_FILE).write_bytes(self.ca.public_bytes(Encoding.PEM))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the authority that was saved into *folder*."""
        certificate = x509.load_pem_x509_certificate((folder / _CERTIFICATE_FILE).read_bytes())
        return cls(read_private(folder / _KEY_FILE), certificate)


def _attribute(number: int, text: str) -> x509.OtherName:
    """Return the personal attribute *number*, a UTF8String."""
    encoded = text.encode()
    if len(encoded) >= 0x80:
        raise ValueError("a made-up person's attributes are short")
    kind = x509.ObjectIdentifier(f"{_ATTRIBUTES}.{number}")
    return x509.OtherName(kind, bytes([_UTF8_STRING, len(encoded)]) + encoded)
