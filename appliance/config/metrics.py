"""The listener for figures."""

from typing import Annotated

import msgspec

from appliance.config.section import Section


class MetricsSettings(Section, frozen=True, kw_only=True):
    """The listener for Prometheus, without TLS: best left on the machine itself."""

    address: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9464
    """0 takes any free port, which the log names."""
