"""The machine: its clock, the room on its disks, and how tight systemd's sandbox around the service is."""

import math
import os
import re
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
_HIGHEST_EXPOSURE: Final = 1.5
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


def sandbox(folders: Sequence[Path] = UNIT_FOLDERS) -> Finding:
    """Return how exposed the unit is that is installed in one of *folders*, with its drop-ins."""
    installed = next((path for one in folders if (path := one / unit.SERVICE).is_file()), None)
    if installed is None:
        return Finding(Check.SANDBOX, Verdict.NOT_APPLICABLE, f"{unit.SERVICE} is not installed")
    arguments = ("security", "--offline=true", "--no-pager", str(installed))
    said = unit.asked("systemd-analyze", *arguments, seconds=_ANALYSIS_SECONDS)
    exposure = None if said is None else _EXPOSURE.search(said)
    if exposure is None:
        return Finding(Check.SANDBOX, Verdict.NOT_APPLICABLE, "systemd-analyze is not there, or does not say")
    detail = f"exposure {exposure[1]}, {_HIGHEST_EXPOSURE} as shipped"
    if float(exposure[1]) > _HIGHEST_EXPOSURE:
        return Finding(Check.SANDBOX, Verdict.WARNING, detail, unit.SERVICE, Advice.SANDBOX)
    return Finding(Check.SANDBOX, Verdict.OK, detail, unit.SERVICE)


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
