"""The manual pages: one for every command, and none that a formatter complains about."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from appliance.cli.main import command

PROGRAM = Path(__file__).parents[2] / "packaging" / "manual.py"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all pages."""
    folder = tmp_path_factory.mktemp("man")
    subprocess.run(
        (sys.executable, str(PROGRAM), str(folder)), env={**os.environ, "SOURCE_DATE_EPOCH": "0"}, check=True
    )
    return folder


def names(one: click.Command, name: str) -> list[str]:
    """Return the names of *one* command and of all below it."""
    if not isinstance(one, click.Group):
        return [name]
    context = click.Context(one)
    below = [(each, one.get_command(context, each)) for each in one.list_commands(context)]
    return [name, *(found for each, it in below if it is not None for found in names(it, f"{name}-{each}"))]


def test_every_command_has_a_page(pages: Path) -> None:
    """Nothing can be called that `man` does not know."""
    assert {path.stem for path in (pages / "man1").iterdir()} == set(names(command, "jpki-appliance"))
    assert {path.name for path in (pages / "man5").iterdir()} == {
        *("jpki-appliance.toml.5", "jpki-terminal.toml.5", "jpki-handover.toml.5")
    }
    assert (pages / "man8" / "jpki-appliance.service.8").exists()


def test_the_configuration_is_the_installed_one(pages: Path) -> None:
    """What the page shows is what lies in /etc: a credential for the PIN, and state in the unit's folder."""
    page = (
        (pages / "man5" / "jpki-appliance.toml.5")
        .read_text("utf-8")
        .replace(r"\-", "-")
        .replace(r"\(dq", '"')
    )
    assert 'pin_file = "credential:hsm-pin"' in page
    assert 'state = "/var/lib/jpki-appliance/hsm"' in page
    assert "make demo" not in page
    assert "softhsm/user.pin" not in page


def test_a_command_with_a_status_of_its_own_tells_it(pages: Path) -> None:
    """Only `ledger restore` ends with 3, and only its page has it."""
    telling = {path.stem for path in (pages / "man1").iterdir() if "\n.B 3\n" in path.read_text("utf-8")}
    assert telling == {"jpki-appliance-ledger-restore"}


def test_pages_are_dated_by_the_source(pages: Path) -> None:
    """A page made twice is the same page."""
    for path in pages.rglob("*.*"):
        assert "1970-01-01" in path.read_text("utf-8").splitlines()[0], path.name


def test_formatters_have_no_complaint(pages: Path) -> None:
    """Every page formats without a warning, and shows its name."""
    program = shutil.which("groff")
    assert program is not None, "groff is not installed (Debian package groff-base)"
    for path in sorted(pages.glob("man*/*")):
        said = subprocess.run(
            (program, "-k", "-man", "-Tutf8", "-ww", "-z", str(path)),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert (said.returncode, said.stderr) == (0, ""), path.name
