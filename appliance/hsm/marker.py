"""
What a rejected PIN leaves behind: a file that survives restarts, and that only a person removes.

A daemon that is started again after a rejected PIN would try it again, and lock the token. The marker is looked for
before a token is touched at all. It belongs to the token, as module, label and the module's environment lead to it,
and not to the alias, which may be changed.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec

from appliance.errors import ConfigInvalid
from appliance.hsm.place import Hsm

_LARGEST_MARKER = 1 << 14


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """What a marker says. No PIN, and nothing about it."""

    hsm: str
    token: str
    module: str
    pin_file: str
    time: datetime
    detail: str


class Marker:
    """The file for one token in the folder *state*; it is there or not."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, hsm: Hsm, state: Path) -> Self:
        """Return the marker of the token of *hsm*."""
        return cls.of_token(hsm.setup.module, hsm.setup.token, hsm.environment, state)

    @classmethod
    def of_token(cls, module: str, token: str, environment: Mapping[str, str], state: Path) -> Self:
        """Return the marker of the token called *token* that *module* leads to with its *environment*."""
        leading = msgspec.json.encode([module, token, sorted(environment.items())])
        identity = hashlib.sha256(leading).hexdigest()[:12]
        name = re.sub(r"[^A-Za-z0-9-]", "_", token)
        return cls(state / f"pin-rejected-{name}-{identity}.json")

    def prepare(self) -> None:
        """Make the folder, or raise ConfigInvalid: a marker that cannot be written would protect nothing."""
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigInvalid(f"the state folder {folder} cannot be made: {error.strerror}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigInvalid(f"nothing can be written into the state folder {folder}")

    def is_set(self) -> bool:
        """Whether the file is there. One that cannot be looked at counts as there."""
        try:
            os.lstat(self.path)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def read(self) -> Rejection | None:
        """Return what the marker says; None where it is there and does not say it."""
        try:
            with self.path.open("rb") as file:
                return msgspec.json.decode(file.read(_LARGEST_MARKER), type=Rejection)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def set(self, rejection: Rejection) -> None:
        """Write the marker whole, and onto the disk, or raise OSError."""
        new = self.path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(rejection)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self) -> None:
        """Remove the marker, or raise ConfigInvalid."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigInvalid(f"{self.path} cannot be removed: {error.strerror}") from error
