"""
What makes one card that card, and the folder it is kept in.

    card.toml         PIN, limit of its tries, kind of ATR, serial, reference of the institution root
    tries             how many tries the PIN has left; missing means all
    key.pem           the holder's private key
    certificate.der   the holder's certificate
    ca.der            its CA certificate
    institution.pem   public key of the institution root, the anchor behind EF 0016

Such a card is made up. Its folder is readable by its owner alone all the same, so that nobody takes up
a bad habit from it.
"""

import json
import os
import tempfile
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from appliance.card.cvc import KeyReference
from appliance.errors import ConfigInvalid, CvcMalformed
from appliance.simulator.key_files import private_pem, public_pem, write_private

TRIES: Final = 3

_MOST_TRIES: Final = 15
"""A status word has four bits for the count."""


class Atr(Enum):
    """The answer to reset, by the side on which the card is read (card facts 1.8, ruling 29)."""

    CONTACT = bytes.fromhex("3BE000FF8131FE4514")
    CONTACTLESS = bytes.fromhex("3B888001000005E0B381A1007F")


@dataclass(frozen=True, slots=True)
class CardData:
    """Everything of a card that does not change while it is used, and the *tries_left* it begins with."""

    private_key: rsa.RSAPrivateKey = field(repr=False)
    certificate: bytes = field(repr=False)
    ca_certificate: bytes = field(repr=False)
    anchor_reference: KeyReference
    anchor_key: rsa.RSAPublicKey = field(repr=False)
    pin: str = field(repr=False)
    serial: str
    tries: int = TRIES
    tries_left: int = TRIES
    atr: Atr = Atr.CONTACT

    def __post_init__(self) -> None:
        if len(self.pin) != 4 or not (self.pin.isascii() and self.pin.isdigit()):
            raise ValueError("the PIN of a card has four digits")
        if not (len(self.serial) <= 16 and self.serial.isascii()):
            raise ValueError("the serial of a card has at most 16 ASCII characters")
        if not 0 <= self.tries_left <= self.tries <= _MOST_TRIES:
            raise ValueError(f"a count of tries is 0 to {_MOST_TRIES} and no more than its limit")

    def save(self, folder: Path) -> None:
        """Write the card into *folder*, which is made if need be."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = {
            "pin": self.pin,
            "tries": self.tries,
            "atr": self.atr.name.lower(),
            "serial": self.serial,
            "anchor": self.anchor_reference.octets.hex().upper(),
        }
        # the strings are plain ASCII, of which JSON's form is also TOML's
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in entries.items())
        write_private(folder / "card.toml", text.encode("ascii"))
        write_private(folder / "key.pem", private_pem(self.private_key))
        (folder / "certificate.der").write_bytes(self.certificate)
        (folder / "ca.der").write_bytes(self.ca_certificate)
        (folder / "institution.pem").write_bytes(public_pem(self.anchor_key))
        keep_tries(folder, self.tries_left)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the card in *folder*. Raises ConfigInvalid where it is not one."""
        try:
            settings = msgspec.toml.decode((folder / "card.toml").read_bytes(), type=_Settings)
            private_key = load_pem_private_key((folder / "key.pem").read_bytes(), password=None)
            anchor_key = load_pem_public_key((folder / "institution.pem").read_bytes())
            if not isinstance(private_key, rsa.RSAPrivateKey) or not isinstance(anchor_key, rsa.RSAPublicKey):
                raise ConfigInvalid(f"the keys of the card in {folder} are not RSA keys")
            return cls(
                private_key=private_key,
                certificate=(folder / "certificate.der").read_bytes(),
                ca_certificate=(folder / "ca.der").read_bytes(),
                anchor_reference=KeyReference(bytes.fromhex(settings.anchor)),
                anchor_key=anchor_key,
                pin=settings.pin,
                serial=settings.serial,
                tries=settings.tries,
                tries_left=_tries_left(folder, settings.tries),
                atr=Atr[settings.atr.upper()],
            )
        except (OSError, ValueError, KeyError, CvcMalformed) as error:  # msgspec's errors are ValueErrors
            raise ConfigInvalid(f"there is no usable card in {folder}: {error}") from error


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`card.toml`."""

    pin: str
    tries: int
    atr: str
    serial: str
    anchor: str


def keep_tries(folder: Path, tries_left: int) -> None:
    """Write the count of tries into *folder* in one go: a power cut leaves the old count or the new one."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix="tries-")
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{tries_left}\n")
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(folder / "tries")


def _tries_left(folder: Path, limit: int) -> int:
    try:
        return int((folder / "tries").read_text(encoding="ascii"))
    except FileNotFoundError:
        return limit
