"""
Credentials of the card: secrets that the holder proves to know, each with its count of tries (ruling 13).

Applications do not share counts, also where the secret is the same (ruling 21).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from hmac import compare_digest
from typing import Final, Self, TypeAlias

from appliance.simulator.people import Person
from appliance.simulator.status import Status, refuse, require

MOST_TRIES: Final = 15
"""A status word has four bits for the count."""


class CredentialName(StrEnum):
    """The credentials of a card, by the application they are in."""

    PIN = "pin"
    """利用者証明用 PIN, in the JPKI application."""
    PASSWORD = "password"  # noqa: S105  # a name, not a password
    """署名用パスワード, in the JPKI application."""
    SURFACE_BIRTH = "surface-birth"
    SURFACE_B = "surface-b"
    SURFACE_A = "surface-a"
    TEXT_PIN = "text-pin"
    TEXT_A = "text-a"
    TEXT_B = "text-b"


Keep: TypeAlias = Callable[[CredentialName, int], None]
"""Is told every new count of a credential's tries."""

LIMITS: Final = {
    CredentialName.PIN: 3,
    CredentialName.PASSWORD: 5,
    CredentialName.SURFACE_BIRTH: 10,  # not public: as for the numbers it is a part of
    CredentialName.SURFACE_B: 10,
    CredentialName.SURFACE_A: 10,
    CredentialName.TEXT_PIN: 3,
    CredentialName.TEXT_A: 10,
    CredentialName.TEXT_B: 10,
}
"""How many wrong tries in a row block a credential (card facts 1.3, 1.6)."""


_PASSWORD_LENGTHS: Final = range(6, 17)


def lengths(name: CredentialName) -> range | None:
    """Return the lengths that may be tried for the credential *name*; None for that of the secret alone."""
    return _PASSWORD_LENGTHS if name is CredentialName.PASSWORD else None


@dataclass(frozen=True, slots=True)
class Secrets:
    """What opens a card: two PINs, a password, and the numbers that are printed on it."""

    pin: str = field(repr=False)
    password: str = field(repr=False)
    text_pin: str = field(repr=False)
    number_a: str = field(repr=False)
    number_b: str = field(repr=False)

    def __post_init__(self) -> None:
        for name, text, length in (
            ("a PIN", self.pin, 4),
            ("a PIN", self.text_pin, 4),
            ("照合番号A", self.number_a, 12),
            ("照合番号B", self.number_b, 14),
        ):
            if len(text) != length or not (text.isascii() and text.isdigit()):
                raise ValueError(f"{name} of a card has {length} digits")
        if not (
            len(self.password) in _PASSWORD_LENGTHS and self.password.isascii() and self.password.isalnum()
        ):
            raise ValueError("the password of a card has 6 to 16 letters and digits")
        if self.password != self.password.upper():
            raise ValueError("the password of a card has upper-case letters")

    @classmethod
    def of(cls, person: Person, pin: str) -> Self:
        """Return what opens the card of *person*, who uses *pin* twice."""
        return cls(pin, f"TEST{pin}", pin, person.my_number, person.number_b)

    def octets(self, name: CredentialName) -> bytes:
        """Return the secret of the credential *name* as VERIFY carries it."""
        text = {
            CredentialName.PIN: self.pin,
            CredentialName.PASSWORD: self.password,
            CredentialName.SURFACE_BIRTH: self.number_b[:6],
            CredentialName.SURFACE_B: self.number_b,
            CredentialName.SURFACE_A: self.number_a,
            CredentialName.TEXT_PIN: self.text_pin,
            CredentialName.TEXT_A: self.number_a,
            CredentialName.TEXT_B: self.number_b,
        }[name]
        return text.encode("ascii")


def _forget(_tries_left: int) -> None:
    """Keep the count in memory alone."""


@dataclass(slots=True)
class Credential:
    """
    A *secret*, which *limit* wrong tries in a row block for good.

    *lengths* are those that may be tried, where they do not follow from the secret's own.
    *keep* is called with every new count before the card answers, and before it compares: cutting the power
    in between gains nobody a try.
    """

    secret: bytes = field(repr=False)
    limit: int
    tries_left: int
    lengths: range | None = None
    keep: Callable[[int], None] = field(default=_forget, repr=False)

    @property
    def query(self) -> int:
        """What the card answers to VERIFY without data, verified or not."""
        return Status.TRIES_LEFT + self.tries_left

    def verify(self, attempt: bytes) -> None:
        """Refuse unless *attempt* is the secret; a wrong one costs a try, one of another length does not."""
        require(self.tries_left, Status.BLOCKED)
        require(
            len(attempt) in (self.lengths or range(len(self.secret), len(self.secret) + 1)),
            Status.WRONG_LENGTH,
        )
        self._count(self.tries_left - 1)
        if not compare_digest(attempt, self.secret):
            refuse(self.query)
        self._count(self.limit)

    def _count(self, tries_left: int) -> None:
        self.tries_left = tries_left
        self.keep(tries_left)
