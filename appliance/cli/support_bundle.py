"""`jpki-appliance support-bundle`: what a supporter needs to see, in one file without secrets and personal data."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from appliance.catalogue import story
from appliance.cli import language
from appliance.cli.installed import config_option
from appliance.doctor import bundle


@click.command("support-bundle")
@config_option()
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file. [default: jpki-appliance-support-TIME.tar.gz here]",
)
@click.option(
    "--lines",
    type=click.IntRange(0, 100_000),
    default=2_000,
    show_default=True,
    help="How many lines of the log are told, requests aside.",
)
def support_bundle(file: Path, output: Path | None, lines: int) -> None:
    """
    Write what a supporter needs to see into one file.

    It holds what `doctor` finds, the configuration, versions, the end of the log, metrics, the ledger's size and root,
    and how systemd's units are: of all these only what closed lists allow. PINs, keys, names of people, machines and
    accounts, entries of the ledger and certificates are not in it. Files are named by their paths, but for the account
    behind `/home/`. Look through it all the same before you send it. The HSM is not logged in to.
    """
    path = output or Path(f"jpki-appliance-support-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz")
    parts = asyncio.run(bundle.Bundle(file, lines).parts())
    bundle.write(path, parts)
    spoken = language.spoken()
    click.echo(f"{path}: {', '.join(sorted(parts))}")
    click.echo(story("support-bundle-look").in_language(spoken))
