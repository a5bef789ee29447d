"""
What lies in an application of the card: elementary files by id, and what each kind of them holds.

An application is a table. Whatever a card has, in whichever application, is one of these five kinds, and the
commands look at the kind alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final, Self, TypeAlias

from appliance.simulator.card_data import CardData
from appliance.simulator.credentials import Credential, CredentialName, Keep, lengths
from appliance.simulator.institution import TrustAnchor
from appliance.simulator.keys import CardKey

SFI_FILES: Final = range(0x01, 0x1F)
"""The file ids that a short EF id can name."""

FREE: Final[frozenset[int]] = frozenset()
"""No credential is needed."""

_FILLER: Final = b"\xff"


@dataclass(frozen=True, slots=True)
class Data:
    """
    A file to read, after any of the credentials in files *opened_by*, or by everyone where there is none.

    *content* includes the filler (ruling 16).
    """

    content: bytes = field(repr=False)
    opened_by: frozenset[int] = FREE

    @classmethod
    def filled(cls, content: bytes, size: int, opened_by: frozenset[int] = FREE) -> Self:
        """Return a file of *size* bytes with FF behind *content*; a longer content has no filler."""
        return cls(content.ljust(size, _FILLER), opened_by)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """
    A key that signs after any of the credentials in files *opened_by*, or, where it so says, for an institution.

    Without such files it signs for everyone.
    """

    key: CardKey
    opened_by: frozenset[int] = FREE
    serves_institution: bool = False


@dataclass(frozen=True, slots=True)
class Pin:
    """A credential of the holder."""

    credential: Credential

    @classmethod
    def of(cls, data: CardData, name: CredentialName, keep: Keep | None) -> Self:
        """Return the credential *name* of the card made of *data*; *keep* is told every new count of tries."""
        credential = Credential(data.secrets.octets(name), data.limit(name), data.tries(name), lengths(name))
        if keep is not None:
            credential.keep = partial(keep, name)
        return cls(credential)


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
