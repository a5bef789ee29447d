"""The command itself: its subcommands are found where they are, and nothing is loaded for those that were not asked for."""

import subprocess
import sys

import click
import pytest

from appliance.cli.main import command
from tests.cli.conftest import run


def subcommands(group: click.Group) -> list[tuple[str, click.Command]]:
    """Return each command below *group* with the name it is asked for by."""
    context = click.Context(group)
    found = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    below = [(name, one) for name, one in found if one is not None]
    assert len(below) == len(found)
    return below + [each for _, one in below if isinstance(one, click.Group) for each in subcommands(one)]


def test_every_command_is_found_under_its_own_name() -> None:
    """What the help lists can be called, and calls itself the same."""
    assert all(name == one.name and one.help for name, one in subcommands(command))


def test_a_command_that_is_none_is_wrong_usage() -> None:
    """A misspelt command ends with status 2, and is named."""
    finished = run("explian")
    assert finished.returncode == 2
    assert "explian" in finished.stderr


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("ceremony", {"aiohttp", "psycopg", "PIL", "smartcard"}),
        ("explain", {"aiohttp", "psycopg", "PIL", "smartcard", "cryptography"}),
        ("verify", {"aiohttp", "psycopg", "PIL", "smartcard"}),
    ],
)
def test_starting_loads_little(module: str, unused: set[str]) -> None:
    """What only other commands need is not loaded: starting takes a fraction of a second."""
    program = f"import sys, appliance.cli.main, appliance.cli.{module}; print(*sys.modules)"
    loaded = subprocess.run(
        (sys.executable, "-c", program), check=True, capture_output=True, text=True
    ).stdout
    assert not unused & set(loaded.split())
