"""
What client certificates have to lead to: CAs, and certificates that are taken as they are.

TLS asks that once, when a client connects. Where a CA is taken out of the configuration, whoever has come in by it is
connected still, and TLS cannot be asked again; here it is decided from the client's own certificate. What it cannot be
decided from, because the client has sent another CA between, ends too: its next handshake decides.
"""

from collections.abc import Iterable
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.errors import ConfigInvalid
from appliance.trust.certificates import issued_by


class Authorities:
    """The certificates in `gateway.tls.clients`."""

    def __init__(self, certificates: Iterable[x509.Certificate]) -> None:
        self.certificates = {one.fingerprint(SHA256()): one for one in certificates}
        """Each by its hash."""

    @classmethod
    def from_pem(cls, content: bytes) -> Self:
        """Return those in *content*, or raise ConfigInvalid."""
        try:
            return cls(x509.load_pem_x509_certificates(content))
        except ValueError as error:
            raise ConfigInvalid("gateway.tls.clients holds no PEM certificates") from error

    @property
    def der(self) -> bytes:
        """All of them, one after another."""
        return b"".join(one.public_bytes(Encoding.DER) for one in self.certificates.values())

    def lack(self, before: "Authorities") -> bool:
        """Return whether somebody who was in *before* is not any more."""
        return not before.certificates.keys() <= self.certificates.keys()

    def vouch_for(self, der: bytes) -> bool:
        """Return whether the client certificate *der* is one of these, or one of these has issued it."""
        try:
            shown = x509.load_der_x509_certificate(der)
        except ValueError:
            return False
        return shown.fingerprint(SHA256()) in self.certificates or any(
            issued_by(one, shown) for one in self.certificates.values()
        )
