"""The PKCS#11 tokens that hold the keys."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from appliance.config.section import Alias, Name, Seconds, Section


class TokenSettings(Section, frozen=True, kw_only=True):
    """Where one PKCS#11 token is, and how it is reached."""

    alias: Alias = "hsm-1"
    vendor: str = "softhsm"
    """Name of a vendor profile that is shipped, or path of a profile file."""
    module: str | None = None
    """Path of the vendor's module, where it is not the profile's."""
    token: Name
    pin_file: str
    environment: Mapping[str, str] = {}
    """Variables the module needs. A value that begins with "./" is a path beside the configuration file."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2


class StandbySettings(TokenSettings, frozen=True, kw_only=True):
    """Another HSM with the same keys, which takes over when those before it fail."""

    alias: Alias


class HsmSettings(TokenSettings, frozen=True, kw_only=True):
    """Which PKCS#11 tokens hold the keys, and how long they may take."""

    token_key: str
    """PEM public key of the key that signs result tokens; its private half is in the token."""
    state: str
    """Folder for what has to survive a restart."""
    start_seconds: Seconds = 20.0
    sign_seconds: Seconds = 5.0
    queue_limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    """The most requests that wait for a worker."""
    canary_seconds: Annotated[float, msgspec.Meta(gt=0, le=120)] = 60.0
    """At most so long that console, doctor and alerts, which wait for five minutes, hear of two before they complain."""
    challenges_per_minute: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 600
    """The most a worker signs with the institution key, whoever asks."""
    standby: tuple[StandbySettings, ...] = ()
    """Other HSMs with the same keys, in order of preference."""

    def __post_init__(self) -> None:
        if len({one.alias for one in self.all}) != 1 + len(self.standby):
            raise ValueError("two HSMs have one alias")

    @property
    def all(self) -> tuple[TokenSettings, ...]:
        """All HSMs in order of preference."""
        return (self, *self.standby)
