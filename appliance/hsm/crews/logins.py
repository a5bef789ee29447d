"""
Logins to one token: one at a time, with a distance between them, and none after a rejected PIN.

One token has one gate, also while one set of workers takes over from another.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from appliance.errors import HsmPinRejected
from appliance.hsm.marker import Marker, Rejection
from appliance.hsm.place import Hsm

_LOG = logging.getLogger(__name__)


class LoginGate:
    """The gate before a token. Attempts are at least *distance* seconds of *clock* apart."""

    def __init__(self, marker: Marker, distance: float, clock: Callable[[], float]) -> None:
        self.marker = marker
        self._distance = distance
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last = float("-inf")
        self._rejected: HsmPinRejected | None = None
        """A rejection that could not be written down, and holds as long as this process."""

    def check(self) -> None:
        """Raise HsmPinRejected where no login may be tried."""
        if self._rejected is not None:
            raise HsmPinRejected(f"no other login is tried: {self._rejected.detail}")
        if self.marker.is_set():
            said = self.marker.read()
            why = f": {said.detail} ({said.time:%Y-%m-%d %H:%M} UTC)" if said else ""
            raise HsmPinRejected(f"no other login is tried, {self.marker.path} is there{why}")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn to log in, or raise HsmPinRejected; the turn ends with the block."""
        async with self._lock:
            pause = self._last + self._distance - self._clock()
            if pause > 0:
                await asyncio.sleep(pause)
            self.check()
            self._last = self._clock()
            yield

    def rejected(self, hsm: Hsm, error: HsmPinRejected) -> None:
        """Let nobody through from now on, also after a restart: the token refused the PIN."""
        setup = hsm.setup
        rejection = Rejection(
            hsm=hsm.alias,
            token=setup.token,
            module=setup.module,
            pin_file=setup.pin_file,
            time=datetime.now(UTC).replace(microsecond=0),
            detail=error.detail,
        )
        try:
            self.marker.set(rejection)
        except OSError as failed:
            self._rejected = error
            _LOG.critical(
                "the marker of a rejected PIN cannot be written path=%s: %s", self.marker.path, failed
            )
        else:
            _LOG.critical("the HSM has rejected the PIN hsm=%s marker=%s", hsm.alias, self.marker.path)
