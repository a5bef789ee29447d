"""The eligibility service."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from appliance.config.section import Name, Section


class EligibilitySettings(Section, frozen=True, kw_only=True):
    """The service that is asked, after an authentication, whether the holder is insured."""

    service: Name = "fhir"
    """Which connector speaks with it: an entry point of the group `jpki_appliance.eligibility`."""
    url: Annotated[str, msgspec.Meta(pattern=r"^https://[^@\s/?#]+(?:/[!-~]*)?\Z")]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=30)] = 5.0
    """How long an answer may take."""
    largest_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 20)] = 1 << 18
    """The largest answer that is taken."""
    authorities: str | None = None
    """PEM certificates that the service's TLS certificate leads to, where they are not the system's."""
    client_certificate: str
    client_key_file: str
    options: Mapping[str, str] = {}
    """What the connector alone understands."""
