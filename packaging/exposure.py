"""
Measure how exposed our units are, and others' beside them, all by the same `systemd-analyze security`.

    python packaging/exposure.py [--unit NAME=FILE=SOURCE ...] > docs/exposure.md

Others' units are taken from Debian's packages, which are fetched and unpacked, not installed; what Debian does not
have is given as a file. Nothing of them is kept but the figure.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
_OURS = ("jpki-appliance.service", "jpki-terminal.service", "jpki-handover.service")
_FIGURE = re.compile(r"Overall exposure level for \S+: (\d{1,2}\.\d)")
_HEAD = """# Exposure of the units

Written by `make exposure`. `systemd-analyze security` adds up what a unit could do if its program were taken over, from 0
(nothing) to 10 (everything); it knows the unit and not the program. All figures are from one run of
{version}, on {day}. Our units stay at or below 1.5: `tests/packaging` fails otherwise, and
`make system-test` shows on a booted machine that what they forbid is refused. A unit that Debian does not have was measured
from the file its project publishes.

| unit | of | exposure |
|---|---|---|
"""
_TAIL = """
What keeps ours from 0: a local socket with its group, and a network for `jpki-appliance.service` and `jpki-terminal.service`.
`PrivateUsers=` and `ProtectClock=` are left out of the first (systemd/README.md). Each drop-in that a site needs costs
something; `doctor` tells the figure of the unit as it is installed.

| drop-in | for | exposure with it |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Other:
    """A unit of a Debian package: its *path* there."""

    release: str
    package: str
    path: str


_OTHERS = (
    Other("bookworm", "chrony", "lib/systemd/system/chrony.service"),
    Other("trixie", "chrony", "usr/lib/systemd/system/chrony.service"),
    Other("trixie", "chrony", "usr/lib/systemd/system/chronyd-restricted.service"),
    Other("bookworm", "pcscd", "lib/systemd/system/pcscd.service"),
    Other("trixie", "pcscd", "usr/lib/systemd/system/pcscd.service"),
    Other("trixie", "parsec-service", "usr/lib/systemd/system/parsec.service"),
)


def mirror() -> str:
    """Return where this machine gets its own Debian from."""
    said = subprocess.run(
        ("apt-get", "indextargets", "--format=$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"),
        capture_output=True,
        text=True,
        check=True,
    )
    here = (line.split() for line in sorted(said.stdout.splitlines()))
    return next(
        uri for uri, release, component in here if release == _OTHERS[0].release and component == "main"
    )


class Archive:
    """Debian's *releases*, asked with lists of our own, below *folder*; the machine's stay as they are."""

    def __init__(self, folder: Path, releases: set[str]) -> None:
        self._folder = folder
        (folder / "lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        lines = (f"deb {mirror()} {release} main\n" for release in sorted(releases))
        (folder / "sources.list").write_text("".join(lines), "utf-8")
        self._run("update")

    def fetched(self, release: str, package: str) -> tuple[Path, str]:
        """Return where *package* of *release* is unpacked, and its version."""
        place = self._folder / release / package
        if not place.exists():
            place.mkdir(parents=True)
            self._run("download", f"{package}/{release}", place=place)
            subprocess.run(("dpkg-deb", "--extract", str(self._file(place)), str(place / "root")), check=True)
        version = subprocess.run(
            ("dpkg-deb", "--field", str(self._file(place)), "Version"),
            capture_output=True,
            text=True,
            check=True,
        )
        return place / "root", version.stdout.strip()

    @staticmethod
    def _file(place: Path) -> Path:
        return next(place.glob("*.deb"))

    def _run(self, *arguments: str, place: Path | None = None) -> None:
        options = (
            f"Dir::Etc::sourcelist={self._folder}/sources.list",
            "Dir::Etc::sourceparts=-",
            f"Dir::State::lists={self._folder}/lists",
            f"Dir::Cache={self._folder}/cache",
            "APT::Sandbox::User=",
        )
        subprocess.run(
            ("apt-get", "--quiet=2", *(f"--option={one}" for one in options), *arguments),
            cwd=place,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def exposure(unit: Path) -> float:
    """Return the figure of *unit*, with the drop-ins beside it."""
    said = subprocess.run(
        ("systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)),
        capture_output=True,
        text=True,
        check=False,
    )
    found = _FIGURE.search(said.stdout)
    if found is None:
        raise ValueError(f"{unit.name}: {said.stdout}{said.stderr}")
    return float(found[1])


def with_drop_in(drop_in: Path, folder: Path) -> tuple[str, float]:
    """Return the unit that *drop_in* is for, and the figure of the two together."""
    named = re.search(r"[a-z-]+\.service", drop_in.read_text("utf-8").splitlines()[0])
    name = _OURS[0] if named is None else named[0]
    place = folder / drop_in.stem
    (place / f"{name}.d").mkdir(parents=True)
    (place / name).write_text((_HERE / "systemd" / name).read_text("utf-8"), "utf-8")
    (place / f"{name}.d" / drop_in.name).write_text(drop_in.read_text("utf-8"), "utf-8")
    return name, exposure(place / name)


def main() -> None:
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(description="Exposure of our units and of others'.")
    parser.add_argument(
        "--unit", action="append", default=[], help="a unit that Debian has not: NAME=FILE=SOURCE"
    )
    options = parser.parse_args()
    version = subprocess.run(("systemd-analyze", "--version"), capture_output=True, text=True, check=True)
    rows = [(name, "this package", exposure(_HERE / "systemd" / name)) for name in _OURS]
    with tempfile.TemporaryDirectory(prefix="jpki-exposure-") as made:
        folder = Path(made)
        archive = Archive(folder / "apt", {one.release for one in _OTHERS})
        for one in _OTHERS:
            root, found = archive.fetched(one.release, one.package)
            rows.append(
                (
                    Path(one.path).name,
                    f"{one.package} {found}, Debian {one.release}",
                    exposure(root / one.path),
                )
            )
        for given in options.unit:
            name, file, source = given.split("=", 2)
            copied = folder / name
            copied.write_text(Path(file).read_text("utf-8"), "utf-8")
            rows.append((name, source, exposure(copied)))
        drop_ins = [
            (one.name, *with_drop_in(one, folder))
            for one in sorted((_HERE / "systemd" / "drop-ins").glob("*.conf"))
        ]
    head = _HEAD.format(version=version.stdout.splitlines()[0], day=datetime.now(UTC).strftime("%Y-%m-%d"))
    lines = [
        f"| `{name}` | {source} | {figure} |" for name, source, figure in sorted(rows, key=lambda row: row[2])
    ]
    with_them = [f"| `{name}` | `{unit}` | {figure} |" for name, unit, figure in drop_ins]
    sys.stdout.write(head + "\n".join(lines) + "\n" + _TAIL + "\n".join(with_them) + "\n")


if __name__ == "__main__":
    main()
