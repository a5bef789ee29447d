"""
What makes one card that card, and the folder it is kept in.

    card.toml         kind of card, serial, PINs and numbers that open it, kind of ATR, institution root's reference,
                      other limits of tries than the usual
    tries.toml        how many tries its credentials have left; missing means all
    key.pem           the holder's private key
    certificate.der   the holder's certificate
    ca.der            its CA certificate
    institution.pem   public key of the institution root, the anchor behind EF 0016
    card-key.pem      the key by which the card proves to be no copy
    surface/NNNN      the files of 券面事項確認AP as the municipality wrote them, without filler
    text/NNNN         those of 券面事項入力補助AP
    signing/          key.pem certificate.der ca.der, where the card has a signing certificate

Such a card is made up. Its folder is readable by its owner alone all the same, so that nobody takes up
a bad habit from it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Self

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.card.algorithm import PublicKey
from appliance.card.cvc import KeyReference
from appliance.errors import ConfigInvalid, CvcMalformed
from appliance.simulator.credentials import LIMITS, MOST_TRIES, CredentialName, Secrets
from appliance.simulator.key_files import (
    PrivateKey,
    private_pem,
    public_pem,
    read_either_private,
    read_private,
    read_public,
    write_private,
)
from appliance.simulator.kinds import Kind
from appliance.simulator.tries import load_tries, save_tries

_KEY, _CERTIFICATE, _CA = "key.pem", "certificate.der", "ca.der"
_SURFACE, _TEXT, _SIGNING = "surface", "text", "signing"


class Atr(Enum):
    """The answer to reset, by the side on which the card is read (card facts 1.8, ruling 29)."""

    CONTACT = bytes.fromhex("3BE000FF8131FE4514")
    CONTACTLESS = bytes.fromhex("3B888001000005E0B381A1007F")


@dataclass(frozen=True, slots=True)
class Signing:
    """What a card has for signing (署名用): *private_key*, certificate and CA certificate."""

    private_key: rsa.RSAPrivateKey = field(repr=False)
    certificate: bytes = field(repr=False)
    ca_certificate: bytes = field(repr=False)

    def save(self, folder: Path) -> None:
        """Write key and certificates into *folder*, which is made if need be."""
        folder.mkdir(mode=0o700, exist_ok=True)
        write_private(folder / _KEY, private_pem(self.private_key))
        (folder / _CERTIFICATE).write_bytes(self.certificate)
        (folder / _CA).write_bytes(self.ca_certificate)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what was saved into *folder*. Raises OSError and ValueError."""
        return cls(
            read_private(folder / _KEY),
            (folder / _CERTIFICATE).read_bytes(),
            (folder / _CA).read_bytes(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CardData:
    """
    Everything of a card that does not change while it is used, and the *tries_left* it begins with.

    *surface* and *text* are the files of those applications by id. *limits* names credentials whose limit of tries
    is not the usual one, *tries_left* those that lack some. *signing* is None without a signing certificate (ruling 20).
    """

    kind: Kind = Kind.MY_NUMBER
    private_key: PrivateKey = field(repr=False)
    certificate: bytes = field(repr=False)
    ca_certificate: bytes = field(repr=False)
    anchor_reference: KeyReference
    anchor_key: PublicKey = field(repr=False)
    card_key: rsa.RSAPrivateKey = field(repr=False)
    surface: Mapping[int, bytes] = field(repr=False)
    text: Mapping[int, bytes] = field(repr=False)
    signing: Signing | None = None
    secrets: Secrets = field(repr=False)
    serial: str
    limits: Mapping[CredentialName, int] = field(default_factory=dict)
    tries_left: Mapping[CredentialName, int] = field(default_factory=dict)
    atr: Atr = Atr.CONTACT

    def __post_init__(self) -> None:
        if not (len(self.serial) <= 16 and self.serial.isascii()):
            raise ValueError("the serial of a card has at most 16 ASCII characters")
        if not all(0 <= self.tries(name) <= self.limit(name) <= MOST_TRIES for name in CredentialName):
            raise ValueError(f"a count of tries is 0 to {MOST_TRIES} and no more than its limit")

    def limit(self, name: CredentialName) -> int:
        """Return how many wrong tries in a row block the credential *name*."""
        return self.limits.get(name, LIMITS[name])

    def tries(self, name: CredentialName) -> int:
        """Return how many tries of the credential *name* are left at the beginning."""
        return self.tries_left.get(name, self.limit(name))

    def save(self, folder: Path) -> None:
        """Write the card into *folder*, which is made if need be."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = {
            "kind": self.kind,
            "serial": self.serial,
            "pin": self.secrets.pin,
            "password": self.secrets.password,
            "text_pin": self.secrets.text_pin,
            "number_a": self.secrets.number_a,
            "number_b": self.secrets.number_b,
            "atr": self.atr.name.lower(),
            "anchor": self.anchor_reference.octets.hex().upper(),
        }
        # the strings are plain ASCII, of which JSON's form is also TOML's
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in entries.items())
        text += "".join(["\n[limits]\n", *(f"{name} = {limit}\n" for name, limit in self.limits.items())])
        write_private(folder / "card.toml", text.encode("ascii"))
        write_private(folder / _KEY, private_pem(self.private_key))
        write_private(folder / "card-key.pem", private_pem(self.card_key))
        (folder / _CERTIFICATE).write_bytes(self.certificate)
        (folder / _CA).write_bytes(self.ca_certificate)
        (folder / "institution.pem").write_bytes(public_pem(self.anchor_key))
        for name, files in ((_SURFACE, self.surface), (_TEXT, self.text)):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
            for file_id, content in files.items():
                (folder / name / f"{file_id:04X}").write_bytes(content)
        if self.signing is not None:
            self.signing.save(folder / _SIGNING)
        save_tries(folder, self.tries_left)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the card in *folder*. Raises ConfigInvalid where it is not one."""
        try:
            settings = msgspec.toml.decode((folder / "card.toml").read_bytes(), type=_Settings)
            return cls(
                kind=settings.kind,
                private_key=read_either_private(folder / _KEY),
                certificate=(folder / _CERTIFICATE).read_bytes(),
                ca_certificate=(folder / _CA).read_bytes(),
                anchor_reference=KeyReference(bytes.fromhex(settings.anchor)),
                anchor_key=read_public(folder / "institution.pem"),
                card_key=read_private(folder / "card-key.pem"),
                surface=read_files(folder / _SURFACE),
                text=read_files(folder / _TEXT),
                signing=Signing.load(folder / _SIGNING) if (folder / _SIGNING).exists() else None,
                secrets=Secrets(
                    settings.pin, settings.password, settings.text_pin, settings.number_a, settings.number_b
                ),
                serial=settings.serial,
                limits=settings.limits,
                tries_left=load_tries(folder),
                atr=Atr[settings.atr.upper()],
            )
        except (OSError, ValueError, KeyError, CvcMalformed) as error:  # msgspec's errors are ValueErrors
            raise ConfigInvalid(f"there is no usable card in {folder}: {error}") from error


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`card.toml`."""

    kind: Kind
    serial: str
    pin: str
    password: str
    text_pin: str
    number_a: str
    number_b: str
    atr: str
    anchor: str
    limits: dict[CredentialName, int] = msgspec.field(default_factory=dict)


def read_files(folder: Path) -> dict[int, bytes]:
    """Return the elementary files in *folder*, by the ids they are named for. Raises OSError and ValueError."""
    return {int(path.name, 16): path.read_bytes() for path in sorted(folder.iterdir())}
