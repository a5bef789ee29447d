"""Made-up municipalities and the pseudonyms under which their made-up people get certificates."""

import secrets
from dataclasses import dataclass
from typing import Final

_CHARACTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Municipality:
    """Where people live: a five-digit *code*, and the names that the certificates use."""

    code: str
    prefecture: str
    city: str


AOBA: Final = Municipality("99101", "TEST-ken", "Aoba-shi")
MIDORI: Final = Municipality("99202", "TEST-ken", "Midori-shi")
MUNICIPALITIES: Final = (AOBA, MIDORI)


def pseudonym(municipality: Municipality) -> str:
    """Return a new common name in the shape of the real ones, which tells nothing but the municipality."""
    drawn = "".join(secrets.choice(_CHARACTERS) for _ in range(10))
    return f"TEST{drawn}{municipality.code}001A"
