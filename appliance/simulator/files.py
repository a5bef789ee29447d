"""
What lies in an application of the card: elementary files by id, and what each kind of them holds.

An application is a table. Whatever a card has, in whichever application, is one of these five kinds, and the
commands look at the kind alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from appliance.simulator.credentials import Credential
from appliance.simulator.institution import TrustAnchor
from appliance.simulator.keys import CardKey

SFI_FILES: Final = range(0x01, 0x1F)
"""The file ids that a short EF id can name."""

_FILLER: Final = b"\xff"


@dataclass(frozen=True, slots=True)
class Data:
    """A file that everyone may read; *content* includes its filler (ruling 16)."""

    content: bytes

    @classmethod
    def filled(cls, content: bytes, size: int) -> "Data":
        """Return a file of *size* bytes with FF behind *content*; a longer content has no filler."""
        return cls(content.ljust(size, _FILLER))


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs after the credential in file *opened_by*, or, where it so says, for an institution."""

    key: CardKey
    opened_by: int
    serves_institution: bool = False


@dataclass(frozen=True, slots=True)
class Pin:
    """A credential of the holder."""

    credential: Credential


@dataclass(frozen=True, slots=True)
class Anchor:
    """The key that the institution's chain begins with."""

    anchor: TrustAnchor


class Holds(Enum):
    """What a shut file would hold, which decides the commands that fit its kind."""

    DATA = "data"
    KEY = "key"
    CREDENTIAL = "credential"


@dataclass(frozen=True, slots=True)
class Shut:
    """A file that exists and that nothing opens (ruling 20)."""

    holds: Holds = Holds.DATA


File: TypeAlias = Data | SigningKey | Pin | Anchor | Shut


@dataclass(frozen=True, slots=True)
class Application:
    """
    One application: its *name* (AID), its *files* by id, and what COMPUTE DIGITAL SIGNATURE takes in it.

    *operations* are the values of P1. *key_references* says for each value of P2 which file it names; None is
    the current one (ruling 12).
    """

    name: bytes
    files: Mapping[int, File]
    operations: frozenset[int]
    key_references: Mapping[int, int | None]
