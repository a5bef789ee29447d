"""
What is known about a certificate's revocation.

There is no source of revocation data yet, and the result says so in so many words.
"""

from dataclasses import dataclass
from enum import StrEnum


class Revocation(StrEnum):
    """The answer to whether a certificate was revoked."""

    UNCHECKED = "unchecked"


class Assurance(StrEnum):
    """How fresh the knowledge behind an answer is."""

    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Standing:
    """A certificate's standing, and on what *assurance* that rests."""

    result: Revocation
    assurance: Assurance


UNCHECKED = Standing(Revocation.UNCHECKED, Assurance.UNCHECKED)
