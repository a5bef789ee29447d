"""`jpki-appliance profile`: card profiles, those that ship and those of a site's own."""

from pathlib import Path

import click
import msgspec

from appliance.card import profile as profiles
from appliance.card.profile import Profile
from appliance.config import read_bounded


@click.group()
def profile() -> None:
    """List, show and check card profiles."""


@profile.command("list")
def list_profiles() -> None:
    """List the profiles that ship with the appliance, and what in them is UNVERIFIED."""
    for name in profiles.shipped_names():
        shipped = profiles.shipped(name)
        click.echo(f"{name}  version {shipped.version}")
        if shipped.unverified:
            click.echo(f"  UNVERIFIED: {', '.join(shipped.unverified)}")


@profile.command()
@click.argument("name")
def show(name: str) -> None:
    """Show the profile NAME, or the one in the file NAME, as JSON."""
    content = msgspec.json.encode(named(name), enc_hook=lambda octets: octets.hex().upper())
    click.echo(msgspec.json.format(content).decode())


@profile.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """
    Check the profile in FILE: complete, known, and safe.

    Says what a mistake is and where. Exit status 78 where the appliance would not start with it.
    """
    checked = Profile.from_toml(read_bounded(file))
    click.echo(f"{file}: {checked.name}, version {checked.version}, can be used")
    if checked.unverified:
        click.echo(f"UNVERIFIED: {', '.join(checked.unverified)}")


def named(name: str) -> Profile:
    """Return the profile that ships as *name*, or the one in the file *name*."""
    if name in profiles.shipped_names():
        return profiles.shipped(name)
    return Profile.from_toml(read_bounded(Path(name)))
