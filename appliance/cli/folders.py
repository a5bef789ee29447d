"""Folders that commands are told to fill: where that cannot be done, the file system's reason is a refusal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import ConfigInvalid


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Refuse what the block could not do with files in *folder*."""
    try:
        yield
    except OSError as error:
        raise ConfigInvalid(f"{error.filename or folder} cannot be made: {error.strerror}") from error


def make_new(folder: Path) -> None:
    """Make *folder*, for this account alone; refuse one that has something in it."""
    with filling(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_used = any(folder.iterdir())
    if is_used:
        raise ConfigInvalid(f"{folder} is not empty: everything is made in a new folder")
