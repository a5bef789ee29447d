"""
Made-up municipalities and people, and what is derived from a person.

Every name says TEST, and every My Number lies in the range that this simulator takes for itself: it begins with
0000. The derived numbers are computed here and not by `appliance.card`, so that both sides judge each other.
"""

import secrets
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Final

_CHARACTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TEST_RANGE: Final = "0000"

_ERAS: Final = {5: date(2019, 5, 1), 4: date(1989, 1, 8), 3: date(1926, 12, 25)}
"""First days of Reiwa, Heisei and Shōwa (ruling 24), by the digit that certificates write for the era."""


@dataclass(frozen=True, slots=True)
class Municipality:
    """Where people live: a five-digit *code*, and the names that the certificates use."""

    code: str
    prefecture: str
    city: str


AOBA: Final = Municipality("99101", "TEST-ken", "Aoba-shi")
MIDORI: Final = Municipality("99202", "TEST-ken", "Midori-shi")
MUNICIPALITIES: Final = (AOBA, MIDORI)
_WRITTEN: Final = {AOBA: "テスト県あおば市", MIDORI: "テスト県みどり市"}


class Sex(Enum):
    """性別 as the card writes it (card facts 4.2)."""

    MALE = "1"
    FEMALE = "2"
    OTHER = "9"


@dataclass(frozen=True, slots=True)
class Person:
    """
    Someone whom nobody is: what their card says, in Japanese script and as it is drawn.

    *expires* and *security_code* are the card's; together with the birth date they make 照合番号B.
    """

    name: str
    drawn_name: str
    address: str
    drawn_address: str
    birth: date
    sex: Sex
    expires: date
    security_code: str = field(repr=False)
    my_number: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.birth < min(_ERAS.values()):
            raise ValueError("nobody with a card was born before Shōwa")
        if not (
            len(self.security_code) == 4 and self.security_code.isascii() and self.security_code.isdigit()
        ):
            raise ValueError("a security code has four digits")
        if not is_my_number(self.my_number):
            raise ValueError("a My Number has twelve digits, the last of which checks the others")

    @property
    def era(self) -> int:
        """The digit for the era of the birth date."""
        return next(digit for digit, start in _ERAS.items() if start <= self.birth)

    @property
    def birth_key(self) -> str:
        """The birth date in its Japanese era, six digits YYMMDD; the era itself is not told."""
        return f"{self.birth.year - _ERAS[self.era].year + 1:02d}{self.birth:%m%d}"

    @property
    def number_b(self) -> str:
        """照合番号B: what is printed on the front, 14 digits (card facts 4.1)."""
        return f"{self.birth_key}{self.expires.year:04d}{self.security_code}"


_PEOPLE: Final = (
    ("テスト　太郎", "TEST TARO", date(1980, 2, 17), Sex.MALE),
    ("テスト　花子", "TEST HANAKO", date(1957, 11, 3), Sex.FEMALE),
    ("テスト　桜", "TEST SAKURA", date(1999, 4, 28), Sex.FEMALE),
    ("テスト　薫", "TEST KAORU", date(2020, 7, 9), Sex.OTHER),
)


def made_up(municipality: Municipality, today: date) -> Person:
    """Return someone in *municipality* whose card is some months old on *today*."""
    name, drawn_name, birth, sex = secrets.choice(_PEOPLE)
    block, number = secrets.randbelow(20) + 1, secrets.randbelow(90) + 1
    return Person(
        name=name,
        drawn_name=drawn_name,
        address=f"{_WRITTEN.get(municipality, 'テスト県テスト市')}{block}番地{number}",
        drawn_address=f"{block}-{number} {municipality.city}, {municipality.prefecture}",
        birth=birth,
        sex=sex,
        expires=birth.replace(year=today.year + 9),  # cards end on a birthday
        security_code=f"{secrets.randbelow(10_000):04d}",
        my_number=own_number(secrets.randbelow(10_000_000)),
    )


def own_number(serial: int) -> str:
    """Return the My Number of our own range with *serial*, which has at most seven digits."""
    if not 0 <= serial < 10_000_000:
        raise ValueError("our range of My Numbers has seven digits")
    digits = f"{_TEST_RANGE}{serial:07d}"
    return f"{digits}{_check_digit(digits)}"


def is_my_number(text: str) -> bool:
    """Whether *text* has the form of a My Number, its check digit included."""
    return len(text) == 12 and text.isascii() and text.isdigit() and text[-1] == str(_check_digit(text[:-1]))


def _check_digit(digits: str) -> int:
    """Return the check digit of eleven *digits* (番号法 施行規則 5条): weights 2 to 7, then 2 to 6, from the right."""
    weights = (2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6)
    rest = sum(int(digit) * weight for digit, weight in zip(reversed(digits), weights, strict=True)) % 11
    return 0 if rest <= 1 else 11 - rest


def pseudonym(municipality: Municipality) -> str:
    """Return a new common name in the shape of the real ones, which tells nothing but the municipality."""
    drawn = "".join(secrets.choice(_CHARACTERS) for _ in range(10))
    return f"TEST{drawn}{municipality.code}001A"
