"""`jpki-appliance handover`: for reception software that only writes and reads files."""

import asyncio
from pathlib import Path

import click

from appliance.cli.choice import Choice
from appliance.daemon import logs
from appliance.daemon.logs import Level
from appliance.daemon.serve import refuse_root
from appliance.handover import settings
from appliance.handover.service import Service


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="The hand-over's configuration, as hsm-config/handover.toml.",
)
@click.option(
    "--log-level", "level", type=Choice(Level), default=Level.INFO, show_default=True, help="What is logged."
)
def handover(path: Path, level: Level) -> None:
    """
    Carry out requests that lie in a folder as files, and lay the results into another.

    Runs until it is interrupted, whatever becomes of the folders or the appliance. Each request is carried out once at
    most, and results are removed after a time. Does not run as root. Events go to standard error, each as one line of
    JSON, and none of them says anything of a patient.
    """
    refuse_root()
    configuration = settings.load(path)
    logs.set_up(level)
    asyncio.run(Service.of(configuration).run())
