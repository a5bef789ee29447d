"""`jpki-appliance doctor reader`, run as an operator runs it."""

import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from appliance.simulator.card import SoftwareCard
from appliance.simulator.faults import FaultyCard
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.pki import Hierarchy
from tests.cli.conftest import Finished
from tests.daemon.process import UNPRIVILEGED
from tests.pcsc import lying_on

ROOT = Path(__file__).parents[2]


def examine(socket: Path, *arguments: str, configuration: Path | None = None) -> Finished:
    """Run the command with the pcscd at *socket*, for the appliance of a *configuration*."""
    of = () if configuration is None else ("--config", str(configuration))
    return subprocess.run(
        (sys.executable, "-m", "appliance", "doctor", *of, "reader", *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PCSCLITE_CSOCK_NAME": str(socket)},
    )


def test_a_good_card_is_told_as_such_and_tells_nothing_of_its_holder(
    hierarchy: Hierarchy, private_pcscd: PrivatePcscd, now: datetime
) -> None:
    """All checks are ok, the status is 0, and neither certificate nor serial is in what is printed."""
    data = hierarchy.issue_card(now=now)
    reader = private_pcscd.readers[1]
    with lying_on(reader, FaultyCard(SoftwareCard(data))):
        as_json = examine(private_pcscd.socket_path, "--json")
        as_lines = examine(private_pcscd.socket_path, "--reader", reader.name, "--language", "ja")
    assert (as_json.returncode, as_lines.returncode) == (0, 0), as_json.stderr + as_lines.stderr
    document = json.loads(as_json.stdout)
    assert document["outcome"] == "ok"
    assert [check["verdict"] for check in document["checks"]] == ["ok"] * 8
    assert as_lines.stdout.count("[ok]") == 8
    assert "公的個人認証アプリケーション" in as_lines.stdout
    for printed in (as_json.stdout, as_lines.stdout):
        assert data.certificate is not None
        assert data.certificate[:40].hex() not in printed.lower()
        assert "E16R01NJ" not in printed


@pytest.mark.parametrize(("spoken", "words"), [("en", "out of its case"), ("ja", "ケース")])
def test_an_empty_reader_comes_with_advice(spoken: str, words: str, private_pcscd: PrivatePcscd) -> None:
    """Without a card the status is 1, and the advice is in the operator's language."""
    finished = examine(
        private_pcscd.socket_path,
        "--reader",
        private_pcscd.readers[1].name,
        "--wait",
        "0",
        "--language",
        spoken,
    )
    assert finished.returncode == 1
    assert "[failed]" in finished.stdout
    assert words in finished.stdout


def test_without_the_service_that_is_all_there_is_to_say(tmp_path: Path) -> None:
    """Where no pcscd answers, the one check says so, for a program too."""
    finished = examine(tmp_path / "nowhere", "--json")
    assert finished.returncode == 1
    document = json.loads(finished.stdout)
    assert document["outcome"] == "failed"
    (check,) = document["checks"]
    assert (check["check"], check["code"]) == ("service", "pcsc_unavailable")
    assert check["advice"].keys() == {"en", "ja"}


def test_a_card_is_judged_by_the_profile_that_counts(
    hierarchy: Hierarchy, private_pcscd: PrivatePcscd, now: datetime, tmp_path: Path
) -> None:
    """The configuration's, or the one that was named: what another profile expects says nothing about this machine."""
    elsewhere = tmp_path / "elsewhere.toml"
    text = (ROOT / "appliance" / "card" / "profiles" / "jpki-reference.toml").read_text()
    other, times = re.subn(r'(\[application\]\naid = ")[0-9A-F]+"', r'\1A000000001020304"', text)
    assert times == 1
    elsewhere.write_text(other)
    configuration = tmp_path / "appliance.toml"
    example = (ROOT / "hsm-config" / "appliance.toml").read_text()
    assert example.count('profile = "jpki-reference"') == 1
    configuration.write_text(example.replace('profile = "jpki-reference"', 'profile = "elsewhere.toml"'))
    with lying_on(private_pcscd.readers[1], FaultyCard(SoftwareCard(hierarchy.issue_card(now=now)))):
        named = examine(private_pcscd.socket_path, "--json", "--profile", str(elsewhere))
        configured = examine(private_pcscd.socket_path, "--json", configuration=configuration)
        both = examine(
            private_pcscd.socket_path, "--json", "--profile", "jpki-reference", configuration=configuration
        )
    for finished in (named, configured):
        last = json.loads(finished.stdout)["checks"][-1]
        assert (finished.returncode, last["check"], last["code"]) == (1, "application", "card_not_jpki")
    assert both.returncode == 0
    missing = examine(private_pcscd.socket_path, configuration=tmp_path / "nowhere.toml")
    assert (missing.returncode, "[config_invalid]" in missing.stderr) == (78, True)


@pytest.mark.parametrize("closed", ["folder", "file", "profile", "nothing, but the file is damaged"])
def test_an_account_that_cannot_use_the_configuration_examines_a_reader(
    tmp_path: Path, private_pcscd: PrivatePcscd, hierarchy: Hierarchy, now: datetime, closed: str
) -> None:
    """A clerk's account is told by what the card is judged; who names a file wants that one, and hears what is wrong."""
    installed = tmp_path / "jpki-appliance" / "appliance.toml"
    installed.parent.mkdir()
    example = (ROOT / "hsm-config" / "appliance.toml").read_text()
    profile = tmp_path / "own.toml"
    profile.touch()
    damage = "" if "damaged" not in closed else "no TOML"
    installed.write_text(example.replace('profile = "jpki-reference"', f'profile = "{profile}"') + damage)
    shut = {"folder": installed.parent, "file": installed}.get(closed, profile)
    start = (
        "import pathlib, appliance.cli.installed as installed;"
        f"installed.CONFIGURATION = pathlib.Path({str(installed)!r});"
        "from appliance.cli.main import main; main()"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PCSCLITE_CSOCK_NAME": str(private_pcscd.socket_path),
    }
    shut.chmod(0)
    try:
        with lying_on(private_pcscd.readers[1], FaultyCard(SoftwareCard(hierarchy.issue_card(now=now)))):
            by_default, by_name = (
                subprocess.run(
                    (*UNPRIVILEGED, sys.executable, "-c", start, "doctor", *of, "reader", "--json"),
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=60,
                    env=environment,
                )
                for of in ((), ("--config", str(installed)))
            )
    finally:
        shut.chmod(0o700)
    assert by_default.returncode == 0, by_default.stderr
    assert json.loads(by_default.stdout)["outcome"] == "ok"
    reason, told = by_default.stderr.splitlines()
    assert reason.startswith(f"[config_invalid] {profile if closed == 'profile' else installed}")
    assert told.startswith("The configuration cannot be used by this account.")
    assert (by_name.returncode, "[config_invalid]" in by_name.stderr) == (78, True)
