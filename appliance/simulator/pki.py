"""
The test hierarchy as a whole: institutions' and holders' side, in one folder, and the cards made from it.

    FOLDER/institution/   root-key.pem root.pem intermediate-key.pem intermediate.cvc
    FOLDER/holders/       ca-N-key.pem ca-N.pem responder-N.pem for each generation N, responder-key.pem

Nothing here has any worth outside of tests and demonstrations, and every name says TEST.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Self, Unpack

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.card.cvc import Certificate
from appliance.errors import ConfigInvalid, CvcMalformed
from appliance.simulator.card_data import Atr, CardData
from appliance.simulator.holder_pki import CrlOptions, Generation, HolderAuthority, HolderOptions
from appliance.simulator.institution_pki import ROOT, InstitutionAuthority
from appliance.simulator.key_files import new_key, private_pem, read_private, write_private
from appliance.simulator.people import Municipality

_RESPONDER_KEY = "responder-key.pem"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Everybody who certifies anybody in the tests."""

    institution: InstitutionAuthority
    holders: HolderAuthority

    @classmethod
    def create(cls, now: datetime) -> Self:
        """Return a hierarchy with new keys, as it would stand at *now*."""
        return cls(InstitutionAuthority.create(), HolderAuthority.create(now))

    @property
    def root_key(self) -> rsa.RSAPublicKey:
        """The public key of the institution root, which cards keep behind EF 0016."""
        return self.institution.root_key.public_key()

    @property
    def ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """The generations of the holders' CA, oldest first."""
        return tuple(generation.certificate for generation in self.holders.generations)

    def issue_institution(self, public_key: rsa.RSAPublicKey, code: str = "9912345") -> Certificate:
        """Return the certificate of an institution whose key, with *public_key*, was made in its HSM."""
        return self.institution.leaf(public_key, code)

    def issue_card(
        self,
        folder: Path | None = None,
        *,
        now: datetime,
        pin: str = "1234",
        atr: Atr = Atr.CONTACT,
        private_key: rsa.RSAPrivateKey | None = None,
        **options: Unpack[HolderOptions],
    ) -> CardData:
        """
        Return a new card, kept in *folder* where one is given.

        Its key is a new one, or *private_key*. *options* say what is unusual about the certificate. The CA
        certificate in the card is that of the generation named there, also where another key signed.
        """
        key = private_key or new_key()
        certificate = self.holders.certificate(key.public_key(), now=now, **options)
        generation = options.get("generation", len(self.holders.generations))
        card = CardData(
            private_key=key,
            certificate=certificate.public_bytes(Encoding.DER),
            ca_certificate=self.ca_certificates[generation - 1].public_bytes(Encoding.DER),
            anchor_reference=ROOT,
            anchor_key=self.root_key,
            pin=pin,
            serial=f"TEST{secrets.randbelow(10**12):012d}",
            atr=atr,
        )
        if folder is not None:
            card.save(folder)
        return card

    def crl(
        self,
        municipality: Municipality,
        revoked: Iterable[int] = (),
        *,
        now: datetime,
        **options: Unpack[CrlOptions],
    ) -> x509.CertificateRevocationList:
        """Return the list of *municipality* at *now* with the *revoked* serial numbers."""
        return self.holders.crl(municipality, revoked, now=now, **options)

    def save(self, folder: Path) -> None:
        """Write everything into *folder*, which is made if need be; private keys for the owner alone."""
        self.institution.save(folder / "institution")
        holders = folder / "holders"
        holders.mkdir(mode=0o700, exist_ok=True)
        for number, generation in enumerate(self.holders.generations, start=1):
            write_private(holders / f"ca-{number}-key.pem", private_pem(generation.key))
            (holders / f"ca-{number}.pem").write_bytes(generation.certificate.public_bytes(Encoding.PEM))
            (holders / f"responder-{number}.pem").write_bytes(generation.responder.public_bytes(Encoding.PEM))
        write_private(holders / _RESPONDER_KEY, private_pem(self.holders.responder_key))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the hierarchy that was saved into *folder*. Raises ConfigInvalid where there is none."""
        holders = folder / "holders"
        try:
            generations = []
            for number in count(1):
                if not (holders / f"ca-{number}.pem").exists():
                    break
                generations.append(
                    Generation(
                        read_private(holders / f"ca-{number}-key.pem"),
                        x509.load_pem_x509_certificate((holders / f"ca-{number}.pem").read_bytes()),
                        x509.load_pem_x509_certificate((holders / f"responder-{number}.pem").read_bytes()),
                    )
                )
            authority = HolderAuthority(tuple(generations), read_private(holders / _RESPONDER_KEY))
            return cls(InstitutionAuthority.load(folder / "institution"), authority)
        except (OSError, ValueError, CvcMalformed) as error:
            raise ConfigInvalid(f"there is no usable test hierarchy in {folder}: {error}") from error
