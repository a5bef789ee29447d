"""Work that would hold the event loop up: done beside it, by few threads, with a bounded number of those who wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from appliance.errors import GatewayBusy

T = TypeVar("T")


class Aside:
    """Threads called *name*: *workers* of them, and at most *waiting* that wait for one, each for *seconds* in all."""

    def __init__(self, name: str, *, workers: int = 1, waiting: int = 32, seconds: float = 10.0) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._most = workers + waiting
        self._seconds = seconds
        self._inside = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Return what *work* returns, or raise what it raises; GatewayBusy where too many wait, or it takes too long."""
        if self._inside >= self._most:
            raise GatewayBusy(f"{self._inside} wait for this already")
        self._inside += 1
        future = self._threads.submit(work)
        # A thread cannot be ended: what is late keeps its place until it is done.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _call(loop, self._left))
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise GatewayBusy(f"this was not done within {self._seconds:.0f} seconds") from error

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _left(self) -> None:
        self._inside -= 1


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(what)
