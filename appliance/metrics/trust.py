"""What is counted of certificates, and of the knowledge which of them were revoked."""

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
        self._next_update = Gauge(
            "jpki_crl_next_update_timestamp_seconds",
            "When the first of the issuer's lists is due; 0 where none has been imported.",
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

    def certificate(self, name: str, not_after: float) -> None:
        """Note when a configured certificate ends."""
        self._not_after.labels(name).set(not_after)

    def lists(self, issuer: str, next_update: datetime | None) -> None:
        """Note when the first of the lists of *issuer* is due; None where there are none."""
        self._next_update.labels(issuer).set(0 if next_update is None else next_update.timestamp())

    def forget(self) -> None:
        """Know no certificate and no issuer any more: others may be configured now."""
        self._not_after.clear()
        self._next_update.clear()

    def revocation_checked(self, method: Method, result: str) -> None:
        """Count a check: `good`, or a failure's code."""
        self._checks.labels(method.value, result if result in REVOCATION_RESULTS else OTHER).inc()
