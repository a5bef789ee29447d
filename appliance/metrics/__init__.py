"""What is counted: the collectors, and the closed sets of their labels."""

from appliance.metrics.collectors import Metrics
from appliance.metrics.labels import (
    ANSWERED,
    AUTHENTICATED,
    CANCELLED,
    EXCHANGE,
    OTHER,
    STEPS,
    Transport,
    transport_of,
)

__all__ = [
    "ANSWERED",
    "AUTHENTICATED",
    "CANCELLED",
    "EXCHANGE",
    "OTHER",
    "STEPS",
    "Metrics",
    "Transport",
    "transport_of",
]
