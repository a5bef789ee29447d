"""What ends: certificates of ours, and lists of revoked ones."""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from appliance.config import Configuration
from appliance.daemon.condition import certificates as certificate_ends
from appliance.daemon.condition import pinned
from appliance.doctor.finding import Advice, Check, Finding, Verdict
from appliance.errors import CertificateExpired, RevocationStale, RevocationUnavailable
from appliance.gateway.condition import CertificateEnd
from appliance.gateway.findings import CERTIFICATE_DAYS, GETTING_OLD
from appliance.revocation.importing import INDEX
from appliance.revocation.index import Index, Listing
from appliance.trust.certificates import Anchors
from appliance.trust.revocation import Scope

_DAY: Final = 86_400.0


def certificates(
    configuration: Configuration, peers: Iterable[CertificateEnd] | None = None
) -> Iterator[Finding]:
    """
    Yield each certificate that ends soon or has ended, or when the first one of ours does.

    Those of *peers* are what the daemon tells, or where it does not what the configuration has of them.
    """
    now = time.time()
    ends = sorted(certificate_ends(configuration), key=lambda one: one.not_after)
    soon = [one for one in ends if one.not_after - now < CERTIFICATE_DAYS * _DAY]
    for one in soon:
        over = one.not_after < now
        yield Finding(
            Check.CERTIFICATES,
            Verdict.FAILED if one.not_after - now < _DAY else Verdict.WARNING,
            f"{'ended' if over else 'ends'} {_date(one.not_after)}",
            one.name,
            Advice.CERTIFICATE_ENDS,
            CertificateExpired.code if over else None,
        )
    for one in pinned(configuration) if peers is None else peers:
        if one.not_after - now < CERTIFICATE_DAYS * _DAY:
            detail = f"{'ended' if one.not_after < now else 'ends'} {_date(one.not_after)}"
            yield Finding(Check.CERTIFICATES, Verdict.WARNING, detail, one.name, Advice.PEER_CERTIFICATE_ENDS)
    if ends and not soon:
        detail = f"{len(ends)} certificates, the first ends {_date(ends[0].not_after)}"
        yield Finding(Check.CERTIFICATES, Verdict.OK, detail)


def revocation(configuration: Configuration, *, is_running: bool) -> Iterator[Finding]:
    """Yield how old the lists of revoked certificates are, and until when they count; a daemon has them imported."""
    settings = configuration.settings.revocation
    if not settings.sources:
        detail = "no source is configured"
        yield Finding(Check.REVOCATION, Verdict.WARNING, detail, advice=Advice.NOTHING_CHECKED)
    if "ocsp" in settings.sources:
        detail = "asked at each authentication, not now"
        yield Finding(Check.REVOCATION, Verdict.NOT_APPLICABLE, detail, "ocsp")
    if "crl" in settings.sources and settings.crl is not None:
        bearable = "ocsp" in settings.sources or settings.when_unavailable == "accept-unchecked"
        imported = (configuration.path(settings.crl.state) / INDEX).exists()
        if imported or is_running:
            yield from _lists(configuration, Verdict.WARNING if bearable else Verdict.FAILED)
        else:
            detail = "no list was imported yet"
            yield Finding(Check.REVOCATION, Verdict.WARNING, detail, "crl", Advice.NOT_BEGUN)


def _lists(configuration: Configuration, bad: Verdict) -> Iterator[Finding]:
    settings = configuration.settings
    if settings.revocation.crl is None:
        return
    anchors = Anchors.from_pem(configuration.read(name) for name in settings.trust.authorities)
    try:
        edition = Index(configuration.path(settings.revocation.crl.state) / INDEX).edition
    except RevocationUnavailable as error:
        yield Finding(Check.REVOCATION, bad, error.detail, "crl", code=error.code)
        return
    if not edition.listings:
        yield Finding(Check.REVOCATION, bad, "the index has no list", "crl", Advice.LIST_MISSING)
        return
    for number, anchor in enumerate(anchors.certificates, start=1):
        issuer = Scope.of(anchor, anchor.subject).issuer
        listings = [one for one in edition.listings.values() if one.issuer == issuer]
        if not listings and anchor.not_valid_after_utc <= datetime.now(UTC):
            continue  # no holder under it is believed anyway
        yield _of_issuer(f"authority-{number}", listings, settings.revocation.longest_age_hours, bad)


def _of_issuer(name: str, listings: list[Listing], longest_hours: float, bad: Verdict) -> Finding:
    if not listings:
        # It may be one that has issued no cards yet, or none any more.
        detail = "no list of this authority"
        return Finding(Check.REVOCATION, Verdict.WARNING, detail, name, Advice.LIST_MISSING)
    now = datetime.now(UTC)
    oldest = min(one.this_update for one in listings)
    first = min(one.next_update for one in listings)
    longest = timedelta(hours=longest_hours)
    times = [(one.this_update, min(one.next_update, one.this_update + longest)) for one in listings]
    detail = f"{len(listings)} lists, oldest of {oldest:%Y-%m-%d %H:%M} UTC, next update {first:%Y-%m-%d %H:%M} UTC"
    if any(until < now for _, until in times):
        return Finding(Check.REVOCATION, bad, detail, name, Advice.LIST_OLD, RevocationStale.code)
    if any(now - made > GETTING_OLD * (until - made) for made, until in times):
        return Finding(Check.REVOCATION, Verdict.WARNING, detail, name, Advice.LIST_OLD)
    return Finding(Check.REVOCATION, Verdict.OK, detail, name)


def _date(unix: float) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d}"
