"""
When somebody has to look at the deadlines next: one timer for all requests.

A timer for each request would cost the event loop more than the request does. This one is set for the earliest
deadline there may be, and looks a little too often rather than too late.
"""

import asyncio
from collections.abc import Callable

from appliance.errors import HsmTimeout
from appliance.hsm.crews.crew import Crew
from appliance.hsm.crews.line import Job, Line


class Alarm:
    """Calls *ring* no later than the earliest time it was set for; *clock* is monotonic."""

    __slots__ = ("_at", "_clock", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None], clock: Callable[[], float]) -> None:
        self._ring = ring
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, when: float) -> None:
        """Ring at *when*, unless it rings earlier anyway."""
        if self._timer is not None:
            if self._at <= when:
                return
            self._timer.cancel()
        self._at = when
        self._timer = asyncio.get_running_loop().call_later(max(0.0, when - self._clock()), self._ring)

    def stop(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def sweep_line(
    crew: Crew, line: Line, now: float, seconds: float, fail: Callable[[Job, HsmTimeout], None]
) -> list[float]:
    """
    End a worker that hangs, and what its callers do not wait for any more; return the next deadlines.

    A request may take so many *seconds*. One that a worker logs in for is not counted against the worker.
    """
    limit = crew.operation_seconds
    watched = line.load > 0 and not line.child.logging_in
    if watched and line.since + limit <= now:
        for job in line.jobs:
            fail(job, HsmTimeout(f"no answer in {limit:g} s; the outcome is unknown"))
        crew.discard(line, f"a worker was silent for {limit:g} s")
        return []
    for job in line.jobs:
        if job.deadline <= now and not job.future.done():
            fail(job, HsmTimeout(f"no answer in {seconds:g} s; the outcome is unknown"))
            line.withdraw(job)
    pending = [job.deadline for job in line.jobs if not job.future.done()]
    return [*pending, line.since + limit] if watched else pending
