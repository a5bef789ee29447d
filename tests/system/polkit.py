"""
Steps: pcscd asks polkit who may use readers.

Debian 12 builds its pcscd without polkit, later releases with it. So Debian's own source is built here as later releases
build it, once, and takes the other one's place in the machine.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.system.installation import require
from tests.system.machine import MachineError, cached
from tests.system.report import Report
from tests.system.service import READY
from tests.system.site import OUTSIDER, PROGRAM, SERVICE, TERMINAL, Site

_SOURCE = "pcsc-lite"
_OPTIONS = (
    *("--prefix=/usr", "--sysconfdir=/etc", "--enable-ipcdir=/run/pcscd", "--disable-static"),
    *("--enable-usbdropdir=/usr/lib/pcsc/drivers", "--enable-polkit"),
)
_ACTIONS = "/usr/share/polkit-1/actions/org.debian.pcsc-lite.policy"
_RULE = "/usr/share/polkit-1/rules.d/60-jpki-appliance.rules"
_BUILT = "/usr/local/sbin/pcscd"
_DROP_IN = f"[Service]\nExecStart=\nExecStart={_BUILT} --foreground\n"
_ASK = (PROGRAM, "doctor", "reader", "--reader", "Virtual PCD 00 00", "--json")
_REFUSED = '"pcsc_refused"'


def restrict(report: Report, site: Site) -> None:
    """A pcscd that asks: the rule of the package lets its services in, and nobody else."""
    inside = site.machine
    with report.step(
        "polkit", "Debian's pcscd, built with polkit, takes the place of its pcscd without"
    ) as row:
        program, actions = _built(inside.root)
        shutil.copy(program, inside.outside(_BUILT))
        shutil.copy(actions, inside.outside(_ACTIONS))
        site.drop_in("polkit", _DROP_IN, "pcscd.service")
        inside.run("systemctl", "stop", "pcscd.socket", "pcscd.service")
        inside.run("systemctl", "start", "pcscd.socket")
        row.seen = inside.run(_BUILT, "--version").out.splitlines()[0]
    if row.outcome != "ok":
        return
    rule = inside.outside(_RULE)
    kept = rule.read_bytes()
    with report.step("polkit", "without our rule: the service's account is refused, and told why") as row:
        rule.unlink()
        _read_again(site)
        said = inside.run(*_ASK, user=PROGRAM, check=False)
        require(said.status and _REFUSED in said.out, said.out)
        code = site.refusal("desk-1")
        require(code == "pcsc_refused", code)
        row.seen = f"doctor reader: exit status {said.status}, {_REFUSED}; an authentication: {code}"
    with report.step("polkit", "with our rule: the service and the terminal have their readers") as row:
        rule.write_bytes(kept)
        _read_again(site)
        inside.wait("ready", READY)
        row.seen = f"{site.require_authenticated()}; at the terminal {site.require_authenticated(TERMINAL)}"
    with report.step("polkit", "with our rule: an account that it does not name is refused") as row:
        said = inside.run(*_ASK, user=OUTSIDER, check=False)
        require(said.status and _REFUSED in said.out, said.out)
        row.seen = f"{OUTSIDER}: exit status {said.status}, {_REFUSED}"
    inside.outside(_ACTIONS).unlink()
    site.no_drop_in("polkit", "pcscd.service")
    inside.run("systemctl", "stop", "pcscd.socket", "pcscd.service")
    inside.run("systemctl", "start", "pcscd.socket")


def _read_again(site: Site) -> None:
    """Have polkit read its rules, and the services ask anew."""
    site.machine.run("systemctl", "restart", "polkit.service")
    site.machine.run("systemctl", "restart", "pcscd.service", SERVICE, "jpki-terminal.service")


def _built(root: Path) -> tuple[Path, Path]:
    """Return the program and what it asks polkit for, built of the source that belongs to the Debian in *root*."""
    sources = (root / "etc/apt/sources.list").read_text("utf-8").replace("deb ", "deb-src ")
    version = _version(root)
    with cached(f"{_SOURCE}-polkit-{version}") as folder:
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix="jpki-pcscd-") as place:
                _build(Path(place), sources, version, folder)
    return folder / "pcscd", folder / "actions"


def _version(root: Path) -> str:
    status = (root / "var/lib/dpkg/status").read_text("utf-8")
    paragraph = next(one for one in status.split("\n\n") if one.startswith("Package: pcscd\n"))
    return next(line.split()[1] for line in paragraph.splitlines() if line.startswith("Version: "))


def _build(place: Path, sources: str, version: str, folder: Path) -> None:
    (place / "sources.list").write_text(sources, "utf-8")
    (place / "lists/partial").mkdir(parents=True)
    apt = (
        *("apt-get", "--quiet=2", "--option=APT::Sandbox::User=root", "--option=Dir::Etc::sourceparts=-"),
        *(f"--option=Dir::Etc::sourcelist={place}/sources.list", f"--option=Dir::State::lists={place}/lists"),
    )
    for command in (
        (*apt, "update"),
        (*apt, "--download-only", "source", f"{_SOURCE}={version}"),
        ("dpkg-source", "--extract", f"{_SOURCE}_{version}.dsc", "source"),
    ):
        _run(command, place)
    source = place / "source"
    _run((str(source / "configure"), "--quiet", *_OPTIONS), source)
    _run(("make", f"-j{os.cpu_count() or 1}"), source)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    shutil.copy(source / "src/pcscd", unfinished / "pcscd")
    shutil.copy(source / "doc/org.debian.pcsc-lite.policy", unfinished / "actions")
    unfinished.rename(folder)


def _run(command: tuple[str, ...], folder: Path) -> None:
    said = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if said.returncode:
        raise MachineError(f"{' '.join(command)} ended with {said.returncode}:\n{said.stdout[-2000:]}")
