"""Where the Debian package puts things."""

from pathlib import Path
from typing import Final

CONFIGURATION: Final = Path("/etc/jpki-appliance/appliance.toml")
"""What commands go by that are told no other file."""
