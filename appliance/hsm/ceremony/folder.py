"""Files that are there whole or not at all, and that nothing replaces by mistake."""

import os
import secrets
from pathlib import Path

from appliance.errors import CeremonyRefused


def write(path: Path, content: bytes) -> None:
    """Write *content* to *path*, in the place of what is there."""
    temporary = _written(path, content)
    temporary.replace(path)
    sync(path.parent)


def refuse_other(path: Path, content: bytes) -> None:
    """Raise CeremonyRefused where *path* is there with another content than *content*."""
    try:
        if path.read_bytes() != content:
            raise CeremonyRefused(f"{path} is there already, with another content")
    except FileNotFoundError:
        return


def add(path: Path, content: bytes) -> None:
    """Write *content* to *path*, or raise CeremonyRefused where it is there with another content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _written(path, content)
    try:
        path.hardlink_to(temporary)  # unlike a rename, it never replaces
    except FileExistsError:
        refuse_other(path, content)
    finally:
        temporary.unlink()
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make sure that the entries of *folder* outlive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _written(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with temporary.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary
