"""
The name under which a holder is known outside: a keyed hash, another one for every audience.

The law limits what a verifier may keep of a certificate, so neither serial nor subject leaves us. Who has not the
key can neither find the holder of a pseudonym nor tell that two audiences speak of one person.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import ConfigInvalid
from appliance.trust.certificates import HolderCertificate

KEY_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class PseudonymKey:
    """32 secret bytes, kept for as long as pseudonyms are to stay the same."""

    octets: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.octets) != KEY_LENGTH:
            raise ConfigInvalid(f"the pseudonym key has {len(self.octets)} bytes, not {KEY_LENGTH}")

    def pseudonym(self, holder: HolderCertificate, audience: str) -> str:
        """Return what *holder* is called towards *audience*: 64 hexadecimal digits."""
        # The issuer's key, not its name: generations of the CA share one name and count serials apart.
        issuer = holder.issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        serial = holder.certificate.serial_number.to_bytes(20)
        return digest(self.octets, sha256(issuer).digest() + serial + audience.encode(), "sha256").hex()
