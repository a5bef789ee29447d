"""
Secrets that systemd hands to a service: a file each, in a folder that only this service can read.

Where that folder is, the service is told when it starts, so a configuration cannot name it. It says `credential:NAME`.
Commands that an operator runs beside the service look where the service's are while it runs.
"""

import os
import re
import stat
from pathlib import Path
from typing import Final

from appliance.errors import ConfigInvalid

_PREFIX: Final = "credential:"
_NAME: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,255}")
_SERVICE: Final = Path("/run/credentials/jpki-appliance.service")


def located(named: str) -> Path | None:
    """
    Return the file of the credential *named* `credential:NAME`, or None for what is no credential.

    Raises ConfigInvalid for a name that no credential can have.
    """
    if not named.startswith(_PREFIX):
        return None
    name = named.removeprefix(_PREFIX)
    if _NAME.fullmatch(name) is None:
        raise ConfigInvalid(f"{named} is not the name of a credential")
    return _folder() / name


def open_to_others(path: Path, status: os.stat_result) -> bool:
    """Return whether others than the owner can read the secret at *path*, which has *status*."""
    # systemd lets a service read its credentials by an access control list, whose mask shows as group bits.
    handed_over = path.parent == _folder() and status.st_uid == 0
    return bool(status.st_mode & (stat.S_IRWXO if handed_over else stat.S_IRWXG | stat.S_IRWXO))


def _folder() -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return Path(folder) if folder.startswith("/") else _SERVICE
