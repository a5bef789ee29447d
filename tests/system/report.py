"""What was tried, and what was seen: a table that is printed at the end, whatever happens."""

import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from tests.system.machine import Machine

_HEAD = """# System test: what was tried, and what was seen

Written by `make system-test`, which needs root: it installs the package in a Debian that boots with systemd in a container,
and tries what systemd has to hold, first as a site that comes from an earlier package, then by the operator's guide, command
by command in one shell. It is not part of `make test`, which has to run as anybody and within 15 minutes on two processors.
What of it needs no booted machine is there: `tests/packaging` has systemd itself judge the units, their exposure, drop-ins
and accounts, and `tests/guide` goes through the guide with what is in systemd's place.
"not here" is what this container cannot show; the row says why.
"""


class Outcome(StrEnum):
    """How a step ended."""

    HOLDS = "ok"
    FAILED = "FAILED"
    NOT_HERE = "not here"
    """This machine cannot show it; what was seen says why."""


@dataclass(slots=True)
class Row:
    """One line of the table."""

    part: str
    tried: str
    seen: str = ""
    outcome: Outcome = Outcome.HOLDS
    seconds: float = 0.0

    def not_here(self, why: str) -> None:
        """Note that this machine cannot show it."""
        self.outcome, self.seen = Outcome.NOT_HERE, why


@dataclass(slots=True)
class Report:
    """All lines so far."""

    rows: list[Row] = field(default_factory=list)
    subject: str = ""
    """What was tested, and on what."""

    def about(self, package: Path, machine: Machine) -> None:
        """Note that it is about *package* on *machine*."""
        version = subprocess.run(
            ("dpkg-deb", "--field", str(package), "Version"), capture_output=True, text=True, check=True
        ).stdout.strip()
        system = machine.shell(". /etc/os-release; echo $PRETTY_NAME; systemctl --version | head -n 1").out
        parts = machine.run(
            "dpkg-query", "-Wf", "${Package} ${Version}, ", "pcscd", "softhsm2", "polkitd"
        ).out
        kernel = platform.release().split("-")[0]
        self.subject = (
            f"jpki-appliance {version} (SHA-256 of the package {sha256(package.read_bytes()).hexdigest()[:16]}…) on"
            f" {', '.join(system.splitlines())}, {parts.rstrip(', ')}, in a container on Linux {kernel},"
            f" {os.cpu_count()} processors, {datetime.now(UTC):%Y-%m-%d}."
        )

    @contextmanager
    def step(self, part: str, tried: str) -> Iterator[Row]:
        """Give the row for what is *tried* now; an exception makes it a failed one, and the next step follows."""
        row = Row(part, tried)
        self.rows.append(row)
        begin = time.monotonic()
        try:
            yield row
        except Exception as error:  # noqa: BLE001  # whatever it is, it stands in the table
            row.outcome, row.seen = Outcome.FAILED, f"{type(error).__name__}: {error}"
            traceback.print_exc(file=sys.stderr)
        row.seconds = time.monotonic() - begin
        print(f"[{row.outcome}] {row.seconds:5.1f} s {part}: {tried}", file=sys.stderr, flush=True)  # noqa: T201  # progress

    @property
    def good(self) -> bool:
        """Whether nothing failed."""
        return all(row.outcome is not Outcome.FAILED for row in self.rows)

    def markdown(self) -> str:
        """Return the table."""
        lines = [_HEAD, self.subject, "", "| part | tried | seen | |", "|---|---|---|---|"]
        for row in self.rows:
            seen = " ".join(row.seen.split()).replace("|", "\\|")
            lines.append(f"| {row.part} | {row.tried} | {seen[:300]} | {row.outcome} |")
        seconds = sum(row.seconds for row in self.rows)
        counted = ", ".join(
            f"{times} {one}" for one in Outcome if (times := sum(row.outcome is one for row in self.rows))
        )
        return "\n".join((*lines, "", f"{len(self.rows)} steps in {seconds:.0f} s: {counted}."))
