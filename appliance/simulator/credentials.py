"""Credentials of the card: secrets that the holder proves to know, each with its count of tries (ruling 13)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hmac import compare_digest

from appliance.simulator.status import Status, refuse, require


def _forget(_tries_left: int) -> None:
    """Keep the count in memory alone."""


@dataclass(slots=True)
class Credential:
    """
    A *secret* of digits, which *limit* wrong tries in a row block for good.

    *keep* is called with every new count before the card answers, and before it compares: cutting the power
    in between gains nobody a try.
    """

    secret: bytes = field(repr=False)
    limit: int
    tries_left: int
    keep: Callable[[int], None] = field(default=_forget, repr=False)

    def __post_init__(self) -> None:
        if not self.secret.isdigit():
            raise ValueError("a credential of the card consists of digits")

    @property
    def query(self) -> int:
        """What the card answers to VERIFY without data, verified or not."""
        return Status.TRIES_LEFT + self.tries_left

    def verify(self, attempt: bytes) -> None:
        """Refuse unless *attempt* is the secret; a wrong one costs a try, one of another length does not."""
        require(self.tries_left, Status.BLOCKED)
        require(len(attempt) == len(self.secret), Status.WRONG_LENGTH)
        self._count(self.tries_left - 1)
        if not compare_digest(attempt, self.secret):
            refuse(self.query)
        self._count(self.limit)

    def _count(self, tries_left: int) -> None:
        self.tries_left = tries_left
        self.keep(tries_left)
