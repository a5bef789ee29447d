"""How the appliance is, gathered from all parts: for `/readyz` and `/v1/status`, and for the gauges of `metrics`."""

import asyncio
import ctypes
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isnan, nan
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance import __version__
from appliance.config import Configuration, Settings
from appliance.daemon.listeners import may_sign
from appliance.daemon.vigil import Vigil
from appliance.daemon.wiring import Appliance
from appliance.errors import ApplianceError, HsmError, RevocationUnavailable
from appliance.gateway import condition as shown
from appliance.gateway import peers
from appliance.gateway.condition import CertificateEnd, Condition
from appliance.hsm.health import HsmHealth, HsmState
from appliance.hsm.messages import KeyLabel
from appliance.metrics import Metrics
from appliance.revocation.index import Edition, Listing
from appliance.revocation.lists import ListSource
from appliance.trust.revocation import Scope

_STATUS_SECONDS: Final = 1.0
_TIMESYNCD: Final = Path("/run/systemd/timesync/synchronized")
_CLIENTS: Final = "tls-clients"
_UNSYNCHRONISED: Final = 0x40
"""STA_UNSYNC."""


@dataclass(slots=True)
class Conditions:
    """
    Tells how *appliance* is; *vigil* knows whether its ledger writes, *under_way* how many authentications there are.

    *peers_shown* returns when the certificates end that peers have shown.
    """

    appliance: Appliance
    vigil: Vigil
    under_way: Callable[[], int]
    peers_shown: Callable[[], Iterable[CertificateEnd]]
    started_at: float = field(default_factory=time.time)
    _lists: tuple[Edition, dict[str, "_Lists"]] | None = None
    """By issuer: its lists, where there are any; of which edition of the index."""
    _told: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    _ends: tuple[Configuration, tuple[CertificateEnd, ...], tuple[CertificateEnd, ...]] | None = None
    """Of ours, and of peers as far as the configuration has them."""
    _failures: dict[str, int] = field(default_factory=dict)

    def now(self) -> Condition:
        """Return how it is."""
        appliance = self.appliance
        health, synchronised = appliance.pool.health(), clock_synchronised()
        return Condition(
            version=__version__,
            time=datetime.now(UTC),
            started_at=self.started_at,
            hsms=tuple(_hsm(one) for one in health.hsms),
            serving=health.serving,
            queued=health.queued,
            ledger=self._ledger(),
            revocation=self._revocation(),
            certificates=self._certificates()[0],
            peer_certificates=self._peer_certificates(),
            clock_synchronised=None if isnan(synchronised) else bool(synchronised),
            authentications=self.under_way(),
        )

    async def count(self) -> None:
        """Bring the gauges of `metrics` up to date: Prometheus asks."""
        appliance, metrics = self.appliance, self.appliance.metrics
        health = appliance.pool.health()
        count_hsms(metrics, health.hsms)
        await asyncio.gather(
            *(
                self._ask(one.alias)
                for one in health.hsms
                if one.state is HsmState.UP and one.alias not in self._told
            )
        )
        metrics.in_flight.set(self.under_way())
        metrics.allowed.set(appliance.configuration.settings.gateway.authentications)
        for reader in appliance.readers.status():
            metrics.reader_up.labels(reader.reader).set(reader.up)
        metrics.pcsc_polled.set(appliance.readers.view.polled_at)
        for certificate in self._certificates()[0]:
            metrics.trust.certificate(certificate.name, certificate.not_after)
        metrics.trust.peer_certificates((one.name, one.not_after) for one in self._peer_certificates())
        # What was told before is told no more: its authority may have ended.
        metrics.trust.forget_lists()
        for name, known in self._known_lists().items():
            if known is None:
                metrics.trust.no_lists(name)
            else:
                metrics.trust.lists(
                    name, due=known.due, made=known.first.this_update, until=known.first_until
                )
        self._count_ledger()
        metrics.clock_synchronised.set(clock_synchronised())

    async def _ask(self, alias: str) -> None:
        """Learn what the HSM *alias* says of itself, once."""
        with suppress(HsmError, TimeoutError, ValueError):
            async with asyncio.timeout(_STATUS_SECONDS):
                report = await self.appliance.pool.status(alias)
            told = (report.manufacturer, report.model, report.firmware)
            self._told[alias] = told
            self.appliance.metrics.hsm_info.labels(alias, *told).set(1)

    def forget(self) -> None:
        """Ask the HSMs again what they are, and tell nothing of those who have gone: others may be configured now."""
        self._told.clear()
        configured(self.appliance.configuration, self.appliance.metrics)

    def _certificates(self) -> tuple[tuple[CertificateEnd, ...], tuple[CertificateEnd, ...]]:
        """Return when the certificates end that are in use, ours and peers': those that were read with the configuration."""
        configuration = self.appliance.configuration
        if self._ends is None or self._ends[0] is not configuration:
            self._ends = (configuration, tuple(certificates(configuration)), tuple(pinned(configuration)))
        return self._ends[1:]

    def _peer_certificates(self) -> tuple[CertificateEnd, ...]:
        theirs = {one.name: one for one in self.peers_shown()}
        theirs |= {one.name: one for one in self._certificates()[1]}
        return tuple(theirs.values())

    def _count_ledger(self) -> None:
        keeper, metrics = self.appliance.ledger, self.appliance.metrics
        metrics.ledger_size.set(keeper.log.size)
        if keeper.newest is not None and keeper.newest.size >= keeper.log.size:
            metrics.covered(datetime.now(UTC))
        for sink, times in keeper.failures.items():
            metrics.ledger_failed(sink, times - self._failures.get(sink, 0))
            self._failures[sink] = times

    def _ledger(self) -> shown.Ledger:
        keeper = self.appliance.ledger
        code, age = self.vigil.ledger_code or _forbidden(keeper.permit), keeper.copies.age
        return shown.Ledger(
            origin=keeper.log.origin,
            usable=code is None,
            code=code,
            size=keeper.log.size,
            checkpoint_size=None if keeper.newest is None else keeper.newest.size,
            failures=dict(keeper.failures),
            copies=shown.Copies(
                place=keeper.copies.has_place,
                covered=keeper.copies.covered,
                at=None if age is None else time.time() - age,
                waiting=keeper.copies.waiting,
            ),
        )

    def _revocation(self) -> shown.Revocation:
        settings = self.appliance.configuration.settings.revocation
        lists = self._known_lists()
        known = [one for one in lists.values() if one is not None]
        first = min(known, key=lambda one: one.first_until).first if known else None
        current = any(one.last_until > datetime.now(UTC) for one in known)
        forgiving = settings.when_unavailable == "accept-unchecked"
        return shown.Revocation(
            # A responder is asked each time; nobody knows before.
            usable=not settings.sources or forgiving or "ocsp" in settings.sources or current,
            sources=settings.sources,
            this_update=None if first is None else first.this_update.timestamp(),
            next_update=None if first is None else first.next_update.timestamp(),
            longest_age_hours=settings.longest_age_hours,
            missing=tuple(name for name, one in lists.items() if one is None),
        )

    def _known_lists(self) -> dict[str, "_Lists | None"]:
        """
        Return what the index says of each CA's lists, None where it has none; looked up again in a newer edition.

        A CA without lists that has ended is not missed: no holder under it is believed anyway.
        """
        generation = self.appliance.now
        source = next((one for one in generation.revocation.sources if isinstance(one, ListSource)), None)
        if source is None:
            return {}
        authorities = {
            f"authority-{number}": anchor
            for number, anchor in enumerate(generation.authenticator.anchors.certificates, start=1)
        }
        try:
            edition = source.index.edition
        except RevocationUnavailable:
            # An index that is not there or cannot be read answers as one without a list: nobody is found good.
            self._lists, lists = None, {}
        else:
            if self._lists is None or self._lists[0] is not edition:
                self._lists = (edition, dict(_listed(edition, authorities, source.counts_until)))
            lists = self._lists[1]
        now = datetime.now(UTC)
        return {
            name: lists.get(name)
            for name, anchor in authorities.items()
            if name in lists or anchor.not_valid_after_utc > now
        }


@dataclass(frozen=True, slots=True)
class _Lists:
    """The lists of one CA: when a newer one is *due*, which one is the *first* that counts no more, and when the last."""

    due: datetime
    first: Listing
    first_until: datetime
    last_until: datetime

    @classmethod
    def of(cls, listings: Sequence[Listing], counts_until: Callable[[Listing], datetime]) -> Self:
        """Return what is to be known of *listings*, of which there is one at least."""
        first = min(listings, key=counts_until)
        return cls(
            due=min(one.next_update for one in listings),
            first=first,
            first_until=counts_until(first),
            last_until=max(map(counts_until, listings)),
        )


def _listed(
    edition: Edition, authorities: Mapping[str, x509.Certificate], counts_until: Callable[[Listing], datetime]
) -> Iterator[tuple[str, _Lists]]:
    """Yield what *edition* has of *authorities* by their names, of those of which it has a list."""
    for name, anchor in authorities.items():
        issuer = Scope.of(anchor, anchor.subject).issuer
        if theirs := [one for one in edition.listings.values() if one.issuer == issuer]:
            yield name, _Lists.of(theirs, counts_until)


def count_hsms(metrics: Metrics, hsms: Iterable[HsmHealth]) -> None:
    """Bring the gauges of *hsms* up to date, and leave nothing of workers and keys that there were before."""
    for one in hsms:
        metrics.hsm_up.labels(one.alias).set(one.state is HsmState.UP)
        metrics.hsm_breaker.labels(one.alias).set(one.breaker_open)
        if one.marker is not None:
            # Also where workers that logged in before go on signing, or recover: none can log in any more.
            metrics.pin_tries_low(one.alias)
        proved = {key.label: key.canary_at for key in one.keys}
        for label in KeyLabel:
            # A key that went in a rotation is as one that never signed: it grows no older.
            metrics.hsm_canary.labels(one.alias, label.value).set(proved.get(label) or 0)
        for state, number in one.workers.items():
            metrics.hsm_workers.labels(one.alias, state.value).set(number)


def _forbidden(permit: Callable[[], None]) -> str | None:
    """Return the code of why nothing may be written; None where it may."""
    try:
        permit()
    except ApplianceError as error:
        return error.code
    return None


def _hsm(one: HsmHealth) -> shown.Hsm:
    failure = one.last_failure
    return shown.Hsm(
        alias=one.alias,
        state=one.state.value,
        workers={state.value: number for state, number in one.workers.items()},
        keys=tuple(
            shown.HsmKey(label=key.label.value, canary_at=key.canary_at, canary_seconds=key.canary_seconds)
            for key in one.keys
        ),
        breaker_open=one.breaker_open,
        last_failure=None if failure is None else shown.Failure(code=failure.code, at=failure.at),
        pin_marker=one.marker is not None,
    )


def configured(configuration: Configuration, metrics: Metrics) -> None:
    """Have *metrics* know whom *configuration* names."""
    settings = configuration.settings
    metrics.configured(
        (one.alias for one in settings.hsm.all),
        (one.alias for one in settings.peer if one.role == "terminal"),
    )


def certificates(configuration: Configuration) -> Iterator[CertificateEnd]:
    """
    Yield when the configured certificates end, as far as their files can be read now. Institutions' have no end.

    Of those that others' certificates lead to each is named, by its place in its files. What shows who we are, which
    may be a chain, ends when the first of its file's certificates does. Those of peers themselves are `pinned`.
    """
    settings = configuration.settings
    for name, files in _believed(settings):
        found = (one for file in files for one in _held(configuration, file))
        for number, one in enumerate(found, start=1):
            if name != _CLIENTS or _leads_others(settings, one):
                yield CertificateEnd(name=f"{name}-{number}", not_after=one.not_valid_after_utc.timestamp())
    for name, own in _shown(settings):
        if own is not None and (chain := _held(configuration, own)):
            first = min(one.not_valid_after_utc for one in chain)
            yield CertificateEnd(name=name, not_after=first.timestamp())


def pinned(configuration: Configuration) -> Iterator[CertificateEnd]:
    """Yield when the certificates end that `gateway.tls.clients` has of peers themselves, by their aliases."""
    settings = configuration.settings
    ends: dict[str, float] = {}
    for one in () if settings.gateway.tls is None else _held(configuration, settings.gateway.tls.clients):
        if (alias := _owner(settings, one)) is not None:
            # One that follows another lies beside it for a while.
            ends[alias] = max(ends.get(alias, 0.0), one.not_valid_after_utc.timestamp())
    for alias, end in ends.items():
        yield CertificateEnd(name=alias, not_after=end)


def _owner(settings: Settings, one: x509.Certificate) -> str | None:
    """Return the alias of the peer whose own certificate *one* is, None where it is nobody's."""
    shown = peers.certificate(one.public_bytes(Encoding.DER))
    if shown is None:
        return None
    by_pin = (peer.alias for peer in settings.peer if peer.certificate_sha256 == shown.sha256)
    by_name = (peer.alias for peer in settings.peer if (peer.certificate_name or "").lower() in shown.names)
    return next(by_pin, None) or next(by_name, None)


def _leads_others(settings: Settings, one: x509.Certificate) -> bool:
    """Return whether clients may lead to *one*: it is no peer's own, nor one that was a peer's and issues nothing."""
    with suppress(ValueError):
        return _owner(settings, one) is None and may_sign(one)
    return True


def _believed(settings: Settings) -> Iterator[tuple[str, tuple[str, ...]]]:
    tls, ocsp = settings.gateway.tls, settings.revocation.ocsp
    service, syslog = settings.eligibility, settings.ledger.syslog
    yield "authority", settings.trust.authorities
    for name, file in (
        (_CLIENTS, None if tls is None else tls.clients),
        ("responder-authority", None if ocsp is None else ocsp.authorities),
        ("eligibility-authority", None if service is None else service.authorities),
        ("syslog-authority", None if syslog is None else syslog.authority),
    ):
        if file is not None:
            yield name, (file,)


def _shown(settings: Settings) -> Iterator[tuple[str, str | None]]:
    tls, ocsp, service = settings.gateway.tls, settings.revocation.ocsp, settings.eligibility
    yield "tls-server", None if tls is None else tls.certificate
    yield "responder-client", None if ocsp is None else ocsp.client_certificate
    yield "eligibility-client", None if service is None else service.client_certificate


def _held(configuration: Configuration, file: str) -> list[x509.Certificate]:
    with suppress(ApplianceError, ValueError):
        return x509.load_pem_x509_certificates(configuration.read(file))
    return []


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as `status`, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def clock_synchronised() -> float:
    """
    Return 1 where the system's clock follows another one, 0 where not, NaN where nobody says.

    Asking the kernel changes nothing and needs no privilege. A sandbox may refuse it all the same; then the mark that
    systemd-timesyncd leaves is looked for, whose absence says nothing, because others leave none.
    """
    timex = _Timex()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(timex)) >= 0:
        return 0.0 if timex.status & _UNSYNCHRONISED else 1.0
    return 1.0 if os.path.lexists(_TIMESYNCD) else nan
