"""
The demonstration's stage: every part real, in a folder of its own, gone at the end.

    appliance.toml          the annotated example from hsm-config
    softhsm/                a SoftHSM token with keys made in it
    institution/            the chain that certifies the institution key
    authorities/            the holders' CA certificates
    revocation/             the municipalities' lists of revoked certificates, or OpenSSL's responder
    card/                   a made-up person's card, put on a virtual reader of a private pcscd
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import Certificate, load_der_x509_certificate

from appliance import config
from appliance.card.cvc import Shape
from appliance.card.jpki import Mode
from appliance.card.profile import shipped as shipped_profile
from appliance.card.verification_number import VerificationNumber
from appliance.cli import folders
from appliance.cli.demonstration.revocation import By, crl_delivered, responder_running
from appliance.config import Configuration
from appliance.hsm import softhsm
from appliance.hsm.shipped import shipped
from appliance.simulator.faults import Fault as CardFault
from appliance.simulator.faults import PinForPinless, Removed, WrongSignature
from appliance.simulator.kinds import Kind
from appliance.simulator.openssl_responder import Status
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.people import AOBA, Person, made_up
from appliance.simulator.pki import Hierarchy
from appliance.simulator.reader import inserted, load_card
from appliance.trust.pseudonym import KEY_LENGTH

INSTITUTION_CODE = "9912345"
PIN = "1234"
"""Of the made-up person. Nobody's secret."""
_READER = "Virtual PCD"


class Fault(StrEnum):
    """What can be made to go wrong on the stage."""

    WRONG_INSTITUTION_KEY = "wrong-institution-key"
    FOREIGN_CA = "foreign-ca"
    EXPIRED_CARD = "expired-card"
    TAMPERED_SIGNATURE = "tampered-signature"
    REMOVED = "removed"
    PIN_FOR_PINLESS = "pin-for-pinless"
    REVOKED = "revoked"
    STALE_CRL = "stale-crl"
    RESPONDER_DOWN = "responder-down"


REFERENCE = "jpki-reference"
"""The profile that the annotated example names."""

_SECOND_EXCHANGE = 8
"""The PIN-less dialogue's step that follows the institution's signature."""
_VERIFY = 4
"""The PIN dialogue's step that carries the PIN."""

Part = Callable[[str], AbstractContextManager[None]]
"""Told the name of each part while it is made ready."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything in place: the *configuration* to run with, and the *number* (照合番号B) printed on the card."""

    configuration: Configuration
    number: VerificationNumber


@dataclass(frozen=True, slots=True)
class Script:
    """What is to be played: the *mode*, what goes wrong, *by* what revocation is known, and the cards' *profile*."""

    mode: Mode
    fault: Fault | None
    by: By
    profile: str

    @property
    def on_curve(self) -> bool:
        """Whether card and institution sign on a curve, as the next generation of cards is to do."""
        return shipped_profile(self.profile).institution.certificate is Shape.P384


@dataclass(frozen=True, slots=True)
class Furniture:
    """What stands in a folder: the test *hierarchy*, the *certificate* of the card in it, and whose card that is."""

    hierarchy: Hierarchy
    certificate: Certificate
    person: Person


def furnish(folder: Path, script: Script, part: Part) -> Furniture:
    """Make token, hierarchy, card and configuration in *folder*; raise ConfigInvalid unless it is absent or empty."""
    folders.make_new(folder)
    with part("token"):
        softhsm.provision_softhsm(folder / "softhsm", on_curve=script.on_curve)
    with part("hierarchy"):
        hierarchy = Hierarchy.create(datetime.now(UTC))
        _certify(folder, hierarchy, script)
        now = datetime.now(UTC)
        person = made_up(AOBA, now.date())
        issued = hierarchy.issue_card(
            folder / "card",
            now=now,
            person=person,
            pin=PIN,
            kind=Kind.NEXT if script.on_curve else Kind.MY_NUMBER,
            expired=script.fault is Fault.EXPIRED_CARD,
            foreign=script.fault is Fault.FOREIGN_CA,
        )
        _configure(folder, script.profile)
    return Furniture(hierarchy, load_der_x509_certificate(issued.certificate), person)


@contextmanager
def set_up(folder: Path, script: Script, part: Part) -> Iterator[Scene]:
    """
    Give a stage in *folder*, which is absent or empty, with a card on its reader.

    Raises ConfigInvalid where it is neither, PartMissing where a program or library is not installed.
    """
    made = furnish(folder, script, part)
    with ExitStack() as parts:
        with part("revocation"):
            parts.enter_context(
                _revocation(folder, made.hierarchy, made.certificate, script.fault, script.by)
            )
        with part("reader"):
            pcscd = parts.enter_context(PrivatePcscd([_READER]))
            # Read by the PC/SC library when it is first used.
            os.environ["PCSCLITE_CSOCK_NAME"] = str(pcscd.socket_path)
            (reader,) = pcscd.readers
            card = load_card(folder / "card", _card_faults(script.mode, script.fault))
            parts.enter_context(inserted(card, reader.host, reader.port))
        person = made.person
        number = VerificationNumber.of(person.birth, person.expires.year, person.security_code)
        yield Scene(config.load(folder / "appliance.toml"), number)


def _revocation(
    folder: Path, hierarchy: Hierarchy, certificate: Certificate, fault: Fault | None, by: By
) -> AbstractContextManager[None]:
    match by:
        case By.CRL:
            age = timedelta(days=3) if fault is Fault.STALE_CRL else timedelta()
            return crl_delivered(folder, hierarchy, certificate if fault is Fault.REVOKED else None, age)
        case By.OCSP:
            status = Status.REVOKED if fault is Fault.REVOKED else Status.GOOD
            down = fault is Fault.RESPONDER_DOWN
            return responder_running(folder, hierarchy, certificate, status, down=down)


def _certify(folder: Path, hierarchy: Hierarchy, script: Script) -> None:
    institution, authorities = folder / "institution", folder / "authorities"
    authority = hierarchy.next_institution if script.on_curve else hierarchy.institution
    authority.save(institution)
    key = load_pem_public_key((folder / "softhsm" / softhsm.INSTITUTION_KEY).read_bytes())
    if script.fault is Fault.WRONG_INSTITUTION_KEY or not isinstance(
        key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    ):
        key = authority.root_key.public_key()
    leaf = hierarchy.issue_institution(key, INSTITUTION_CODE)
    (institution / "leaf.cvc").write_bytes(leaf.to_bytes())
    authorities.mkdir()
    for number, certificate in enumerate(hierarchy.ca_certificates, start=1):
        (authorities / f"ca-{number}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (authorities / "front-root.pem").write_bytes(
        hierarchy.surface_root_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def _configure(folder: Path, profile: str) -> None:
    example = shipped("appliance.toml").read_text("utf-8")
    (folder / "appliance.toml").write_text(example.replace(f'"{REFERENCE}"', f'"{profile}"'), "utf-8")
    key = folder / "pseudonym.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(KEY_LENGTH))


def _card_faults(mode: Mode, fault: Fault | None) -> list[CardFault]:
    match fault:
        case Fault.TAMPERED_SIGNATURE:
            return [WrongSignature()]
        case Fault.PIN_FOR_PINLESS:
            return [PinForPinless()]
        case Fault.REMOVED:
            return [Removed(_SECOND_EXCHANGE if mode is Mode.PINLESS else _VERIFY)]
        case _:
            return []
