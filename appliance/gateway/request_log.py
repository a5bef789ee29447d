"""
One line for each request: the number that a person reads out leads to what was asked and how it was answered.

Of open resources, which a load balancer asks for each second, it is on level DEBUG. Who is nobody here could fill the
log by asking, so lines about strangers are bounded in number, and what was left out is counted: told with the first
request of anybody after that minute, and at the end.
"""

import logging
from collections.abc import Callable
from typing import Final

from appliance.errors import ApplianceError
from appliance.gateway.problems import INTERNAL

_LOG = logging.getLogger(__name__)

STRANGERS: Final = 60
"""Lines about strangers in a minute."""
_MINUTE: Final = 60.0


class RequestLog:
    """Writes the lines of one application; *clock* tells seconds, from anywhere."""

    __slots__ = ("_clock", "_left_out", "_minute", "_strangers")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._minute = -_MINUTE
        self._strangers = self._left_out = 0

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
        self._turn()
        if peer is None and not self._has_room():
            return
        code = "-" if failure is None else failure.code if isinstance(failure, ApplianceError) else INTERNAL
        _LOG.info(
            "request method=%s resource=%s status=%d code=%s milliseconds=%d peer=%s",
            *(method, resource, status, code, seconds * 1000, peer or "-"),
        )

    def opened(self, resource: str, status: int) -> None:
        """Tell of a request for an open *resource*."""
        self._turn()
        _LOG.debug("request resource=%s status=%d", resource, status)

    def close(self) -> None:
        """Tell what was left out and is not told yet."""
        if self._left_out:
            _LOG.warning("requests of strangers left out count=%d", self._left_out)
        self._left_out = 0

    def _turn(self) -> None:
        """Begin another minute where the last one is over."""
        now = self._clock()
        if now >= self._minute + _MINUTE:
            self.close()
            self._minute, self._strangers = now, 0

    def _has_room(self) -> bool:
        self._strangers += 1
        self._left_out += self._strangers > STRANGERS
        return self._strangers <= STRANGERS
