"""
What a connector to an eligibility service (資格確認) is: one method, and the values it takes and gives.

The national service is open to registered vendors alone, and so is its interface. Whoever is one writes a connector in a
package of their own, with an entry point in the group `jpki_appliance.eligibility` that names a `Connect`; the
configuration then names the entry point. docs/eligibility.md tells it step by step; `fhir` is one that works.
"""

import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias
from uuid import UUID


class Summary(StrEnum):
    """What an answer comes to. Whatever is not said plainly is UNKNOWN."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Question:
    """Whether the holder whom a result token is about is insured."""

    token: str = field(repr=False)
    """The result token, which the service verifies with our JWKS. It is never logged."""
    subject: str = field(repr=False)
    """The holder's pseudonym: the claim `sub` of the token."""
    desk: str
    request_id: str
    """What to look for in our log. The caller may have chosen it, so nothing is told apart by it."""
    institution: str
    """The 機関コード: the claim `institution_code` of the token."""
    identity_check: str = "unknown"
    """How the holder was checked: `face`, `visual`, `pin`, or `none_emergency`, which is that nobody could."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said, for reception alone: it is passed on and not kept."""

    summary: Summary
    document: str = field(repr=False)
    """The whole answer, as text: UTF-8 of at most `Setup.largest_bytes` when it leaves."""
    media_type: str
    """Of the document, for example `application/fhir+json`."""
    reference: str | None = field(default=None, repr=False)
    """What the service calls its answer, at most 256 printable characters."""


class EligibilityService(Protocol):
    """A service that can be asked. Several questions may be under way at once."""

    async def ask(self, question: Question) -> Answer:
        """
        Return the answer to *question*, having checked that it is the answer to this very question.

        Raises EligibilityUnavailable, EligibilityTimeout, EligibilityRefused, EligibilityAnswerInvalid and
        EligibilityAnswerForeign; anything else counts as a fault of the connector. It is cancelled when the time is
        over. What it says in an exception's detail goes into no answer, and has nothing personal in it.
        """


@dataclass(frozen=True, slots=True)
class Setup:
    """What the configuration says of the service, ready to be used."""

    url: str
    """Begins with `https://`."""
    tls: ssl.SSLContext
    """With our client certificate, and what the service's certificate leads to. The key's file is not told."""
    seconds: float
    largest_bytes: int
    options: Mapping[str, str]
    """`[eligibility.options]`: a connector refuses what it does not know, with ConfigInvalid."""
    clock: Callable[[], datetime]
    """Tells the time, with a zone."""
    new_id: Callable[[], UUID]
    """Makes identifiers that nobody can guess."""


Connect: TypeAlias = Callable[[Setup], AbstractAsyncContextManager[EligibilityService]]
"""
What an entry point names. Calling it looks at everything that can be known without the network, and raises ConfigInvalid or
EligibilityPartMissing; `config check` does just that. Entering opens nothing that has to be there: a service that is
down is met by `ask`.
"""
