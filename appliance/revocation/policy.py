"""Which sources are asked in which order, and what happens when none of them knows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeAlias

from appliance.errors import (
    ApplianceError,
    RevocationDataInvalid,
    RevocationStale,
    RevocationUnavailable,
)
from appliance.trust.certificates import HolderCertificate
from appliance.trust.revocation import UNCHECKED, Method, Standing


class Source(Protocol):
    """One place where a certificate's standing is known."""

    @property
    def method(self) -> Method:
        """How it knows."""

    async def check(self, holder: HolderCertificate, now: datetime) -> Standing:
        """Return that *holder* is good, or raise a TrustError."""


Observe: TypeAlias = Callable[[Method, str], None]
"""Told the method and result of every check: `good`, or a failure's code. Nothing of a certificate."""


def ignore(_method: Method, _result: str) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True)
class Sources:
    """
    The *sources* in order. The first that knows decides; that it does not know the certificate decides, too.

    Where none of them can say, the first one's failure is the answer: fail closed. Only with *accept_unchecked*, or
    without any source, the standing is UNCHECKED, and says so.
    """

    sources: Sequence[Source]
    accept_unchecked: bool = False
    observe: Observe = ignore

    async def check(self, holder: HolderCertificate, now: datetime) -> Standing:
        """Return the standing of *holder* at *now*, or raise what the class says."""
        failure: ApplianceError | None = None
        for source in self.sources:
            try:
                standing = await source.check(holder, now)
            except (RevocationUnavailable, RevocationStale, RevocationDataInvalid) as error:
                self.observe(source.method, error.code)
                failure = failure or error
            except ApplianceError as error:
                self.observe(source.method, error.code)
                raise
            else:
                self.observe(source.method, standing.result)
                return standing
        if failure is not None and not self.accept_unchecked:
            raise failure
        return replace(UNCHECKED, checked_at=now)
