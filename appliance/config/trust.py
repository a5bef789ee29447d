"""The CAs of holders."""

from typing import Annotated

import msgspec

from appliance.config.section import Section


class TrustSettings(Section, frozen=True, kw_only=True):
    """Which CAs issue holders' certificates."""

    authorities: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    front_root: str | None = None
    """PEM public key of the root that municipalities' keys for card fronts lead to; without it no front is read."""
