"""What the sections of the file have in common."""

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
PinSeconds = Annotated[float, msgspec.Meta(ge=5, le=3600)]
"""With less no PIN is ever entered; a PIN pad gets half of it until the first key."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Alias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")]
"""What a part is called in results and metrics."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: frozen, and without keys that nobody knows."""
