"""
A daemon that is looked at from inside: it says when what it has was frozen, and whether its socket was there already.

A process of its own, because libpcsclite asks once for the service it speaks to, and keeps to it.
"""

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

from appliance import config
from appliance.daemon.serve import Daemon

_SECONDS = 30.0


async def _frozen(serving: "asyncio.Task[None]", times: list[bool], count: int) -> bool:
    """Return whether the socket was there when something was frozen for the *count*th time, which is waited for."""
    async with asyncio.timeout(_SECONDS):
        while len(times) < count:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.02)
    return times[count - 1]


def _tell(when: str, *, is_open: bool) -> None:
    sys.stdout.write(f"{when}, {'open' if is_open else 'closed'}\n")
    sys.stdout.flush()


async def _main(file: Path) -> None:
    read = config.load(file)
    socket, times, freeze = read.path(str(read.settings.gateway.socket)), list[bool](), gc.freeze

    def noted() -> None:
        freeze()
        times.append(socket.exists())

    gc.freeze = noted
    serving = asyncio.create_task(Daemon(file, {}).run())
    _tell("at the start", is_open=await _frozen(serving, times, 1))
    os.kill(os.getpid(), signal.SIGHUP)
    _tell("after a reload", is_open=await _frozen(serving, times, 2))
    os.kill(os.getpid(), signal.SIGTERM)
    await serving


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
