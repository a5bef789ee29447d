"""What is counted of certificates, and of the knowledge which of them were revoked."""

from collections.abc import Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from appliance.metrics.labels import OTHER, REVOCATION_RESULTS
from appliance.trust.revocation import Method


class TrustMetrics:
    """The collectors of what is believed, in *registry*. `revocation_checked` fits `revocation.policy.Observe`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._not_after = Gauge(
            "jpki_certificate_not_after_timestamp_seconds",
            "When a configured certificate ends.",
            ["certificate"],
            registry=registry,
        )
        self._peers_not_after = Gauge(
            "jpki_peer_certificate_not_after_timestamp_seconds",
            "When the certificate ends that `gateway.tls.clients` has of the peer, or else that it showed last since the start.",
            ["peer"],
            registry=registry,
        )
        self._next_update = Gauge(
            "jpki_crl_next_update_timestamp_seconds",
            "When the first of the issuer's lists is due; 0 where none has been imported.",
            ["issuer"],
            registry=registry,
        )
        self._this_update = Gauge(
            "jpki_crl_this_update_timestamp_seconds",
            "When the one of the issuer's lists was made that is the first to count no more; 0 where none has been imported.",
            ["issuer"],
            registry=registry,
        )
        self._counts_until = Gauge(
            "jpki_crl_counts_until_timestamp_seconds",
            "Until when that list counts, by its own end or by `revocation.longest_age_hours`; 0 where none has been imported.",
            ["issuer"],
            registry=registry,
        )
        self._checks = Counter(
            "jpki_revocation_checks_total",
            "Checks for revocation.",
            ["method", "result"],
            registry=registry,
        )
        for method in (Method.CRL, Method.OCSP):
            for result in REVOCATION_RESULTS:
                self._checks.labels(method.value, result)

    @property
    def _of_issuers(self) -> tuple[Gauge, ...]:
        return self._next_update, self._this_update, self._counts_until

    def certificate(self, name: str, not_after: float) -> None:
        """Note when a configured certificate ends."""
        self._not_after.labels(name).set(not_after)

    def peer_certificates(self, ends: Iterable[tuple[str, float]]) -> None:
        """Note when the certificates of peers end, by their aliases: of these, and of no others any more."""
        self._peers_not_after.clear()
        for alias, not_after in ends:
            self._peers_not_after.labels(alias).set(not_after)

    def lists(self, issuer: str, *, due: datetime, made: datetime, until: datetime) -> None:
        """Note when a newer list of *issuer* is *due*, when the first to count no more was *made*, and *until* when it counts."""
        self._next_update.labels(issuer).set(due.timestamp())
        self._this_update.labels(issuer).set(made.timestamp())
        self._counts_until.labels(issuer).set(until.timestamp())

    def no_lists(self, issuer: str) -> None:
        """Note that there is no list of *issuer*."""
        for gauge in self._of_issuers:
            gauge.labels(issuer).set(0)

    def forget_lists(self) -> None:
        """Know no issuer any more: all that there are now are told anew."""
        for gauge in self._of_issuers:
            gauge.clear()

    def forget(self) -> None:
        """Know no certificate and no issuer any more: others may be configured now."""
        self._not_after.clear()
        self.forget_lists()

    def revocation_checked(self, method: Method, result: str) -> None:
        """Count a check: `good`, or a failure's code."""
        self._checks.labels(method.value, result if result in REVOCATION_RESULTS else OTHER).inc()
