"""The machine: its clock, the room on its disks, and how tight systemd's sandbox around the service is."""

import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from appliance.config import Configuration
from appliance.daemon.condition import clock_synchronised
from appliance.doctor import unit
from appliance.doctor.configuration import database_file
from appliance.doctor.finding import Advice, Check, Finding, Verdict

UNIT_FOLDERS: Final = (
    Path("/etc/systemd/system"),
    Path("/run/systemd/system"),
    Path("/usr/local/lib/systemd/system"),
    Path("/usr/lib/systemd/system"),
    Path("/lib/systemd/system"),
)
DROP_INS: Final = Path("/usr/share/jpki-appliance/drop-ins")
"""Those that the package brings, to be copied by sites that need them."""
_HIGHEST_EXPOSURE: Final = 1.5
"""Of the unit without any drop-in; what the shipped ones cost is measured, because they add up differently."""
_ROUNDING: Final = 0.05
_EXPOSURE: Final = re.compile(r"Overall exposure level for \S+: (\d{1,2}\.\d)")
_ANALYSIS_SECONDS: Final = 30.0
_MEGABYTE: Final = 1 << 20
_LEAST: Final = 100 * _MEGABYTE
"""Below it there is no room for a day's entries, lists and temporary files together."""
_LITTLE: Final = 1024 * _MEGABYTE
_LITTLE_PART: Final = 0.05


def clock() -> Finding:
    """Return whether the clock follows another one."""
    synchronised = clock_synchronised()
    if math.isnan(synchronised):
        detail = "neither the kernel nor systemd says"
        return Finding(Check.CLOCK, Verdict.WARNING, detail, advice=Advice.CLOCK_UNKNOWN)
    if not synchronised:
        return Finding(Check.CLOCK, Verdict.WARNING, "not synchronised", advice=Advice.CLOCK)
    return Finding(Check.CLOCK, Verdict.OK, "synchronised")


def sandbox(folders: Sequence[Path] = UNIT_FOLDERS, drop_ins: Path = DROP_INS) -> Finding:
    """
    Return how exposed the unit is that is installed in one of *folders*, with its drop-ins.

    Those there that are called as one in the folder *drop_ins* may cost what that one costs, and no more.
    """
    installed = next((path for one in folders if (path := one / unit.SERVICE).is_file()), None)
    if installed is None:
        return Finding(Check.SANDBOX, Verdict.NOT_APPLICABLE, f"{unit.SERVICE} is not installed")
    exposure = _exposure(installed)
    if exposure is None:
        return Finding(Check.SANDBOX, Verdict.NOT_APPLICABLE, "systemd-analyze is not there, or does not say")
    found = {one.name for folder in folders for one in (folder / f"{unit.SERVICE}.d").glob("*.conf")}
    known = [one for one in sorted(drop_ins.glob("*.conf")) if one.name in found]
    allowed = _HIGHEST_EXPOSURE + _cost(installed, known)
    named = "".join(f" {one.name}" for one in known)
    detail = f"exposure {exposure}, {allowed:.1f} as shipped{f' with{named}' if named else ''}"
    # Both figures have one decimal place; what stands behind it is no difference.
    if exposure > allowed + _ROUNDING:
        return Finding(Check.SANDBOX, Verdict.WARNING, detail, unit.SERVICE, Advice.SANDBOX)
    return Finding(Check.SANDBOX, Verdict.OK, detail, unit.SERVICE)


def _exposure(installed: Path) -> float | None:
    arguments = ("security", "--offline=true", "--no-pager", str(installed))
    said = unit.asked("systemd-analyze", *arguments, seconds=_ANALYSIS_SECONDS)
    exposure = None if said is None else _EXPOSURE.search(said)
    return None if exposure is None else float(exposure[1])


def _cost(installed: Path, drop_ins: Sequence[Path]) -> float:
    """Return by how much *drop_ins* raise the exposure of the unit in the file *installed*; raise OSError."""
    if not drop_ins:
        return 0.0
    with tempfile.TemporaryDirectory(prefix="jpki-sandbox-") as name:
        # Under another name, so that the drop-ins of the real one are not counted.
        copied = Path(name) / "shipped.service"
        shutil.copyfile(installed, copied)
        without = _exposure(copied)
        folder = Path(f"{copied}.d")
        folder.mkdir()
        for one in drop_ins:
            shutil.copyfile(one, folder / one.name)
        with_them = _exposure(copied)
    return 0.0 if without is None or with_them is None else with_them - without


def disk(configuration: Configuration) -> Iterator[Finding]:
    """Yield how much room there is on each disk that is written to."""
    seen: set[int] = set()
    for name, path in _written(configuration):
        there = next(one for one in (path, *path.parents) if one.exists())
        device = there.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield _room(name, there)


def _room(name: str, path: Path) -> Finding:
    try:
        status = os.statvfs(path)
    except OSError as error:
        return Finding(Check.DISK, Verdict.WARNING, f"{path}: {error.strerror}", name, Advice.DISK)
    free = status.f_bavail * status.f_frsize
    part = free / max(1, status.f_blocks * status.f_frsize)
    inodes = status.f_favail / status.f_files if status.f_files else 1.0
    detail = f"{free // _MEGABYTE} MB free ({part:.0%}), {inodes:.0%} of inodes"
    if free < _LEAST or (status.f_files and status.f_favail == 0):
        return Finding(Check.DISK, Verdict.FAILED, detail, name, Advice.DISK)
    if free < _LITTLE or min(part, inodes) < _LITTLE_PART:
        return Finding(Check.DISK, Verdict.WARNING, detail, name, Advice.DISK)
    return Finding(Check.DISK, Verdict.OK, detail, name)


def _written(configuration: Configuration) -> Iterator[tuple[str, Path]]:
    settings = configuration.settings
    yield "hsm.state", configuration.path(settings.hsm.state)
    if (database := database_file(configuration)) is not None:
        yield "ledger.database", database.parent
    if settings.revocation.crl is not None:
        yield "revocation.crl.state", configuration.path(settings.revocation.crl.state)
    if settings.ledger.copies is not None:
        yield "ledger.copies", configuration.path(settings.ledger.copies)
