"""What the package's scripts do with a site's configuration, by dpkg itself, in a folder in the place of a machine."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "packaging" / "debian"
SYSUSERS = Path(__file__).parents[2] / "systemd" / "sysusers.conf"
NAMES = ("appliance.toml", "handover.toml", "terminal.toml")
EXAMPLES = "usr/share/jpki-appliance/configuration"
OURS = "etc/jpki-appliance"


def package(folder: Path, version: str, *, conffiles: bool = False, names: tuple[str, ...] = NAMES) -> Path:
    """Return a package with the real scripts, and examples of this *version*; the earliest ones had them as *conffiles*."""
    tree = folder / version
    for name in names:
        path = tree / (OURS if conffiles else EXAMPLES) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {version}\n", "utf-8")
    environment = tree / "opt/jpki-appliance"
    (environment / "lib/python3.11/site-packages").mkdir(parents=True)
    (environment / "bin").mkdir()
    (environment / "bin/python").symlink_to(sys.executable)
    users = tree / "usr/lib/sysusers.d/jpki-appliance.conf"
    users.parent.mkdir(parents=True)
    shutil.copy(SYSUSERS, users)
    control = tree / "DEBIAN"
    control.mkdir()
    control.joinpath("control").write_text(
        f"Package: jpki-appliance\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: Tests <tests@example.jp>\nDescription: scripts\n",
        "utf-8",
    )
    if conffiles:
        control.joinpath("conffiles").write_text("".join(f"/{OURS}/{name}\n" for name in names), "utf-8")
    else:
        for name in ("postinst", "prerm", "postrm"):
            shutil.copy(SCRIPTS / name, control / name)
            control.joinpath(name).chmod(0o755)
    built = folder / f"{version}.deb"
    subprocess.run(
        ("dpkg-deb", "-Znone", "--build", tree, built),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return built


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's files, below *root*; nobody sits at it, so a question of dpkg's is an error."""

    root: Path

    def dpkg(self, *arguments: str | Path) -> str:
        """Run dpkg, and return what it says."""
        done = subprocess.run(
            ("dpkg", f"--root={self.root}", "--force-script-chrootless,not-root,bad-path", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    @property
    def configuration(self) -> dict[str, str]:
        """What lies in the folder of configurations, by name."""
        folder = self.root / OURS
        return {path.name: path.read_text("utf-8") for path in folder.iterdir()} if folder.is_dir() else {}

    def change(self) -> dict[str, str]:
        """Do to the configuration what sites do, and return what it is then."""
        folder = self.root / OURS
        folder.joinpath("appliance.toml").write_text("# the site's\n", "utf-8")
        folder.joinpath("server.pem").write_text("a certificate\n", "utf-8")
        return self.configuration


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that has nothing installed."""
    for folder in ("info", "updates", "triggers"):
        (tmp_path / "machine/var/lib/dpkg" / folder).mkdir(parents=True)
    (tmp_path / "machine/var/lib/dpkg/status").touch()
    (tmp_path / "machine/etc").mkdir()
    return Machine(tmp_path / "machine")


def test_the_first_installation_brings_a_configuration(machine: Machine, tmp_path: Path) -> None:
    """Each example once, and none of them in dpkg's hands."""
    machine.dpkg("--install", package(tmp_path, "1"))
    assert machine.configuration == dict.fromkeys(NAMES, "# 1\n")
    assert "/etc/jpki-appliance" not in machine.dpkg("--listfiles", "jpki-appliance")


def test_what_lies_there_already_is_left(machine: Machine, tmp_path: Path) -> None:
    """Configuration that was unpacked from a backup before the package came."""
    (machine.root / OURS).mkdir()
    (machine.root / OURS / "appliance.toml").write_text("# the site's\n", "utf-8")
    machine.dpkg("--install", package(tmp_path, "1"))
    assert machine.configuration == dict.fromkeys(NAMES, "# 1\n") | {"appliance.toml": "# the site's\n"}


@pytest.mark.parametrize("conffiles", [False, True])
def test_an_upgrade_asks_nothing_and_changes_nothing(
    machine: Machine, tmp_path: Path, *, conffiles: bool
) -> None:
    """Although both the site and the new version have changed a file, also where it was a conffile before; nor does going back."""
    former = package(tmp_path, "1", conffiles=conffiles)
    machine.dpkg("--install", former)
    left = machine.change()
    machine.dpkg("--install", package(tmp_path, "2"))
    assert machine.configuration == left
    assert (machine.root / EXAMPLES / "appliance.toml").read_text() == "# 2\n"
    machine.dpkg("--install", former)
    assert machine.configuration == left


@pytest.mark.parametrize("conffiles", [False, True])
def test_an_upgrade_brings_what_only_the_new_version_has(
    machine: Machine, tmp_path: Path, *, conffiles: bool
) -> None:
    """A unit that is new finds its configuration; so does one whose file was lost."""
    machine.dpkg("--install", package(tmp_path, "1", conffiles=conffiles, names=NAMES[:1]))
    left = machine.change()
    machine.dpkg("--install", package(tmp_path, "2"))
    assert machine.configuration == left | dict.fromkeys(NAMES[1:], "# 2\n")


@pytest.mark.parametrize("conffiles", [False, True])
def test_a_removal_keeps_the_configuration_and_a_purge_the_rest(
    machine: Machine, tmp_path: Path, *, conffiles: bool
) -> None:
    """Until the purge, a package that comes back finds it as it was. What only the site has brought stays for good."""
    machine.dpkg("--install", package(tmp_path, "1", conffiles=conffiles))
    left = machine.change()
    newer = package(tmp_path, "2")
    machine.dpkg("--install", newer)
    machine.dpkg("--remove", "jpki-appliance")
    assert machine.configuration == left
    machine.dpkg("--install", newer)
    assert machine.configuration == left
    assert "/etc/jpki-appliance is kept" in machine.dpkg("--purge", "jpki-appliance")
    assert machine.configuration == {"server.pem": "a certificate\n"}
