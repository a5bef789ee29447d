"""How the appliance is: one snapshot for `/readyz` and `/v1/status`, taken by whoever knows all parts (`daemon`)."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec


class Cause(StrEnum):
    """Why no authentication can be made now."""

    DRAINING = "draining"
    HSM = "hsm"
    LEDGER = "ledger"
    REVOCATION = "revocation"


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts have in common."""


class Failure(_Part, frozen=True, kw_only=True):
    """What went wrong last: our *code*, *at* which time (Unix)."""

    code: str
    at: float


class HsmKey(_Part, frozen=True, kw_only=True):
    """A key by its *label*, and when it last proved to sign (Unix time), which took so many *seconds*."""

    label: str
    canary_at: float | None
    canary_seconds: float | None


class Hsm(_Part, frozen=True, kw_only=True):
    """One HSM by its *alias*; *workers* counts them by what they do."""

    alias: str
    state: str
    workers: Mapping[str, int]
    keys: tuple[HsmKey, ...]
    breaker_open: bool
    last_failure: Failure | None
    pin_marker: bool
    """Whether a rejected PIN keeps everybody from trying again until a person has looked."""


class Copies(_Part, frozen=True, kw_only=True):
    """
    Checkpoints outside: whether there is a *place* for them, and how many entries are *covered* by one that has left.

    The last one left *at* that time (Unix), None where none has since the start; the first entry that none covers has
    been *waiting* for so many seconds, None where none does.
    """

    place: bool
    covered: int
    at: float | None
    waiting: float | None


class Ledger(_Part, frozen=True, kw_only=True):
    """The log: how many entries are durable, how many under the newest checkpoint, and which copies have *failures*."""

    origin: str
    usable: bool
    code: str | None
    """Why it is not usable."""
    size: int
    checkpoint_size: int | None
    failures: Mapping[str, int]
    copies: Copies


class Revocation(_Part, frozen=True, kw_only=True):
    """What is known of revocation: from which *sources*, and until when (Unix time) by the list that ends first."""

    usable: bool
    sources: tuple[str, ...]
    this_update: float | None
    next_update: float | None
    longest_age_hours: float
    """For which a list counts at most, whatever its issuer says."""
    missing: tuple[str, ...]
    """The authorities in force of which no list has been imported: where lists alone are asked, holders under them are refused."""


class CertificateEnd(_Part, frozen=True, kw_only=True):
    """A certificate by its *name*, and when it ends (Unix time)."""

    name: str
    not_after: float


class Condition(_Part, frozen=True, kw_only=True):
    """The whole appliance. *serving* is the HSM that gets the next request, *queued* how many wait for one."""

    version: str
    time: datetime
    started_at: float
    hsms: tuple[Hsm, ...]
    serving: str | None
    queued: int
    ledger: Ledger
    revocation: Revocation
    certificates: tuple[CertificateEnd, ...]
    peer_certificates: tuple[CertificateEnd, ...]
    """By the peer's alias: what `gateway.tls.clients` has of the peer itself, or else what it showed last since the start."""
    clock_synchronised: bool | None
    """Whether the clock follows another one; None where nobody says."""
    authentications: int
    """How many are under way."""

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Why no authentication can be made; none where one can."""
        parts = {
            Cause.HSM: self.serving is not None,
            Cause.LEDGER: self.ledger.usable,
            Cause.REVOCATION: self.revocation.usable,
        }
        return tuple(cause for cause, is_usable in parts.items() if not is_usable)
