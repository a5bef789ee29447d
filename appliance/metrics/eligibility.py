"""What is counted of the eligibility service, which is asked after an authentication."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from appliance.metrics.labels import OTHER, eligibility_outcomes

_SECONDS: Final = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0)
_OUTCOMES: Final = frozenset(eligibility_outcomes())


class EligibilityMetrics:
    """The collectors of questions to the eligibility service, in *registry*."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._questions = Counter(
            "jpki_eligibility_questions_total",
            "Questions to the eligibility service by what became of them: answered, cancelled, or a code.",
            ["outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "jpki_eligibility_seconds",
            "Until the eligibility service has answered, or was given up.",
            buckets=_SECONDS,
            registry=registry,
        )
        for outcome in eligibility_outcomes():
            self._questions.labels(outcome)

    def asked(self, outcome: str, seconds: float) -> None:
        """Count a question that ended as *outcome*: ANSWERED, CANCELLED, or a failure's code."""
        self._questions.labels(outcome if outcome in _OUTCOMES else OTHER).inc()
        self._seconds.observe(seconds)
