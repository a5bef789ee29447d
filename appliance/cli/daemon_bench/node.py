"""
The daemon that is measured: `python -I -m appliance.cli.daemon_bench.node CONFIGURATION PROFILE`.

It is what `serve` runs, and differs in two things: it takes root for an account, since a bench is nobody's service, and
SIGUSR1 and SIGUSR2 begin and end a sampling profile, which is written to the file PROFILE.
"""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from appliance.cli.daemon_bench.sampling import Sampler
from appliance.daemon import logs
from appliance.daemon.logs import Level
from appliance.daemon.serve import Daemon
from appliance.errors import ApplianceError

_LOG = logging.getLogger(__name__)


async def _life(file: Path, profile: Path) -> None:
    sampler = Sampler()

    def end() -> None:
        sampler.end()
        unfinished = profile.with_suffix(".new")
        unfinished.write_bytes(msgspec.json.encode(sampler.seconds))
        unfinished.replace(profile)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, sampler.begin)
    loop.add_signal_handler(signal.SIGUSR2, end)
    await Daemon(file, os.environ).run()


def main() -> int:
    """Serve until SIGTERM."""
    logs.set_up(Level.INFO)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_life(Path(sys.argv[1]), Path(sys.argv[2])))
    except ApplianceError as error:
        _LOG.error("%s %s", error.code, error.detail)  # told to whoever has started this; no bug
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
