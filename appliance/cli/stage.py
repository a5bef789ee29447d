"""
The demonstration's stage: every part real, in a folder of its own, gone at the end.

    appliance.toml          the annotated example from hsm-config, word for word
    softhsm/                a SoftHSM token with keys made in it
    institution/            the chain that certifies the institution key
    authorities/            the holders' CA certificates
    revocation/             the municipalities' lists of revoked certificates, or OpenSSL's responder
    card/                   a made-up person's card, put on a virtual reader of a private pcscd
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import Certificate, load_der_x509_certificate

from appliance import config
from appliance.card.jpki import Mode
from appliance.card.verification_number import VerificationNumber
from appliance.cli.revocation_stage import By, crl_delivered, responder_running
from appliance.config import Configuration
from appliance.hsm import softhsm
from appliance.hsm.shipped import shipped
from appliance.simulator.faults import Fault as CardFault
from appliance.simulator.faults import PinForPinless, Removed, WrongSignature
from appliance.simulator.openssl_responder import Status
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.people import AOBA, made_up
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


@contextmanager
def set_up(folder: Path, mode: Mode, fault: Fault | None, by: By, part: Part) -> Iterator[Scene]:
    """
    Give a stage in *folder*, which is absent or empty, with a card on its reader; revocation is known *by* what.

    Raises PartMissing where a program or library is not installed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with part("token"):
        softhsm.provision_softhsm(folder / "softhsm")
    with part("hierarchy"):
        hierarchy = Hierarchy.create(datetime.now(UTC))
        _certify(folder, hierarchy, fault)
        now = datetime.now(UTC)
        person = made_up(AOBA, now.date())
        issued = hierarchy.issue_card(
            folder / "card",
            now=now,
            person=person,
            pin=PIN,
            expired=fault is Fault.EXPIRED_CARD,
            foreign=fault is Fault.FOREIGN_CA,
        )
        _configure(folder)
    with ExitStack() as parts:
        with part("revocation"):
            certificate = load_der_x509_certificate(issued.certificate)
            parts.enter_context(_revocation(folder, hierarchy, certificate, fault, by))
        with part("reader"):
            pcscd = parts.enter_context(PrivatePcscd([_READER]))
            # Read by the PC/SC library when it is first used.
            os.environ["PCSCLITE_CSOCK_NAME"] = str(pcscd.socket_path)
            (reader,) = pcscd.readers
            card = load_card(folder / "card", _card_faults(mode, fault))
            parts.enter_context(inserted(card, reader.host, reader.port))
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


def _certify(folder: Path, hierarchy: Hierarchy, fault: Fault | None) -> None:
    institution, authorities = folder / "institution", folder / "authorities"
    hierarchy.institution.save(institution)
    key = load_pem_public_key((folder / "softhsm" / softhsm.INSTITUTION_KEY).read_bytes())
    if fault is Fault.WRONG_INSTITUTION_KEY or not isinstance(key, rsa.RSAPublicKey):
        key = hierarchy.root_key
    leaf = hierarchy.issue_institution(key, INSTITUTION_CODE)
    (institution / "leaf.cvc").write_bytes(leaf.to_bytes())
    authorities.mkdir()
    for number, certificate in enumerate(hierarchy.ca_certificates, start=1):
        (authorities / f"ca-{number}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (authorities / "front-root.pem").write_bytes(
        hierarchy.surface_root_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def _configure(folder: Path) -> None:
    shutil.copyfile(shipped("appliance.toml"), folder / "appliance.toml")
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
