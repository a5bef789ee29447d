"""`jpki-appliance hsm status` and `unlock-marker`, as processes, on a stage's token."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance import config
from appliance.card.jpki import Mode
from appliance.cli.demonstration import stage
from appliance.cli.demonstration.revocation import By
from appliance.daemon import hsms
from appliance.errors import EX_CONFIG
from appliance.hsm import softhsm
from appliance.simulator.pki import Hierarchy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, a token and the certificates, as the demonstration has it."""
    folder = tmp_path_factory.mktemp("hsm")
    softhsm.provision_softhsm(folder / "softhsm")
    script = stage.Script(Mode.PINLESS, None, By.CRL, stage.REFERENCE)
    stage._certify(folder, Hierarchy.create(datetime.now(UTC)), script)
    stage._configure(folder, stage.REFERENCE)
    return folder


def run(*arguments: str, said: str = "", language: str = "C.UTF-8") -> subprocess.CompletedProcess[str]:
    """Return what `jpki-appliance hsm` did with *arguments*."""
    return subprocess.run(
        (sys.executable, "-m", "appliance", "hsm", *arguments),
        input=said,
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "LC_ALL": language},
    )


def test_status_tells_health_and_identity(made: Path) -> None:
    """A healthy HSM is up, its keys have just signed, and it says who it is; nothing secret is shown."""
    file = str(made / "appliance.toml")
    told = run("status", "--config", file, "--json")
    assert told.returncode == 0, told.stderr
    report: dict[str, Any] = json.loads(told.stdout)
    (hsm,) = report["health"]["hsms"]
    assert (hsm["alias"], hsm["state"], report["failure"]) == ("hsm-1", "up", None)
    assert [key["label"] for key in hsm["keys"]] == ["institution", "token", "ledger"]
    assert report["identities"]["hsm-1"]["model"] == "SoftHSM v2"
    shown = run("status", "--config", file)
    assert "hsm-1: up" in shown.stdout
    pin = (made / "softhsm" / softhsm.USER_PIN).read_text().strip()
    assert pin not in told.stdout + shown.stdout + told.stderr + shown.stderr


def test_rejected_pin_is_told_and_unlocked(made: Path) -> None:
    """A rejected PIN ends with status 78, again and again without a login, until a person has removed the marker."""
    file = str(made / "appliance.toml")
    pin_file = made / "softhsm" / softhsm.USER_PIN
    right = pin_file.read_text()
    pin_file.write_text("000000000000")
    refused = run("status", "--config", file)
    assert refused.returncode == EX_CONFIG
    assert "[hsm_pin_rejected]" in refused.stderr
    pin_file.write_text(right)
    again = run("status", "--config", file, "--json")
    assert again.returncode == EX_CONFIG
    report = json.loads(again.stdout)
    assert report["health"]["hsms"][0]["state"] == "pin-rejected"
    assert "no other login is tried" in report["failure"]
    declined = run("unlock-marker", "--config", file, said="n\n")
    assert declined.returncode != 0
    assert "CKR_PIN_INCORRECT" in declined.stdout
    in_japanese = run("unlock-marker", "--config", file, "--yes", language="ja_JP.UTF-8")
    assert in_japanese.returncode == 0, in_japanese.stderr
    assert "消しました" in in_japanese.stdout
    assert "No HSM has a marker" in run("unlock-marker", "--config", file).stdout
    environment = {
        "PATH": "/usr/bin:/bin",
        **softhsm.environment(made / "softhsm"),
        "TEST_PIN": right.strip(),
    }
    module = hsms(config.load(made / "appliance.toml"))[0].setup.module
    subprocess.run(
        ("pkcs11-tool", "--module", module, "--login", "--pin", "env:TEST_PIN", "--list-objects"),
        env=environment,
        check=True,
        capture_output=True,
    )
    assert run("status", "--config", file).returncode == 0


def test_conformance_takes_its_hsm_from_the_configuration(made: Path) -> None:
    """With a configuration its first HSM is probed, with the variables it names; nothing else may be said beside it."""
    file = str(made / "appliance.toml")
    probed = run("conformance", "--config", file, "--json")
    assert probed.returncode == 0, probed.stderr
    assert json.loads(probed.stdout)["vendor"] == "softhsm"
    assert run("conformance", "--config", file, "--token", "other").returncode == 2
    assert run("conformance", "--token", "other").returncode == 2
