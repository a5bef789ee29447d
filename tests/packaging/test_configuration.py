"""The configuration in the package: the annotated examples with the places of an installed system."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance import config
from appliance.handover import settings as handover
from appliance.terminals.agent import settings

PROGRAM = Path(__file__).parents[2] / "packaging" / "configuration.py"


def printed(name: str, folder: Path) -> Path:
    """Return a file with what the program prints for *name*."""
    done = subprocess.run(
        (sys.executable, str(PROGRAM), name), capture_output=True, text=True, encoding="utf-8", check=True
    )
    path = folder / name
    path.write_text(done.stdout, "utf-8")
    return path


def test_the_appliance_finds_its_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to last is in the unit's state folder, secrets are its credentials, and the socket is systemd's."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    configuration = config.load(printed("appliance.toml", tmp_path))
    found = configuration.settings
    state = Path("/var/lib/jpki-appliance")
    assert found.revocation.crl is not None
    for lasting in (
        found.hsm.state,
        found.ledger.database,
        found.revocation.crl.state,
        found.hsm.environment["SOFTHSM2_CONF"],
    ):
        assert state in configuration.path(lasting).parents
    assert found.hsm.pin_file == "credential:hsm-pin"
    assert found.result.pseudonym_key_file == "credential:pseudonym-key"
    assert found.gateway.socket == "/run/jpki-appliance/appliance.sock"
    assert found.peer == ()


def test_the_terminal_finds_the_appliance(tmp_path: Path) -> None:
    """As it stands, it joins the appliance of the same machine."""
    found = settings.load(printed("terminal.toml", tmp_path)).settings
    assert found.appliance.socket == "/run/jpki-appliance/appliance.sock"


def test_the_handover_finds_folders_and_appliance(tmp_path: Path) -> None:
    """As it stands, it works in the folders that tmpfiles makes, for the appliance of the same machine."""
    configuration = handover.load(printed("handover.toml", tmp_path))
    assert configuration.settings.appliance.socket == "/run/jpki-appliance/appliance.sock"
    folders = configuration.settings.folders
    assert {Path(one).parent for one in (folders.requests, folders.results, folders.work)} == {
        Path("/var/lib/jpki-handover")
    }
