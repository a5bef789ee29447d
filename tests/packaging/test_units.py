"""The units: systemd has nothing to say to them, the sandbox is as tight as promised, nothing shipped is left out."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNITS = sorted(SYSTEMD.glob("*.service")) + sorted(SYSTEMD.glob("*.socket"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
DROP_INS = sorted((SYSTEMD / "drop-ins").glob("*.conf"))
HIGHEST_EXPOSURE = 15
"""Tenths, as --threshold= has them."""
OURS = "/usr/bin/jpki-appliance"


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze; what it says goes to one stream."""
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is not installed (Debian package systemd)"
    return subprocess.run(
        (program, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units in a folder, with a program that this machine has in the place of ours."""
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(OURS, "/bin/true"))
    return tmp_path


def meant_for(drop_in: Path) -> str:
    """Return the unit that *drop_in* is for: the appliance, unless its first line names another one."""
    named = re.search(r"[a-z-]+\.service", drop_in.read_text().splitlines()[0])
    return "jpki-appliance.service" if named is None else named[0]


def settings(path: Path, name: str) -> list[str]:
    """Return all values that *path* gives to the setting called *name*."""
    return re.findall(rf"^{name}=(.*)$", path.read_text(), re.MULTILINE)


def test_systemd_has_nothing_to_say(installed: Path) -> None:
    """Every line of the units is understood: unknown settings would only be warned of, and be without effect."""
    said = analyze("verify", "--man=no", *(str(installed / unit.name) for unit in UNITS))
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_each_drop_in_is_understood(drop_in: Path, installed: Path) -> None:
    """What a site may add is as right as what it is added to."""
    unit = installed / meant_for(drop_in)
    folder = installed / f"{unit.name}.d"
    folder.mkdir()
    (folder / drop_in.name).write_text(drop_in.read_text())
    said = analyze("verify", "--man=no", str(unit))
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_the_sandbox_is_tight(unit: Path) -> None:
    """The exposure is at most 1.5; a unit that gives away more fails here, and names what."""
    said = analyze("security", "--offline=true", "--no-pager", f"--threshold={HIGHEST_EXPOSURE}", str(unit))
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_what_needs_a_person_is_not_started_again(unit: Path) -> None:
    """A wrong PIN ends with 78, and that is that; everything else starts again by itself."""
    assert settings(unit, "RestartPreventExitStatus") == ["78"]
    assert settings(unit, "Restart") == ["on-failure"]


def test_peers_of_the_local_socket_are_seen_as_who_they_are() -> None:
    """With a user namespace of its own the service would take every caller for nobody."""
    assert settings(SYSTEMD / "jpki-appliance.service", "PrivateUsers") == []
    assert settings(SYSTEMD / "jpki-appliance.socket", "SocketMode") == ["0660"]


def test_secrets_are_credentials() -> None:
    """PIN, pseudonym key and terminal key come encrypted; none stands in an environment or an argument."""
    for unit, names in (
        ("jpki-appliance.service", ["hsm-pin", "pseudonym-key"]),
        ("jpki-terminal.service", ["terminal-key"]),
    ):
        path = SYSTEMD / unit
        assert [value.split(":")[0] for value in settings(path, "LoadCredentialEncrypted")] == names
        assert settings(path, "Environment") == settings(path, "SetCredential") == []


def test_the_guide_s_folder_for_copies_is_one_that_the_drop_in_opens() -> None:
    """What is outside of the state folder is read-only to the appliance, so a folder there is told with its drop-in."""
    (opened,) = settings(SYSTEMD / "drop-ins" / "ledger-copies.conf", "ReadWritePaths")
    for page in (SYSTEMD.parent / "docs" / "guide").glob("*/3-day-one.md"):
        told = page.read_text("utf-8")
        (named,) = re.findall(r'^copies = "(.*)"$', told, re.MULTILINE)
        assert named.startswith(f"{opened.removeprefix('-')}/"), page
        assert "drop-ins/ledger-copies.conf" in told, page


def test_no_key_is_made_of_which_no_copy_can_be_kept() -> None:
    """What is made on the way into a credential is nowhere else, and another machine cannot read the credential."""
    root = SYSTEMD.parent
    for page in (*root.glob("docs/**/*.md"), *root.glob("packaging/man/*"), SYSTEMD / "README.md"):
        commands = page.read_text("utf-8").replace("\\-", "-")
        assert not re.search(r"(?:random|openssl rand)[^\n]*\|\s*systemd-creds encrypt", commands), page.name


def test_services_with_readers_may_use_them() -> None:
    """The polkit rule names the users of the services that want pcscd, and nobody else."""
    rule = re.search(r"var users = \[(.*)\]", (SYSTEMD / "polkit.rules").read_text())
    assert rule is not None
    wanting = [unit for unit in SERVICES if "pcscd.socket" in settings(unit, "Wants")[0].split()]
    assert re.findall(r'"([^"]+)"', rule[1]) == [user for unit in wanting for user in settings(unit, "User")]


def test_accounts_are_made() -> None:
    """Every user and group that a unit names is made by sysusers, and every folder of tmpfiles has such an owner."""
    accounts = (SYSTEMD / "sysusers.conf").read_text()
    users = set(re.findall(r"^u (\S+) ", accounts, re.MULTILINE))
    groups = users | set(re.findall(r"^g (\S+) ", accounts, re.MULTILINE))
    for unit in SERVICES:
        assert set(settings(unit, "User")) <= users
        assert set(settings(unit, "Group") + settings(unit, "SupplementaryGroups")) <= groups
    assert set(settings(SYSTEMD / "jpki-appliance.socket", "SocketGroup")) <= groups
    for line in (SYSTEMD / "tmpfiles.conf").read_text().splitlines():
        if not line.startswith("#"):
            _kind, _path, _mode, user, group, _age = line.split()
            assert {user} <= users | {"root"}
            assert {group} <= groups | {"root"}


def test_systemd_makes_the_accounts(tmp_path: Path) -> None:
    """systemd-sysusers itself takes the file: three accounts that nobody logs in to, each with its group, and the callers'."""
    program = shutil.which("systemd-sysusers")
    assert program is not None, "systemd-sysusers is not installed (Debian package systemd)"
    (tmp_path / "etc").mkdir()
    subprocess.run((program, f"--root={tmp_path}", str(SYSTEMD / "sysusers.conf")), check=True)
    users = [line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()]
    assert {user[0]: (user[5], user[6]) for user in users} == {
        "jpki-appliance": ("/var/lib/jpki-appliance", "/usr/sbin/nologin"),
        "jpki-terminal": ("/", "/usr/sbin/nologin"),
        "jpki-handover": ("/var/lib/jpki-handover", "/usr/sbin/nologin"),
    }
    groups = {line.split(":")[0] for line in (tmp_path / "etc/group").read_text().splitlines()}
    assert groups == {user[0] for user in users} | {"jpki-clients"}


def test_the_handover_has_its_folders() -> None:
    """Requests and results are open to one group alone, and work to nobody; all are below the unit's own folder."""
    made = re.findall(r"^d (\S+) (\d+) ", (SYSTEMD / "tmpfiles.conf").read_text(), re.MULTILINE)
    folders = dict(made)
    unit = SYSTEMD / "jpki-handover.service"
    (state,) = settings(unit, "StateDirectory")
    assert folders[f"/var/lib/{state}"] == settings(unit, "StateDirectoryMode")[0]
    assert folders[f"/var/lib/{state}/requests"] == folders[f"/var/lib/{state}/results"] == "2770"
    assert folders[f"/var/lib/{state}/work"] == "0700"


def test_the_handover_has_no_network() -> None:
    """It asks at a local socket; a site with an appliance elsewhere says so."""
    unit = SYSTEMD / "jpki-handover.service"
    assert settings(unit, "PrivateNetwork") == ["yes"]
    assert settings(unit, "RestrictAddressFamilies") == ["AF_UNIX"]
    elsewhere = SYSTEMD / "drop-ins" / "handover-network.conf"
    assert settings(elsewhere, "PrivateNetwork") == ["no"]
    assert [value.split(":")[0] for value in settings(elsewhere, "LoadCredentialEncrypted")] == [
        "handover-key"
    ]


def test_the_readme_names_every_file() -> None:
    """Who opens the folder finds each file explained."""
    readme = (SYSTEMD / "README.md").read_text()
    for path in SYSTEMD.iterdir():
        assert path.name in readme or path.name == "README.md", path.name


def test_the_page_of_exposures_has_every_unit() -> None:
    """What a unit and each drop-in cost is written down: `make exposure` was run after one was added."""
    page = (SYSTEMD.parent / "docs" / "exposure.md").read_text("utf-8")
    for path in (*SERVICES, *DROP_INS):
        assert f"| `{path.name}` |" in page, path.name
