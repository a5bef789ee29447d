"""`jpki-appliance serve`: the appliance as a service."""

import asyncio
import os
from pathlib import Path

import click
import uvloop

from appliance.cli.choice import Choice
from appliance.cli.installed import config_option
from appliance.daemon import logs
from appliance.daemon.logs import Level
from appliance.daemon.serve import Daemon, refuse_root


@click.command()
@config_option()
@click.option(
    "--log-level", "level", type=Choice(Level), default=Level.INFO, show_default=True, help="What is logged."
)
def serve(file: Path, level: Level) -> None:
    """
    Serve reception software and terminals until SIGTERM.

    \b
    SIGHUP      reads the configuration again, dropping nobody
    SIGTERM     begins nothing new, lets what is under way end; a second one does not wait
    status 78   something only a person can put right: the configuration, a refused PIN

    Does not run as root. An HSM that is away does not keep it from starting: /readyz says so until it is back. Events
    go to standard error, each as one line of JSON.
    """  # noqa: D301  # click wants the character, not its name
    refuse_root()
    logs.set_up(level)
    # Twice the throughput of asyncio's own loop, and one set of habits: there is no other to fall back to.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_life(file))


async def _life(file: Path) -> None:
    await Daemon(file, os.environ).run()
