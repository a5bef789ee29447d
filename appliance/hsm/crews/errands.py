"""What goes on beside a crew's keeper: short tasks, and things to do later."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from appliance.hsm.crews.child import Child

_FAREWELL_SECONDS = 2.0
"""How long a process may take to end by itself, and to be gone once it is killed."""

_LOG = logging.getLogger(__name__)


class Errands:
    """Tasks and timers of one owner, which end with it."""

    __slots__ = ("_stopped", "_tasks", "_timers")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._stopped = False

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Have *work* done beside everything else."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Call *what* in so many *seconds*, unless it was stopped until then."""

        def due() -> None:
            self._timers.discard(timer)
            if not self._stopped:
                what()

        timer = asyncio.get_running_loop().call_later(seconds, due)
        self._timers.add(timer)

    def stop(self) -> None:
        """Call nothing any more."""
        self._stopped = True
        for timer in self._timers:
            timer.cancel()

    async def done(self) -> None:
        """Wait until no task is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)


class Processes:
    """All processes that have been started and not been seen to end."""

    __slots__ = ("_children",)

    def __init__(self) -> None:
        self._children: set[Child] = set()

    @property
    def all(self) -> frozenset[Child]:
        """The processes."""
        self._forget_ended()
        return frozenset(self._children)

    def add(self, child: Child) -> None:
        """Keep an eye on *child*."""
        self._children.add(child)

    def hang_up(self) -> None:
        """Tell all of them that they are not needed."""
        for child in self._children:
            child.hang_up()

    async def dismiss(self, child: Child) -> None:
        """Hang up on *child*, which makes it end, and kill it if it does not, unless it is logging in."""
        child.hang_up()
        if not child.logging_in and not await child.exited(_FAREWELL_SECONDS):
            child.kill()
            if not await child.exited(_FAREWELL_SECONDS):
                _LOG.error("hsm worker does not end pid=%d", child.pid)
        self._forget_ended()

    async def see_off(self, child: Child) -> None:
        """Let *child* end as it has said, and end it if it does not."""
        if not await child.exited(_FAREWELL_SECONDS):
            await self.dismiss(child)

    def _forget_ended(self) -> None:
        for child in tuple(self._children):
            if child.ended:
                child.hang_up()
                self._children.discard(child)
