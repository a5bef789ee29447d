"""What results say, and the keys that sign them."""

from datetime import datetime
from typing import Annotated

import msgspec

from appliance.config.section import Name, Section


class EarlierKeySettings(Section, frozen=True, kw_only=True):
    """A key that signed result tokens once, in a PEM *file*, and *until* when the last of them lasts."""

    file: str
    until: Annotated[datetime, msgspec.Meta(tz=True)]


class ResultSettings(Section, frozen=True, kw_only=True):
    """What a result token says of its maker and for whom it is."""

    issuer: Name
    audience: Name
    lifetime_seconds: Annotated[int, msgspec.Meta(ge=10, le=3600)] = 300
    pseudonym_key_file: str
    earlier_token_keys: Annotated[tuple[EarlierKeySettings, ...], msgspec.Meta(max_length=8)] = ()
    """Keys that are published beside `hsm.token_key` until their tokens have ended."""
