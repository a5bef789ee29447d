"""
The test hierarchy as a whole: institutions' and holders' side, in one folder, and the cards made from it.

    FOLDER/institution/        root-key.pem root.pem intermediate-key.pem intermediate.cvc
    FOLDER/institution-next/   the same for the next generation of cards
    FOLDER/holders/            ca-N-key.pem ca-N.pem responder-N.pem for each generation N, responder-key.pem,
                               signing-ca-key.pem signing-ca.pem
    FOLDER/surface/            root-key.pem root.pem, CODE-key.pem for each municipality

Nothing here has any worth outside of tests and demonstrations, and every name says TEST.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Final, Self, Unpack

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.card.algorithm import PublicKey
from appliance.card.cvc import Certificate
from appliance.errors import ConfigInvalid, CvcMalformed
from appliance.simulator.card_data import Atr, CardData, Signing
from appliance.simulator.credentials import Secrets
from appliance.simulator.holder_pki import CrlOptions, Generation, HolderAuthority, HolderOptions
from appliance.simulator.institution_pki import ROOT, InstitutionAuthority
from appliance.simulator.key_files import (
    PrivateKey,
    new_curve_key,
    new_key,
    private_pem,
    read_private,
    write_private,
)
from appliance.simulator.kinds import Kind
from appliance.simulator.municipality_pki import MunicipalityAuthority
from appliance.simulator.people import AOBA, Municipality, Person, made_up
from appliance.simulator.printed import Printed
from appliance.simulator.signing_pki import SigningAuthority

_INSTITUTION, _NEXT, _HOLDERS, _SURFACE = "institution", "institution-next", "holders", "surface"
_RESPONDER_KEY: Final = "responder-key.pem"


class CardOptions(HolderOptions, total=False):
    """
    What a card may have otherwise than usual, besides what its certificate may.

    *kind*; *person*, else someone made up in the municipality; *pin*, which opens the text application too; *atr*;
    *signing* for a signing certificate as well. *private_key*, the holder's, and *card_key* are new ones if not
    given. The CA certificate in the card is that of the certificate's generation, also where another key signed.
    """

    kind: Kind
    person: Person
    pin: str
    atr: Atr
    signing: bool
    private_key: PrivateKey
    card_key: rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Everybody who certifies anybody in the tests."""

    institution: InstitutionAuthority
    next_institution: InstitutionAuthority
    holders: HolderAuthority
    signing: SigningAuthority
    municipalities: MunicipalityAuthority

    @classmethod
    def create(cls, now: datetime) -> Self:
        """Return a hierarchy with new keys, as it would stand at *now*."""
        return cls(
            InstitutionAuthority.create(),
            InstitutionAuthority.create_next(),
            HolderAuthority.create(now),
            SigningAuthority.create(now),
            MunicipalityAuthority.create(),
        )

    @property
    def root_key(self) -> PublicKey:
        """The public key of the institution root, which cards of today keep behind EF 0016."""
        return self.institution.root_key.public_key()

    @property
    def surface_root_key(self) -> rsa.RSAPublicKey:
        """The public key of the root that certifies municipalities: the appliance gets it as configuration."""
        return self.municipalities.root_key.public_key()

    @property
    def ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """The generations of the holders' CA, oldest first."""
        return tuple(generation.certificate for generation in self.holders.generations)

    def institution_for(self, key: PublicKey) -> InstitutionAuthority:
        """Return who certifies institutions with a key of the kind of *key*: for cards of today, or of tomorrow."""
        return self.next_institution if isinstance(key, ec.EllipticCurvePublicKey) else self.institution

    @staticmethod
    def institution_folder(key: PublicKey) -> str:
        """Return in which part of a saved hierarchy the certificate for an institution's *key* belongs."""
        return _NEXT if isinstance(key, ec.EllipticCurvePublicKey) else _INSTITUTION

    def issue_institution(self, public_key: PublicKey, code: str = "9912345") -> Certificate:
        """Return the certificate of an institution whose key, with *public_key*, was made in its HSM."""
        return self.institution_for(public_key).leaf(public_key, code)

    def issue_card(
        self, folder: Path | None = None, *, now: datetime, **options: Unpack[CardOptions]
    ) -> CardData:
        """Return a new card, kept in *folder* where one is given; *options* say what is unusual about it."""
        municipality = options.get("municipality", AOBA)
        person = options.get("person") or made_up(municipality, now.date())
        kind = options.get("kind", Kind.MY_NUMBER)
        key = options.get("private_key") or (new_curve_key() if kind is Kind.NEXT else new_key())
        card_key = options.get("card_key") or new_key()
        of_certificate: HolderOptions = options  # among others, which it ignores
        signer = self.municipalities.signer(municipality)
        printed = Printed(person, municipality, card_key.public_key(), signer)
        certificate = self.holders.certificate(key.public_key(), now=now, **of_certificate)
        generation = options.get("generation", len(self.holders.generations))
        institution = self.institution_for(key.public_key())
        card = CardData(
            kind=kind,
            private_key=key,
            certificate=certificate.public_bytes(Encoding.DER),
            ca_certificate=self.ca_certificates[generation - 1].public_bytes(Encoding.DER),
            anchor_reference=ROOT,
            anchor_key=institution.root_key.public_key(),
            card_key=card_key,
            surface=printed.surface_files(),
            text=printed.text_files(),
            signing=self._signing(person, municipality, now) if options.get("signing") else None,
            secrets=Secrets.of(person, options.get("pin", "1234")),
            serial=f"TEST{secrets.randbelow(10**12):012d}",
            atr=options.get("atr", Atr.CONTACT),
        )
        if folder is not None:
            card.save(folder)
        return card

    def _signing(self, person: Person, municipality: Municipality, now: datetime) -> Signing:
        key = new_key()
        certificate = self.signing.certificate(key.public_key(), person, municipality, now=now)
        return Signing(
            key, certificate.public_bytes(Encoding.DER), self.signing.ca.public_bytes(Encoding.DER)
        )

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
        self.institution.save(folder / _INSTITUTION)
        self.next_institution.save(folder / _NEXT)
        self.municipalities.save(folder / _SURFACE)
        holders = folder / _HOLDERS
        holders.mkdir(mode=0o700, exist_ok=True)
        self.signing.save(holders)
        for number, generation in enumerate(self.holders.generations, start=1):
            write_private(holders / f"ca-{number}-key.pem", private_pem(generation.key))
            (holders / f"ca-{number}.pem").write_bytes(generation.certificate.public_bytes(Encoding.PEM))
            (holders / f"responder-{number}.pem").write_bytes(generation.responder.public_bytes(Encoding.PEM))
        write_private(holders / _RESPONDER_KEY, private_pem(self.holders.responder_key))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the hierarchy that was saved into *folder*. Raises ConfigInvalid where there is none."""
        holders = folder / _HOLDERS
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
            return cls(
                InstitutionAuthority.load(folder / _INSTITUTION),
                InstitutionAuthority.load(folder / _NEXT),
                authority,
                SigningAuthority.load(holders),
                MunicipalityAuthority.load(folder / _SURFACE),
            )
        except (OSError, ValueError, CvcMalformed) as error:
            raise ConfigInvalid(f"there is no usable test hierarchy in {folder}: {error}") from error
