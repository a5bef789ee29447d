"""
One line for each request: the number that a person reads out leads to what was asked and how it was answered.

Of open resources, which a load balancer asks for each second, it is on level DEBUG. Who is nobody here could fill the
log by asking, so lines about strangers are bounded in number, and what was left out is counted: told with the first
request of anybody after that minute, and at the end.
"""

import logging
from collections.abc import Callable

from appliance.errors import ApplianceError
from appliance.gateway.problems import INTERNAL
from appliance.gateway.ration import Ration

_LOG = logging.getLogger(__name__)


class RequestLog:
    """Writes the lines of one application; *clock* tells seconds, from anywhere."""

    __slots__ = ("_strangers",)

    def __init__(self, clock: Callable[[], float]) -> None:
        self._strangers = Ration(clock, _left_out)

    def answered(  # noqa: PLR0913 - what there is to say of a request
        self,
        method: str,
        resource: str,
        status: int,
        *,
        failure: Exception | None,
        seconds: float,
        peer: str | None,
    ) -> None:
        """Tell of a request for *resource* by *peer*, None for a stranger, that ended with *status* for *failure*."""
        self._strangers.turn()
        if peer is None and not self._strangers.has_room():
            return
        code = "-" if failure is None else failure.code if isinstance(failure, ApplianceError) else INTERNAL
        _LOG.info(
            "request method=%s resource=%s status=%d code=%s milliseconds=%d peer=%s",
            *(method, resource, status, code, seconds * 1000, peer or "-"),
        )

    def opened(self, resource: str, status: int) -> None:
        """Tell of a request for an open *resource*."""
        self._strangers.turn()
        _LOG.debug("request resource=%s status=%d", resource, status)

    def close(self) -> None:
        """Tell what was left out and is not told yet."""
        self._strangers.close()


def _left_out(count: int) -> None:
    _LOG.warning("requests of strangers left out count=%d", count)
