"""Work in threads that nobody waits for."""

import asyncio
import subprocess
import sys

import pytest

from appliance.ledger.apart import apart

HANGING = """
import asyncio, threading
from appliance.ledger.apart import apart

async def main():
    asyncio.create_task(apart(threading.Event().wait))
    await asyncio.sleep(0)

asyncio.run(main())
print("ended")
"""


async def test_what_the_work_returns_or_raises_arrives() -> None:
    """As if it had been called."""
    assert await apart(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await apart(lambda: 1 // 0)


async def test_who_is_cancelled_misses_what_comes_later() -> None:
    """The late result finds nobody, and harms nothing."""
    task = asyncio.create_task(apart(lambda: 7))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await apart(lambda: 8) == 8


def test_the_process_ends_beside_work_that_hangs() -> None:
    """What a folder on a machine that is gone keeps is not waited for, neither by the loop nor by the interpreter."""
    ended = subprocess.run(
        (sys.executable, "-c", HANGING), capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "ended\n"
