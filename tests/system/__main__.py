"""
The system test: a booted Debian, the package in it, and everything that systemd has to hold.

    python -m tests.system PACKAGE [--previous PACKAGE] [--report FILE] [--keep FOLDER]

Prints a table of what was tried and what was seen. An earlier package gets a lower version; without one, PACKAGE itself is
what is upgraded from.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.guide import booted as guide
from tests.system import confinement, drop_ins, handover, installation, operators, polkit, service
from tests.system.machine import MachineError, booted
from tests.system.report import Outcome, Report, Row
from tests.system.site import Site

_EXAMPLES = ("etc/jpki-appliance/appliance.toml", "usr/share/jpki-appliance/configuration/appliance.toml")
"""Where packages have it: a conffile in the earliest ones."""


def earlier(package: Path, folder: Path) -> Path:
    """Return *package* again, as a lower version with another example of a configuration."""
    tree = folder / "tree"
    folder.mkdir(parents=True)
    subprocess.run(("dpkg-deb", "--raw-extract", str(package), str(tree)), check=True)
    control = tree / "DEBIAN" / "control"
    lines = [
        f"{line}~earlier" if line.startswith("Version: ") else line
        for line in control.read_text().splitlines()
    ]
    control.write_text("\n".join(lines) + "\n")
    sums = tree / "DEBIAN" / "md5sums"
    for example in filter(Path.exists, (tree / name for name in _EXAMPLES)):
        before = _md5(example)
        example.write_text("# An earlier example.\n" + example.read_text("utf-8"), "utf-8")
        sums.write_text(sums.read_text().replace(before, _md5(example)))
    result = folder / "earlier.deb"
    subprocess.run(
        ("dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(result)),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return result


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def check_metrics(report: Report, scraped: str) -> None:
    """Have Prometheus' own tool judge what was scraped."""
    with report.step("metrics", "promtool check metrics on a live scrape") as row:
        said = subprocess.run(
            ("promtool", "check", "metrics"), input=scraped, text=True, capture_output=True, check=False
        )
        installation.require(not said.returncode and not said.stderr, said.stdout + said.stderr)
        row.seen = "no complaint"


def run(report: Report, package: Path, previous: Path | None, folder: Path) -> None:
    """Do everything, in order."""
    with booted(folder / "site") as machine:
        site = Site(machine)
        report.about(package, machine)
        installation.install(report, site, package)
        installation.begin(report, site, earlier(previous or package, folder / "previous"))
        service.set_up(report, site)
        service.start(report, site)
        installation.upgrade(report, site, package)
        installation.compare_sandboxes(report, site)
        confinement.confine(report, site)
        confinement.confine_others(report, site)
        service.hide(report, site)
        check_metrics(report, service.measure(report, site))
        service.watch(report, site)
        service.lose_hsm(report, site)
        service.renew(report, site)
        handover.hand_over(report, site)
        operators.look_after(report, site)
        drop_ins.add(report, site)
        polkit.restrict(report, site)
        service.refuse_pin(report, site)
        installation.remove(report, site)
    with booted(folder / "guide") as machine:
        guide.walk(machine, report, package, earlier(package, folder / "former"))


def main() -> int:
    """Run, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.system", description="The system test.")
    parser.add_argument("package", type=Path)
    parser.add_argument("--previous", type=Path, help="an earlier package, to upgrade from")
    parser.add_argument("--report", type=Path, help="where the table goes as well")
    parser.add_argument("--keep", type=Path, help="folder for the machine, which then stays")
    options = parser.parse_args()
    report = Report()
    with ExitStack() as parts:
        folder = options.keep or Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="jpki-system-")))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            run(report, options.package.resolve(), options.previous, folder.resolve())
        except MachineError as error:
            print(error, file=sys.stderr)  # noqa: T201  # a program's own words
            return 2
        except AssertionError as error:
            report.rows.append(Row("system test", "going on after this step", str(error), Outcome.FAILED))
        finally:
            table = report.markdown()
            print(table)  # noqa: T201  # a program's own words
            if options.report is not None:
                options.report.write_text(table + "\n", "utf-8")
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
