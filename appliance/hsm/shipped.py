"""Where the files of `hsm-config` are: beside the package in a checkout, under `share` where it is installed."""

import sys
from pathlib import Path

from appliance.errors import PartMissing

_CHECKOUT = Path(__file__).resolve().parents[2] / "hsm-config"
_INSTALLED = Path(sys.prefix) / "share" / "jpki-appliance" / "hsm-config"


def shipped(name: str) -> Path:
    """Return the path of what `hsm-config` calls *name*, or raise PartMissing."""
    for folder in (_CHECKOUT, _INSTALLED):
        if (folder / name).exists():
            return folder / name
    raise PartMissing(f"hsm-config/{name} of the package jpki-appliance is not installed")
