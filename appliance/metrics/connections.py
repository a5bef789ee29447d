"""What is counted of connections to the gateway, before anybody is known and after."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from appliance.gateway.doorstep import Refusal


class ConnectionMetrics:
    """The collectors of the gateway's connections, in *registry*."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._inside = Gauge(
            "jpki_connections_open",
            "Connections to the gateway, of all kinds, whose other end has shown who it is.",
            registry=registry,
        )
        self._waiting = Gauge(
            "jpki_connections_waiting",
            "Connections over the network whose other end has not shown yet who it is.",
            registry=registry,
        )
        self._refused = Counter(
            "jpki_connections_refused_total",
            "Connections that got no further: no room to wait, or inside; late; a handshake that failed.",
            ["cause"],
            registry=registry,
        )
        for why in Refusal:
            self._refused.labels(why.value)

    def look_up(self, inside: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Ask these how many there are, whenever Prometheus does."""
        self._inside.set_function(inside)
        self._waiting.set_function(waiting)

    def refused(self, why: Refusal) -> None:
        """Count a connection that got no further."""
        self._refused.labels(why.value).inc()
