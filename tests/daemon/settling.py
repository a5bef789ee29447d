"""
A daemon that is looked at from inside: it says when what it has was frozen.

A process of its own, because libpcsclite asks once for the service it speaks to, and keeps to it.
"""

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

from appliance.daemon.serve import Daemon

_SECONDS = 30.0


async def _frozen(serving: "asyncio.Task[None]") -> None:
    """Wait until something is; whatever was frozen before is no more."""
    gc.unfreeze()
    async with asyncio.timeout(_SECONDS):
        while not gc.get_freeze_count():
            if serving.done():
                serving.result()
            await asyncio.sleep(0.02)


def _tell(when: str) -> None:
    sys.stdout.write(f"{when}\n")
    sys.stdout.flush()


async def _main(file: Path) -> None:
    serving = asyncio.create_task(Daemon(file, {}).run())
    await _frozen(serving)
    _tell("at the start")
    os.kill(os.getpid(), signal.SIGHUP)
    await _frozen(serving)
    _tell("after a reload")
    os.kill(os.getpid(), signal.SIGTERM)
    await serving


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
