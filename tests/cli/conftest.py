"""The command as a user runs it: a process, with nothing around it."""

import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

Finished = subprocess.CompletedProcess[str]


def run(*arguments: str, text: str | None = None) -> Finished:
    """Run `jpki-appliance` with *arguments* to its end, *text* on its standard input."""
    return subprocess.run(
        (sys.executable, "-m", "appliance", *arguments),
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def our_processes() -> Sequence[str]:
    """Return the commands of pcscd and HSM workers that run now."""
    listed = subprocess.run(("ps", "-eo", "pid=,args="), capture_output=True, text=True, check=True).stdout
    return [
        line for line in listed.splitlines() if "appliance.hsm.worker" in line or "pcscd --foreground" in line
    ]


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail a test after which more of our processes run than before."""
    before = set(our_processes())
    yield
    assert set(our_processes()) <= before
