"""
What works and what does not, judged by one snapshot: pure, and at a time that is given.

Every part that the appliance has gets at least one finding, so that whoever looks sees what was looked at. A finding
holds no words: its code leads to the catalogue's text about that failure, its advice to `doctor-do-…`, which `doctor`
gives for the same cause.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from appliance.errors import (
    HsmPinRejected,
    HsmUnavailable,
    LedgerUnavailable,
    ReaderAbsent,
    ReaderStuck,
    RevocationStale,
    RevocationUnavailable,
)
from appliance.gateway.condition import CertificateEnd, Condition, Hsm, Ledger, Revocation
from appliance.gateway.desks import SEPARATOR, DeskState, DeskStatus

_DAY: Final = 86_400.0
_HOUR: Final = 3_600.0
CERTIFICATE_DAYS: Final = 30
"""Before its end, a certificate is worth a warning."""
CANARY_SECONDS: Final = 300.0
"""Within which each key should have signed a canary."""
CHECKPOINT_ENTRIES: Final = 1_000
"""So many entries without a checkpoint are more than wait for the next one."""
COPY_SECONDS: Final = 3_600.0
"""After which a copy should have left."""
GETTING_OLD: Final = 0.75
"""The part of the time that a list counts for after which it should have been replaced; JpkiListsGettingOld has the same."""
_MOST_SUBJECTS: Final = 8
AT_WORK: Final = frozenset({"ready", "busy"})
"""What workers do that can sign."""
_AWAY: Final = frozenset({DeskState.ABSENT, DeskState.STUCK})


class Part(StrEnum):
    """What is judged, in the order in which it is told."""

    HSM = "hsm"
    READERS = "readers"
    TERMINALS = "terminals"
    LEDGER = "ledger"
    COPIES = "copies"
    REVOCATION = "revocation"
    CERTIFICATES = "certificates"
    CLOCK = "clock"


class Verdict(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    """Somebody should see to it; authentications can be made."""
    FAILED = "failed"


class Advice(StrEnum):
    """What is to be done where no code of ours says it."""

    HSM_STRUGGLES = "hsm-struggles"
    TERMINAL_AWAY = "terminal-away"
    CHECKPOINT_BEHIND = "checkpoint-behind"
    NO_COPIES = "no-copies"
    COPIES_BEHIND = "copies-behind"
    NOTHING_CHECKED = "nothing-checked"
    LIST_MISSING = "list-missing"
    LIST_OLD = "list-old"
    CERTIFICATE_ENDS = "certificate-ends"
    PEER_CERTIFICATE_ENDS = "peer-certificate-ends"
    CLOCK = "clock"
    CLOCK_UNKNOWN = "clock-unknown"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a *part*: of *subjects* in it, by their aliases, of which there are *more* than are named."""

    part: Part
    verdict: Verdict
    subjects: tuple[str, ...] = ()
    more: int = 0
    advice: Advice | None = None
    code: str | None = None


def findings(
    condition: Condition, desks: Sequence[DeskStatus], terminals: Iterable[str] = ()
) -> tuple[Finding, ...]:
    """Return what is found of *condition*, *desks*, and the remote *terminals* of these aliases, at the condition's time."""
    now = condition.time.timestamp()
    return (
        *(_hsm(one, now, serves=condition.serving is not None) for one in condition.hsms),
        *_readers([one for one in desks if one.kind == "local"]),
        *_terminals([one for one in desks if one.kind == "remote"], terminals),
        _ledger(condition.ledger),
        _copies(condition.ledger),
        *_revocation(condition.revocation, now),
        *_certificates(condition.certificates, condition.peer_certificates, now),
        _clock(synchronised=condition.clock_synchronised),
    )


def _hsm(one: Hsm, now: float, *, serves: bool) -> Finding:
    named = (one.alias,)
    # Where another one serves, nobody is refused.
    bad = Verdict.WARNING if serves else Verdict.FAILED
    if one.pin_marker:
        return Finding(part=Part.HSM, verdict=bad, subjects=named, code=HsmPinRejected.code)
    if one.state != "up":
        code = HsmUnavailable.code if one.last_failure is None else one.last_failure.code
        return Finding(part=Part.HSM, verdict=bad, subjects=named, code=code)
    missing = sum(number for state, number in one.workers.items() if state not in AT_WORK)
    silent = any(key.canary_at is None or now - key.canary_at > CANARY_SECONDS for key in one.keys)
    if missing or silent:
        return Finding(part=Part.HSM, verdict=Verdict.WARNING, subjects=named, advice=Advice.HSM_STRUGGLES)
    return Finding(part=Part.HSM, verdict=Verdict.OK, subjects=named)


def _readers(local: Sequence[DeskStatus]) -> Iterator[Finding]:
    for state, code in ((DeskState.ABSENT, ReaderAbsent.code), (DeskState.STUCK, ReaderStuck.code)):
        if names := [one.desk for one in local if one.state is state]:
            yield _of(Part.READERS, Verdict.FAILED, names, code=code)
    if fine := [one.desk for one in local if one.state not in _AWAY]:
        yield _of(Part.READERS, Verdict.OK, fine)


def _terminals(remote: Sequence[DeskStatus], aliases: Iterable[str]) -> Iterator[Finding]:
    """Yield which terminals are there with all their readers; one that has not come since the start has no desks."""
    usable: dict[str, list[bool]] = {alias: [] for alias in aliases}
    for one in remote:
        usable.setdefault(one.desk.partition(SEPARATOR)[0], []).append(one.state not in _AWAY)
    if away := sorted(alias for alias, desks in usable.items() if not desks or not all(desks)):
        # One that is switched off for the night is no failure.
        yield _of(Part.TERMINALS, Verdict.WARNING, away, advice=Advice.TERMINAL_AWAY)
    if fine := sorted(alias for alias, desks in usable.items() if desks and all(desks)):
        yield _of(Part.TERMINALS, Verdict.OK, fine)


def _ledger(ledger: Ledger) -> Finding:
    if not ledger.usable:
        code = ledger.code or LedgerUnavailable.code
        return Finding(part=Part.LEDGER, verdict=Verdict.FAILED, code=code)
    if ledger.size - (ledger.checkpoint_size or 0) > CHECKPOINT_ENTRIES:
        return Finding(part=Part.LEDGER, verdict=Verdict.WARNING, advice=Advice.CHECKPOINT_BEHIND)
    return Finding(part=Part.LEDGER, verdict=Verdict.OK)


def _copies(ledger: Ledger) -> Finding:
    copies = ledger.copies
    if not copies.place:
        return Finding(part=Part.COPIES, verdict=Verdict.WARNING, advice=Advice.NO_COPIES)
    if copies.waiting is not None and copies.waiting > COPY_SECONDS:
        return Finding(part=Part.COPIES, verdict=Verdict.WARNING, advice=Advice.COPIES_BEHIND)
    return Finding(part=Part.COPIES, verdict=Verdict.OK)


def _revocation(known: Revocation, now: float) -> Iterator[Finding]:
    bad = Verdict.WARNING if known.usable else Verdict.FAILED
    if not known.sources:
        yield Finding(part=Part.REVOCATION, verdict=Verdict.WARNING, advice=Advice.NOTHING_CHECKED)
    elif "crl" not in known.sources:
        yield Finding(part=Part.REVOCATION, verdict=Verdict.OK)
    elif known.this_update is None or known.next_update is None:
        code = None if known.usable else RevocationUnavailable.code
        yield _of(Part.REVOCATION, bad, known.missing, advice=Advice.LIST_MISSING, code=code)
    else:
        if known.missing:
            # Whoever is under another authority is served.
            yield _of(Part.REVOCATION, Verdict.WARNING, known.missing, advice=Advice.LIST_MISSING)
        until = min(known.next_update, known.this_update + known.longest_age_hours * _HOUR)
        aged = _aged(known.this_update, until, now, bad)
        if aged.verdict is not Verdict.OK or not known.missing:
            yield aged


def _aged(made: float, until: float, now: float, bad: Verdict) -> Finding:
    """Return what is found of a list that was *made* then and counts *until* then; *bad* is how bad it is that it ended."""
    if until < now:
        return Finding(part=Part.REVOCATION, verdict=bad, advice=Advice.LIST_OLD, code=RevocationStale.code)
    if now - made > GETTING_OLD * (until - made):
        return Finding(part=Part.REVOCATION, verdict=Verdict.WARNING, advice=Advice.LIST_OLD)
    return Finding(part=Part.REVOCATION, verdict=Verdict.OK)


def _certificates(
    ends: Sequence[CertificateEnd], peers: Sequence[CertificateEnd], now: float
) -> Iterator[Finding]:
    now_or_today = [one.name for one in ends if one.not_after < now + _DAY]
    soon = [one.name for one in ends if now + _DAY <= one.not_after < now + CERTIFICATE_DAYS * _DAY]
    for verdict, names in ((Verdict.FAILED, now_or_today), (Verdict.WARNING, soon)):
        if names:
            yield _of(Part.CERTIFICATES, verdict, names, advice=Advice.CERTIFICATE_ENDS)
    if theirs := sorted(one.name for one in peers if one.not_after < now + CERTIFICATE_DAYS * _DAY):
        # Each locks out one, who may be gone for good: never an outage.
        yield _of(Part.CERTIFICATES, Verdict.WARNING, theirs, advice=Advice.PEER_CERTIFICATE_ENDS)
    if ends and not (now_or_today or soon or theirs):
        yield Finding(part=Part.CERTIFICATES, verdict=Verdict.OK)


def _clock(*, synchronised: bool | None) -> Finding:
    if synchronised:
        return Finding(part=Part.CLOCK, verdict=Verdict.OK)
    advice = Advice.CLOCK_UNKNOWN if synchronised is None else Advice.CLOCK
    return Finding(part=Part.CLOCK, verdict=Verdict.WARNING, advice=advice)


def _of(
    part: Part,
    verdict: Verdict,
    names: Sequence[str],
    *,
    advice: Advice | None = None,
    code: str | None = None,
) -> Finding:
    """Return a finding about *names*, of which so many are named as can be read."""
    named = tuple(names[:_MOST_SUBJECTS])
    more = len(names) - len(named)
    return Finding(part=part, verdict=verdict, subjects=named, more=more, advice=advice, code=code)
