"""
Work that may never come back, in a thread that nobody has to wait for.

A folder on a machine that is gone keeps whoever touches it. The event loop's own threads are waited for when it ends,
without limit; those here are not.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def apart(work: Callable[[], T]) -> T:
    """Return what *work* returns, or raise what it raises."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def tell_of(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def run() -> None:
        # Where the loop has ended meanwhile, nobody is left to hear of it.
        with suppress(RuntimeError):
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - it is for who waits
                loop.call_soon_threadsafe(tell_of, error)
            else:
                loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=run, name="apart", daemon=True).start()
    return await future
