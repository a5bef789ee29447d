"""The file in a card's folder that counts tries: one line `name = count` for each credential; no line means all."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from appliance.simulator.credentials import CredentialName

_FILE: Final = "tries.toml"


def load_tries(folder: Path) -> dict[CredentialName, int]:
    """Return the counts in *folder*; none where there is no file. Raises ValueError and OSError."""
    try:
        encoded = (folder / _FILE).read_bytes()
    except FileNotFoundError:
        return {}
    return msgspec.toml.decode(encoded, type=dict[CredentialName, int])


def save_tries(folder: Path, tries_left: Mapping[CredentialName, int]) -> None:
    """Write the counts into *folder* in one go: a power cut leaves the old ones or the new ones."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix="tries-")
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.writelines(f"{credential} = {left}\n" for credential, left in tries_left.items())
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(folder / _FILE)


class TriesFile:
    """Keeps every new count of the card in *folder*; begins with the counts that are there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left = load_tries(folder)

    def keep(self, name: CredentialName, tries_left: int) -> None:
        """Write that *tries_left* of the credential *name* are left."""
        self._left[name] = tries_left
        save_tries(self._folder, self._left)
