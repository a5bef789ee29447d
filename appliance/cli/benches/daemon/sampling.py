"""
Where the daemon's own thread spends its processor time: a sampling profile from inside, without another tool.

The kernel interrupts the process after each so many microseconds of processor time. Python runs the handler in the
main thread between two instructions, so a sample belongs to the function that is running, or has just called into
C. It counts as the processor time of this thread since the last sample, so that what other threads use is not in
it, and nothing is lost where the handler comes late.

What the event loop does in C before it calls Python (TLS, reading a socket) is found at the first function it calls.
"""

import signal
import time
from collections import defaultdict
from types import FrameType
from typing import Final

from appliance.gateway.connections import Connection
from appliance.gateway.peers import Certificate

INTERVAL: Final = 0.001
"""Seconds of processor time between two samples."""
TERMINALS: Final = "terminals: TLS, WebSocket, messages"
HTTP: Final = "reception: HTTP, jobs"
LOOP: Final = "event loop, and what belongs to no part"
_PARTS: Final = (
    ("/appliance/trust/hsm_key", "result token"),
    ("/appliance/trust/jwk", "result token"),
    ("/appliance/gateway/token", "result token"),
    ("/appliance/trust/evidence", "evidence"),
    ("/appliance/trust/", "verification, revocation"),
    ("/appliance/revocation/", "verification, revocation"),
    ("/appliance/card/", "dialogue, APDUs"),
    ("/appliance/ledger/", "ledger, in the event loop"),
    ("/appliance/hsm/", "HSM, the daemon's side"),
    ("/appliance/metrics/", "metrics"),
    ("/prometheus_client/", "metrics"),
    ("/logging/", "logs"),
    ("/appliance/daemon/logs", "logs"),
    ("/appliance/terminals/", TERMINALS),
    ("/aiohttp/_websocket/", TERMINALS),
    ("/aiohttp/web_ws", TERMINALS),
    ("/appliance/gateway/", HTTP),
    ("/aiohttp/", HTTP),
    ("/appliance/daemon/", "use case, wiring"),
    ("/appliance/authentication", "use case, wiring"),
)


class Sampler:
    """Samples from `begin` to `end`; the *seconds* by part are there afterwards."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._last = 0.0

    def begin(self) -> None:
        """Begin to sample, with nothing sampled."""
        self.seconds.clear()
        self._last = time.thread_time()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def end(self) -> None:
        """Sample no more."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        self.seconds[_part(frame)] += now - self._last
        self._last = now


def _part(frame: FrameType | None) -> str:
    """Return what the innermost function belongs to that belongs to any part."""
    while frame is not None:
        name = frame.f_code.co_filename
        for place, part in _PARTS:
            if place in name:
                return TERMINALS if part is HTTP and _is_network(frame) else part
        frame = frame.f_back
    return LOOP


def _is_network(frame: FrameType) -> bool:
    """Tell whether *frame* is a connection's own function, and the connection comes over TLS: from a terminal."""
    own = frame.f_locals.get("self")
    return isinstance(own, Connection) and isinstance(own.credentials, Certificate)
