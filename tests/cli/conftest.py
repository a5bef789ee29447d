"""The command as a user runs it: a process, with nothing around it."""

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

Finished = subprocess.CompletedProcess[str]

_SET_CHILD_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2)."""


def run(*arguments: str, text: str | None = None, **environment: str) -> Finished:
    """Run `jpki-appliance` with *arguments* to its end, *text* on its standard input, *environment* beside the usual."""
    return subprocess.run(
        (sys.executable, "-m", "appliance", *arguments),
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**_environment(), **environment},
    )


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Have the kernel refuse this process what would make a file longer than *size*, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def children() -> set[int]:
    """Return the processes whose parent is this one."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = status.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == os.getpid():
                found.add(int(status.parent.name))
    return found


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a process behind: whoever loses its parent becomes a child of this process."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_SET_CHILD_SUBREAPER, 1)
    before = children()
    try:
        yield
        assert children() <= before
    finally:
        # Left on, it would give this process the orphans of the tests that come after.
        prctl(_SET_CHILD_SUBREAPER, 0)
