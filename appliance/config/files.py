"""Reading the files that settings are in, or that settings name: of bounded size, and secrets only where none else can."""

from pathlib import Path
from typing import Final, TypeVar

import msgspec

from appliance import credentials
from appliance.errors import ConfigInvalid

T = TypeVar("T")

_LARGEST_FILE: Final = 1 << 20


def read_secret(path: Path) -> bytes:
    """Return the content of the secret file at *path*; raise ConfigInvalid if others can read it."""
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    if credentials.open_to_others(path, status):
        raise ConfigInvalid(f"{path} can be read by others than its owner: chmod 600")
    return read_bounded(path)


def read_bounded(path: Path, largest: int = _LARGEST_FILE) -> bytes:
    """Return what *path* holds, or raise ConfigInvalid: absent, unreadable, or of more bytes than the *largest* meant."""
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > largest:
        raise ConfigInvalid(f"{path} is larger than {largest} bytes")
    return content


def decoded(path: Path, kind: type[T]) -> T:
    """Return the *kind* of settings that the TOML file at *path* holds, or raise ConfigInvalid naming what is wrong."""
    content = read_bounded(path)
    try:
        return msgspec.toml.decode(content, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # What Python's own parser makes of endless digits or brackets does not become a DecodeError.
        raise ConfigInvalid(f"{path}: {error}") from error
