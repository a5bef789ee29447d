"""`jpki-appliance hsm`: where keys live."""

from pathlib import Path

import click

from appliance.hsm.softhsm import provision_softhsm


@click.group()
def hsm() -> None:
    """Set up the HSM."""


@hsm.command("provision-softhsm")
@click.argument("folder", type=click.Path(path_type=Path))
def provision(folder: Path) -> None:
    """
    Make a SoftHSM token with new keys in FOLDER, which is absent or empty.

    For tests and demonstrations: the keys are in files there. Never touches the system's token store.
    """
    provision_softhsm(folder)
    click.echo(f"{folder}: token, PIN files, public keys")
