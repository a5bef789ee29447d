"""
What stands in the log: entries as canonical JSON, of seven kinds. Pure.

An entry is JSON without spaces, members sorted by name, in ASCII. No string in it needs an escape and every number
is an integer, so this is at once RFC 8785 (JSON Canonicalization Scheme), and there is one way to write an entry:
what decodes and does not encode to the same bytes again is refused.

Every string has a pattern that a name, an address or a certificate does not fit. `docs/ledger-entry.schema.json`
is the schema for others.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from appliance.errors import LedgerDamaged

Alias: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
"""A reader, a device, an operator: what the configuration calls it."""
Desk: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}(\.[a-z0-9][a-z0-9-]{0,31})?$")
]
"""Where a card can lie: a reader of the appliance, or TERMINAL.READER."""
Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256, or HMAC with it, in hexadecimal."""
Code: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Origin: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[!#-*,-\[\]-~]{1,128}$")]
Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Milliseconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
"""Since 1970-01-01T00:00:00Z, by the clock of the machine as it was. The order of entries is their index."""
Version: TypeAlias = Literal[1]

MOST_DESKS: Final = 16
"""In one emergency window."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds have in common."""

    time: Milliseconds
    version: Version = 1


class Reserved(_Entry, frozen=True, kw_only=True, tag="reserved"):
    """An authentication is about to use a key. Durable before the institution key signs."""

    mode: Literal["pinless", "pin"]
    terminal: Desk
    check: Literal["face", "visual", "pin", "none_emergency"]
    """How the holder was checked."""
    checked_by: Desk
    """Of a PIN, the desk at which it was entered; where nobody checked, the emergency window, as `w-INDEX`."""
    challenge: Digest | UnsetType = UNSET
    """Of the card's challenge that the institution key is to sign."""
    key: Digest | UnsetType = UNSET
    """Of the institution key's SubjectPublicKeyInfo."""


class Finished(_Entry, frozen=True, kw_only=True, tag="finished"):
    """How the authentication of the entry *reserved* ended."""

    reserved: Index
    outcome: Literal["authenticated", "refused", "interrupted"]
    code: Code | UnsetType = UNSET
    """Of the error, where it was refused."""
    holder: Digest | UnsetType = UNSET
    """The keyed pseudonym of the ledger; no result token has the same."""
    revocation: Code | UnsetType = UNSET
    """What was known of the certificate's revocation."""
    evidence: Digest | UnsetType = UNSET
    """Of the evidence that was handed out."""


class Continued(_Entry, frozen=True, kw_only=True, tag="continued"):
    """This log goes on where that of *origin* was closed at *size* entries with *root*."""

    origin: Origin
    size: Index
    root: Digest


class Pruned(_Entry, frozen=True, kw_only=True, tag="pruned"):
    """The content of the entries below *before* was removed, because it was older than it is kept."""

    before: Index


class WindowProposed(_Entry, frozen=True, kw_only=True, tag="window_proposed"):
    """An operator proposes that up to *until* holders at *desks*, all where none is named, need not be checked."""

    by: Alias
    reason: Literal["unconscious", "disaster", "drill"]
    until: Milliseconds
    desks: Annotated[tuple[Desk, ...], msgspec.Meta(max_length=MOST_DESKS)]


class WindowConfirmed(_Entry, frozen=True, kw_only=True, tag="window_confirmed"):
    """Another operator agrees: the window that the entry *window* proposed is open from here on."""

    window: Index
    by: Alias


class WindowClosed(_Entry, frozen=True, kw_only=True, tag="window_closed"):
    """The window that the entry *window* proposed, open or not, is closed from here on."""

    window: Index
    cause: Literal["closed", "expired", "policy", "interrupted"]
    """An operator; its end, or that nobody confirmed it; the configuration; the end of the process that kept it."""
    by: Alias | UnsetType = UNSET


Entry: TypeAlias = Reserved | Finished | Continued | Pruned | WindowProposed | WindowConfirmed | WindowClosed

_ENCODER: Final = msgspec.json.Encoder(order="sorted")
_DECODER: Final[msgspec.json.Decoder[Entry]] = msgspec.json.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """Return *entry* as it is hashed and stored."""
    return _ENCODER.encode(entry)


def decode(content: bytes) -> Entry:
    """Return the entry that *content* is, or raise LedgerDamaged: another shape, or another spelling of it."""
    try:
        entry = _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The decoder's own text may quote what it read.
        raise LedgerDamaged(f"an entry is not of a known shape ({type(error).__name__})") from error
    if _ENCODER.encode(entry) != content:
        raise LedgerDamaged("an entry is not in its canonical spelling")
    return entry


def checked(entry: Entry) -> bytes:
    """Return *entry* encoded; raise ValueError where a value of it does not fit its pattern."""
    content = encode(entry)
    try:
        _DECODER.decode(content)
    except msgspec.ValidationError as error:
        raise ValueError(f"an entry cannot hold this: {error}") from error
    return content


def milliseconds(time: datetime) -> int:
    """Return *time* as entries write it."""
    return int(time.timestamp() * 1000)


def instant(entry: Entry) -> datetime:
    """Return the time of *entry*."""
    return datetime.fromtimestamp(entry.time / 1000, UTC)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of an entry."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Entry)}
