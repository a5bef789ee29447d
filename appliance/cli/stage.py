"""
The demonstration's stage: every part real, in a folder of its own, gone at the end.

    appliance.toml          the annotated example from hsm-config, word for word
    softhsm/                a SoftHSM token with keys made in it
    institution/            the chain that certifies the institution key
    authorities/            the holders' CA certificates
    card/                   a made-up person's card, put on a virtual reader of a private pcscd
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from appliance import config
from appliance.card.jpki import Mode
from appliance.config import Configuration
from appliance.hsm import softhsm
from appliance.hsm.shipped import shipped
from appliance.simulator.faults import Fault as CardFault
from appliance.simulator.faults import PinForPinless, Removed, WrongSignature
from appliance.simulator.pcscd import PrivatePcscd
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


_SECOND_EXCHANGE = 8
"""The PIN-less dialogue's step that follows the institution's signature."""
_VERIFY = 4
"""The PIN dialogue's step that carries the PIN."""

Part = Callable[[str], AbstractContextManager[None]]
"""Told the name of each part while it is made ready."""


@contextmanager
def set_up(folder: Path, mode: Mode, fault: Fault | None, part: Part) -> Iterator[Configuration]:
    """
    Give the configuration of a stage in *folder*, which is absent or empty, with a card on its reader.

    Raises PartMissing where a program or library is not installed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with part("token"):
        softhsm.provision_softhsm(folder / "softhsm")
    with part("hierarchy"):
        hierarchy = Hierarchy.create(datetime.now(UTC))
        _certify(folder, hierarchy, fault)
        hierarchy.issue_card(
            folder / "card",
            now=datetime.now(UTC),
            pin=PIN,
            expired=fault is Fault.EXPIRED_CARD,
            foreign=fault is Fault.FOREIGN_CA,
        )
        _configure(folder)
    with ExitStack() as parts:
        with part("reader"):
            pcscd = parts.enter_context(PrivatePcscd([_READER]))
            # Read by the PC/SC library when it is first used.
            os.environ["PCSCLITE_CSOCK_NAME"] = str(pcscd.socket_path)
            (reader,) = pcscd.readers
            card = load_card(folder / "card", _card_faults(mode, fault))
            parts.enter_context(inserted(card, reader.host, reader.port))
        yield config.load(folder / "appliance.toml")


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
