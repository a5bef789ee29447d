"""
The request folder, to which others write: nothing in it is trusted.

A file is taken by renaming it into our own folder, which of several takers one alone manages. Only then it counts what is
in it. Links, folders, pipes and devices are never opened, a file with a second name is not read, and no name that others
chose is used for anything but its own folder.
"""

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.errors import HandoverFileRefused
from appliance.handover.request import LARGEST

ENDING: Final = ".json"
MOST_AT_A_LOOK: Final = 4096
"""Names. What is beyond waits for the next look."""
_STEM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CLAIMED: Final = re.compile(r"(?P<stem>[A-Za-z0-9][A-Za-z0-9._~-]{0,63})~[0-9a-f]{16}")
"""`~` is in no request's name, so what we make of one is never another's."""
_MARK_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it lay in the folder: its *name*, and by what it is seen whether it changes."""

    name: str
    kind: int
    inode: int
    size: int
    changed: float

    @property
    def stem(self) -> str:
        """What the request is called; a name that cannot be repeated is replaced by one made of its hash."""
        stem = self.name.removesuffix(ENDING)
        if is_stem(stem):
            return stem
        return f"unnamed~{sha256(os.fsencode(self.name)).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A file that is ours now, as *name* in the work folder; the request in it is called *stem*."""

    stem: str
    name: str


def is_stem(text: str) -> bool:
    """Return whether a request may be called *text*."""
    return _STEM.fullmatch(text) is not None


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Have *folder* open for the length of a block."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def look(folder: int) -> list[Found]:
    """Return what may be requests, the oldest first. Names with a dot in front are still being written."""
    found: list[Found] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.name.endswith(ENDING):
                continue
            # It may be gone again.
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                found.append(
                    Found(
                        entry.name,
                        stat.S_IFMT(status.st_mode),
                        status.st_ino,
                        status.st_size,
                        status.st_mtime,
                    )
                )
            if len(found) >= MOST_AT_A_LOOK:
                break
    return sorted(found, key=lambda one: (one.changed, one.name))


def read(folder: int, name: str) -> bytes:
    """
    Return the content of the file *name* in *folder*, or raise HandoverFileRefused.

    Raises OSError where it is gone.
    """
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise HandoverFileRefused("this is no plain file")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HandoverFileRefused("the file cannot be opened") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise HandoverFileRefused("this is no plain file")
        if status.st_nlink != 1:
            raise HandoverFileRefused("the file has another name elsewhere")
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise HandoverFileRefused(f"the file is larger than {LARGEST} bytes")
    return content


def changed(folder: int, name: str) -> float:
    """Return when the file *name* in *folder* was changed; raises OSError."""
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime


def claim(found: Found, requests: int, work: int) -> Claimed | None:
    """Take what was *found* out of *requests* into *work*; None where somebody else was first."""
    name = f"{found.stem}~{secrets.token_hex(_MARK_BYTES)}"
    try:
        os.rename(found.name, name, src_dir_fd=requests, dst_dir_fd=work)
    except FileNotFoundError:
        return None
    return Claimed(found.stem, name)


def left_over(work: int) -> list[Claimed]:
    """Return what was claimed and never finished."""
    matches = [_CLAIMED.fullmatch(name) for name in sorted(os.listdir(work))]
    return [Claimed(match["stem"], match[0]) for match in matches if match is not None]


def discard(work: int, claimed: Claimed) -> None:
    """Remove what was claimed; a folder with something in it is put aside for a person to look at."""
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(claimed.name, dir_fd=work, follow_symlinks=False).st_mode):
            os.unlink(claimed.name, dir_fd=work)
            return
        try:
            os.rmdir(claimed.name, dir_fd=work)
        except OSError:
            os.rename(claimed.name, f".{claimed.name}", src_dir_fd=work, dst_dir_fd=work)
