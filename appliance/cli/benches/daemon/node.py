"""
The daemon that is measured: `python -I -m appliance.cli.benches.daemon.node CONFIGURATION PROFILE WAITED`.

It is what `serve` runs, and differs in three things: it takes root for an account, since a bench is nobody's service;
SIGUSR1 and SIGUSR2 begin and end a sampling profile, which is written to the file PROFILE; and how long each card
waited between its two exchanges, which a histogram would round, is appended to the file WAITED (`WAIT`).
"""

import asyncio
import logging
import os
import signal
import struct
import sys
from io import FileIO
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from appliance.cli.benches.daemon.sampling import Sampler
from appliance.daemon import logs
from appliance.daemon.logs import Level
from appliance.daemon.serve import Daemon
from appliance.errors import ApplianceError
from appliance.metrics import Metrics

_LOG = logging.getLogger(__name__)


WAIT: Final = struct.Struct("=d")
"""One wait, in seconds."""


class _Exact(Metrics):
    """The daemon's metrics, which also write each card's wait down."""

    def __init__(self, waited: FileIO) -> None:
        super().__init__()
        self._waits = waited

    def card_waited(self, mode: str, seconds: float) -> None:
        """Note it in both."""
        super().card_waited(mode, seconds)
        self._waits.write(WAIT.pack(seconds))


async def _life(file: Path, profile: Path, waited: Path) -> None:
    sampler = Sampler()

    def end() -> None:
        sampler.end()
        unfinished = profile.with_suffix(".new")
        unfinished.write_bytes(msgspec.json.encode(sampler.seconds))
        unfinished.replace(profile)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, sampler.begin)
    loop.add_signal_handler(signal.SIGUSR2, end)
    with waited.open("ab", buffering=0) as waits:
        await Daemon(file, os.environ, _Exact(waits)).run()


def main() -> int:
    """Serve until SIGTERM."""
    logs.set_up(Level.INFO)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_life(*map(Path, sys.argv[1:4])))
    except ApplianceError as error:
        _LOG.error("%s %s", error.code, error.detail)  # told to whoever has started this; no bug
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
