"""Where requests come in."""

from typing import Annotated

import msgspec

from appliance.config.section import Seconds, Section


class TlsSettings(Section, frozen=True, kw_only=True):
    """The listener on the network: TLS 1.3, client certificates required."""

    address: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8443
    certificate: str
    """PEM: the server's certificate and what leads to its root."""
    key_file: str
    clients: str
    """PEM: CAs of client certificates, or pinned certificates themselves."""


class GatewaySettings(Section, frozen=True, kw_only=True):
    """Where requests come in, and how many."""

    socket: Annotated[str, msgspec.Meta(min_length=1)] = "run/appliance.sock"
    """Unix socket: there always is one. A socket that systemd hands over takes its place."""
    tls: TlsSettings | None = None
    authentications: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256
    """The most that may be under way at once."""
    connections: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 4096
    result_seconds: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 300.0
    """How long a finished authentication can be asked for."""
    drain_seconds: Seconds = 30.0
    """What running authentications get at the end."""
    notice_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    """For which `/readyz` says at least that it ends, before it does: for load balancers."""
