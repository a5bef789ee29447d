"""How it is found out whether a holder's certificate was revoked."""

from typing import Annotated, Literal

import msgspec

from appliance.config.section import Section


class OcspSettings(Section, frozen=True, kw_only=True):
    """The OCSP responder."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[!-~]+\Z")]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=30)] = 5.0
    """How long an answer may take."""
    identifier: Literal["sha256", "sha1"] = "sha256"
    """The hash by which requests name certificates; no security rests on it (`trust.ocsp.Identifier`)."""
    authorities: str | None = None
    """PEM certificates that the responder's TLS certificate leads to, where they are not the system's."""
    client_certificate: str | None = None
    client_key_file: str | None = None

    def __post_init__(self) -> None:
        if (self.client_certificate is None) is not (self.client_key_file is None):
            raise ValueError("client_certificate and client_key_file go together")


class CrlSettings(Section, frozen=True, kw_only=True):
    """The folder with the lists of revoked certificates, and the index made of them."""

    folder: str
    state: str
    watch_seconds: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 10.0


class RevocationSettings(Section, frozen=True, kw_only=True):
    """How it is found out whether a holder's certificate was revoked."""

    sources: Annotated[tuple[Literal["ocsp", "crl"], ...], msgspec.Meta(max_length=2)]
    """In which order; none at all means that nothing is checked, and every result says so."""
    when_unavailable: Literal["refuse", "accept-unchecked"] = "refuse"
    longest_age_hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 30)] = 48.0
    """How old knowledge may be, even where its issuer lets it count for longer."""
    crl: CrlSettings | None = None
    ocsp: OcspSettings | None = None

    def __post_init__(self) -> None:
        if len(set(self.sources)) != len(self.sources):
            raise ValueError("a source is named twice")
        for source in self.sources:
            if getattr(self, source) is None:
                raise ValueError(f"the source '{source}' has no section [revocation.{source}]")
