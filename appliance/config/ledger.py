"""The record of all authentications."""

from typing import Annotated

import msgspec

from appliance.config.section import Name, Section


class SyslogSettings(Section, frozen=True, kw_only=True):
    """A log server that gets every checkpoint, by syslog over TLS."""

    host: Name
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 6514
    authority: str | None = None
    """PEM certificate of the CA of its certificate, where it is none of the system's."""


class WitnessSettings(Section, frozen=True, kw_only=True):
    """Somebody who checks and cosigns every checkpoint (C2SP tlog-witness)."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+\Z")]
    """The submission prefix."""
    key: str
    """The verifier key of its cosignatures, as NAME+ID+KEY."""


class LedgerSettings(Section, frozen=True, kw_only=True):
    """Where the record of all authentications is kept, and who else gets to know of it."""

    origin: Annotated[str, msgspec.Meta(pattern=r"^[!#-*,-\[\]-~]{1,128}\Z")]
    """What the log is called in its checkpoints: a name of ours without scheme, another one for each node."""
    key: str
    """PEM public key of the key that signs checkpoints; its private half is in the token."""
    database: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^(?!(?!postgresql://).*://)(?!postgresql://[^/?]*:[^/?]*@)(?!.*password=).+\Z"
        ),
    ]
    """Path of an SQLite file, or a PostgreSQL connection URI without password. Another URI is no path of a file."""
    append_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    checkpoint_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 1.0
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=36_525)] = 1_827
    copies: str | None = None
    """Folder that gets every checkpoint."""
    syslog: SyslogSettings | None = None
    witness: tuple[WitnessSettings, ...] = ()
    stop_without_copy_hours: Annotated[float, msgspec.Meta(gt=0, le=8_760)] | None = None

    def __post_init__(self) -> None:
        if self.stop_without_copy_hours is not None and not (self.copies or self.syslog or self.witness):
            raise ValueError("ledger.stop_without_copy_hours needs a place for copies")
