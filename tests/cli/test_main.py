"""The command itself: its subcommands are found where they are, and nothing is loaded for those that were not asked for."""

import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from appliance.cli.main import command
from tests.cli.conftest import run
from tests.daemon.process import UNPRIVILEGED


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


def paths(group: click.Group, *above: str) -> list[tuple[str, ...]]:
    """Return what is typed for each command below *group*."""
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        found.append((*above, name))
        one = group.get_command(context, name)
        if isinstance(one, click.Group):
            found += paths(one, *above, name)
    return found


@pytest.mark.parametrize("path", paths(command), ids=" ".join)
def test_help_is_told_on_a_machine_without_a_configuration(path: tuple[str, ...]) -> None:
    """Whoever sets an appliance up reads the help of every command first."""
    finished = CliRunner().invoke(command, [*path, "--help"], catch_exceptions=False)
    assert finished.exit_code == 0, finished.output
    assert finished.output.startswith("Usage: ")


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


@pytest.mark.parametrize(
    "command", [("config", "check"), ("revocation", "import"), ("status", "--config")], ids=" ".join
)
def test_a_configuration_that_cannot_be_read_has_its_code(command: tuple[str, ...]) -> None:
    """However it is named: that it is closed is no mistake in how the command was written."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "appliance.toml"
        file.touch(mode=0)
        finished = subprocess.run(
            (*UNPRIVILEGED, sys.executable, "-m", "appliance", *command, str(file)),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        )
    assert finished.returncode == 78, finished.stderr
    assert "[config_invalid]" in finished.stdout + finished.stderr
