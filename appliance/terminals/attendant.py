"""
A thread per reader that makes the blocking calls of PC/SC, one after another.

PC/SC has no time limit: a frozen card blocks its call until it is taken away. Whoever waits gives up at a deadline of
their own; the thread is known to be stuck until the call comes back, and nobody waits for it at exit.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from appliance.errors import CardTimeout

T = TypeVar("T")


class Attendant:
    """Makes calls in a thread of its own, which begins with the first one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Have *function* called after those before it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._calls.put((future, function))
        return future

    async def call(self, function: Callable[[], T], seconds: float) -> T:
        """Return what *function* returns, or raise CardTimeout after *seconds* and leave it to itself."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(self.submit(function))
        except TimeoutError as error:
            raise CardTimeout(f"the card did not answer within {seconds:g} s") from error

    def end(self) -> None:
        """Let the thread end after the calls it has."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  # handed to the caller, whatever it is
                future.set_exception(error)
