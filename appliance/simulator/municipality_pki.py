"""
The municipalities' side of the test hierarchy: a surface root, and a key with which each municipality signs cards.

The root certifies the municipalities' keys for both applications with what is printed on a card, under one
reference in each (card facts 4.2). The real card's references begin with 5 or 6, ours with 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

from appliance.card.cvc import Certificate, KeyReference
from appliance.simulator.institution_pki import certify
from appliance.simulator.key_files import new_key, private_pem, public_pem, read_private, write_private
from appliance.simulator.keys import sign_message
from appliance.simulator.people import MUNICIPALITIES, Municipality

SURFACE_ROOT: Final = KeyReference.of("0000023")
"""The root's reference in the CVC of the surface application."""
TEXT_ROOT: Final = KeyReference.of("0000033")
"""The root's reference in the CVC of the text application."""

_ROOT_KEY, _ROOT = "root-key.pem", "root.pem"


@dataclass(frozen=True, slots=True)
class Signer:
    """One municipality's key and the certificates that lie in the cards it signed."""

    key: rsa.RSAPrivateKey = field(repr=False)
    surface_certificate: Certificate
    text_certificate: Certificate

    def sign(self, content: bytes) -> bytes:
        """Return the signature over *content*, RSA PKCS#1 v1.5 with SHA-256."""
        return sign_message(self.key, content)

    def sign_digest_info(self, digest_info: bytes) -> bytes:
        """Return the signature whose padded content is *digest_info*, however odd it is."""
        return self.key.sign(digest_info, padding.PKCS1v15(), NoDigestInfo())


@dataclass(frozen=True, slots=True)
class MunicipalityAuthority:
    """Who signs what is printed on a card: the root, and one key for each of MUNICIPALITIES."""

    root_key: rsa.RSAPrivateKey = field(repr=False)
    keys: Mapping[str, rsa.RSAPrivateKey] = field(repr=False)

    @classmethod
    def create(cls) -> Self:
        """Return an authority with new keys."""
        return cls(new_key(), {municipality.code: new_key() for municipality in MUNICIPALITIES})

    def signer(self, municipality: Municipality) -> Signer:
        """Return who signs the cards of *municipality*, one of MUNICIPALITIES."""
        if municipality.code not in self.keys:
            raise ValueError(f"the test hierarchy has no municipality {municipality.code}")
        key = self.keys[municipality.code]
        holder = KeyReference.of(f"00{municipality.code}", serial=0)
        return Signer(
            key,
            certify(SURFACE_ROOT, self.root_key, holder, key.public_key()),
            certify(TEXT_ROOT, self.root_key, holder, key.public_key()),
        )

    def save(self, folder: Path) -> None:
        """Write the keys into *folder*, which is made if need be."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / _ROOT_KEY, private_pem(self.root_key))
        (folder / _ROOT).write_bytes(public_pem(self.root_key.public_key()))
        for code, key in self.keys.items():
            write_private(folder / f"{code}-key.pem", private_pem(key))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the authority that was saved into *folder*."""
        keys = {each.code: read_private(folder / f"{each.code}-key.pem") for each in MUNICIPALITIES}
        return cls(read_private(folder / _ROOT_KEY), keys)
