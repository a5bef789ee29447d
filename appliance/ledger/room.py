"""
Room in SQLite's write-ahead log, made before it is needed.

A commit that makes the file longer syncs the new length too, which is another write, into the file system's journal.
Within a file that is long enough only the data is synced: on ext4 two thirds of the time. So the file gets zeros at
its end. SQLite ends reading at the first frame whose salt and checksum do not fit; theirs never do.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_LEAST: Final = 1 << 18
_MOST: Final = 1 << 23
"""Bytes that are added at once: as many as there are, within these."""


class Room:
    """The write-ahead log in the file *path*, to be as long as *limit* some time. Used by one thread."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._file: int | None = None
        self._reach = 0

    def make(self) -> None:
        """
        Make the file longer, where what was written has come to its end.

        To be called with SQLite's write lock held: then nobody else adds to the file. Where the disk has no room,
        nothing is changed; whether the commit fits is SQLite's to say.
        """
        with suppress(OSError):
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            size = os.fstat(self._file).st_size
            if size == self._reach or size >= self._limit:
                return
            self._reach = size
            more = min(max(size, _LEAST), _MOST)
            if _written(self._file, more, size):
                self._reach += more
            else:
                os.ftruncate(self._file, size)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _written(file: int, count: int, place: int) -> bool:
    try:
        return os.pwrite(file, bytes(count), place) == count
    except OSError:
        return False
