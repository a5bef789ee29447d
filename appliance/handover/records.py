"""
What the hand-over writes: results for others, and for itself which requests were begun.

A result appears whole or not at all, and is gone after a time, because what it says is about a patient. That a request was
begun is known for longer, by the hash of its name alone.
"""

import os
import re
import secrets
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.handover.folder import ENDING, opened

_BEGUN: Final = "begun"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_OURS: Final = re.compile(r"\.?[A-Za-z0-9][A-Za-z0-9._~-]{0,90}\.json(~[0-9a-f]{16})?")
_RESULT_MODE: Final = 0o640
_MOST_AT_ONCE: Final = 100_000


class Results:
    """Results in *folder*, each for *keep_seconds*."""

    def __init__(self, folder: Path, keep_seconds: float) -> None:
        self.folder, self._keep_seconds = folder, keep_seconds

    def has(self, stem: str) -> bool:
        """Return whether there is a result of the request *stem*."""
        return os.path.lexists(self.folder / (stem + ENDING))

    def write(self, stem: str, content: bytes) -> None:
        """Lay out *content* as the result of the request *stem*; raises OSError."""
        name = stem + ENDING
        # Nobody who looks for results takes up a name with a dot in front.
        passing = f".{name}~{secrets.token_hex(8)}"
        with opened(self.folder) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(passing, flags, _RESULT_MODE, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(descriptor)
                os.rename(passing, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(passing, dir_fd=folder)
                raise
            os.fsync(folder)

    def remove_old(self, now: float) -> int:
        """Remove what is older than it may be at *now*, and return how many that were; raises OSError."""
        with opened(self.folder) as folder:
            return _remove_before(folder, now - self._keep_seconds, _OURS)


class Begun:
    """Which requests were begun, in a folder of *work*, for *remember_seconds*."""

    def __init__(self, work: Path, remember_seconds: float) -> None:
        self._folder, self._remember_seconds = work / _BEGUN, remember_seconds
        self._folder.mkdir(0o700, exist_ok=True)

    def begin(self, stem: str) -> bool:
        """Know durably that the request *stem* is begun; False where it was before. Raises OSError."""
        with opened(self._folder) as folder:
            try:
                os.close(os.open(_name(stem), os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder))
            except FileExistsError:
                return False
            os.fsync(folder)
        return True

    def knows(self, stem: str) -> bool:
        """Return whether the request *stem* was begun."""
        return (self._folder / _name(stem)).exists()

    def remove_old(self, now: float) -> int:
        """Forget what is older than it has to be known at *now*; raises OSError."""
        with opened(self._folder) as folder:
            return _remove_before(folder, now - self._remember_seconds, _HASH)


def _name(stem: str) -> str:
    # Some file systems take two spellings for one name, so the hash is that of one of them.
    return sha256(stem.lower().encode()).hexdigest()


def _remove_before(folder: int, moment: float, names: re.Pattern[str]) -> int:
    """Remove plain files of ours, by *names* and owner, that were changed before the *moment*."""
    removed = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if removed >= _MOST_AT_ONCE:
                break
            if names.fullmatch(entry.name) is None:
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if (
                    stat.S_ISREG(status.st_mode)
                    and status.st_uid == os.geteuid()
                    and status.st_mtime < moment
                ):
                    os.unlink(entry.name, dir_fd=folder)
                    removed += 1
    return removed
