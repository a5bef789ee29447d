"""Folders that commands are told to fill: where that cannot be done, the file system's reason is a refusal."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from appliance.errors import ConfigInvalid

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Refuse what the block could not do with files in *folder*."""
    try:
        yield
    except OSError as error:
        raise ConfigInvalid(f"{error.filename or folder} cannot be made: {error.strerror}") from error


def make_new(folder: Path) -> None:
    """Make *folder*, for this account alone; refuse one that has something in it, or that others can write to."""
    with filling(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_used = any(folder.iterdir())
        status = folder.stat()
    if is_used:
        raise ConfigInvalid(f"{folder} is not empty: everything is made in a new folder")
    # Not closed here: it may be a folder that others share. Secrets in it are closed one by one, but could be replaced.
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & _OTHERS_WRITE:
        raise ConfigInvalid(f"{folder} can be written to by others: name a new folder, or chmod 700 it")
