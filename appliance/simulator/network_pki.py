"""Certificates for TLS between terminals and an appliance, of a CA made up for it. TEST, as everything here."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.simulator.key_files import new_curve_key, private_pem, write_private

CA: Final = "ca.pem"
_LIFE: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class NetworkAuthority:
    """A CA that certifies servers and clients from *now* on."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    now: datetime

    @classmethod
    def create(cls, now: datetime, called: str = "TEST network CA") -> Self:
        """Make one. Two of one name would be one to whoever looks for an issuer."""
        key = new_curve_key()
        name = _name(called)
        builder = _builder(name, name, key, now).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(key, builder.sign(key, hashes.SHA256()), now)

    def save(self, folder: Path) -> None:
        """Write the CA's certificate into *folder*."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CA).write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue_server(self, path: Path, names: Sequence[str]) -> None:
        """Write a server's certificate for *names*, host names or addresses, to *path*, and its key beside it."""
        self._issue(path, names, ExtendedKeyUsageOID.SERVER_AUTH)

    def issue_client(self, path: Path, name: str) -> None:
        """Write a client's certificate for the DNS name *name* to *path*, and its key beside it."""
        self._issue(path, (name,), ExtendedKeyUsageOID.CLIENT_AUTH)

    def bundle(self, path: Path, password: str) -> bytes:
        """Return the certificate at *path*, the key beside it and the CA as PKCS#12, as browsers import it with *password*."""
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = load_pem_private_key(path.with_name(f"{path.stem}-key.pem").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{path.stem} has no key of ours")  # noqa: TRY004  # of the file, not of a caller's argument
        encryption = BestAvailableEncryption(password.encode())
        return serialize_key_and_certificates(
            path.stem.encode(), key, certificate, [self.certificate], encryption
        )

    def _issue(self, path: Path, names: Sequence[str], usage: x509.ObjectIdentifier) -> None:
        key = new_curve_key()
        certificate = (
            _builder(_name(f"TEST {names[0]}"), self.certificate.subject, key, self.now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        write_private(path.with_name(f"{path.stem}-key.pem"), private_pem(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFE)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
