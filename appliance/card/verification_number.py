"""
照合番号B: the fourteen digits that open the card's front, all of them printed on it.

    YY MM DD   birth date, the year counted in the Japanese era (和暦), first year 01
    YYYY       year in which the card expires, Gregorian
    NNNN       security code

The era itself is not part of the number. Which era a day belongs to is decided by the day (ruling 24).
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Final, Self

from appliance.errors import VerificationNumberInvalid

_ERAS: Final = (
    date(2019, 5, 1),  # Reiwa (令和)
    date(1989, 1, 8),  # Heisei (平成)
    date(1926, 12, 25),  # Shōwa (昭和)
    date(1912, 7, 30),  # Taishō (大正)
    date(1868, 1, 25),  # Meiji (明治)
)
"""First days of the eras, latest first."""
_LENGTH: Final = 14


def era_year(day: date) -> int:
    """Return which year of its era *day* is in, the first being 1; VerificationNumberInvalid before 1868."""
    for first in _ERAS:
        if day >= first:
            return day.year - first.year + 1
    raise VerificationNumberInvalid("nobody with a card was born before 1868")


@dataclass(frozen=True, slots=True)
class VerificationNumber:
    """照合番号B. Not a secret like a PIN, but it opens name, address and photo: never shown or logged."""

    digits: str = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.digits) != _LENGTH or not (self.digits.isascii() and self.digits.isdigit()):
            raise VerificationNumberInvalid("the verification number has fourteen digits")
        if not 1 <= int(self.digits[2:4]) <= 12 or not 1 <= int(self.digits[4:6]) <= 31:
            raise VerificationNumberInvalid("the third to sixth digit are a month and a day")

    @classmethod
    def of(cls, birth: date, expiry_year: int, security_code: str) -> Self:
        """Return the number for what is printed on a card, or raise VerificationNumberInvalid."""
        if len(security_code) != 4:
            raise VerificationNumberInvalid("the security code has four digits")
        return cls(f"{era_year(birth):02d}{birth:%m%d}{expiry_year:04d}{security_code}")
