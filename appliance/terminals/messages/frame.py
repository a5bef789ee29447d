"""What all frames are made of: bounds, and texts of one spelling each."""

from typing import Annotated, Final

import msgspec

SUBPROTOCOL: Final = "jpki-terminal.v1"

LARGEST_FRAME: Final = 64 * 1024
"""Bytes of one frame."""
LARGEST_ANSWER: Final = 60_000
"""Characters of hexadecimal that the responses to one scenario may have together; the rest of a frame is around them."""
MOST_STEPS: Final = 128
MOST_READERS: Final = 8

Alias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")]
"""What a terminal or one of its readers is called."""
SessionId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
"""128 random bits of the appliance's."""
Nonce = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
Hex = Annotated[str, msgspec.Meta(min_length=2, max_length=LARGEST_ANSWER)]
"""
Bytes. Upper case only: one text for one value.

What has such a member checks it (`require_hex`): a pattern would take ten times as long, for the longest of all texts.
"""
StatusText = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-F]{4}\Z")]
Text = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{0,200}\Z")]
"""For people: printable ASCII."""
Label = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,64}\Z")]
StepName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}\Z")]
Code = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
"""One of our error codes (`docs/errors`)."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Sequence = Annotated[int, msgspec.Meta(ge=0, le=999)]
Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=4_000_000)]
Coordinate = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """What all frames have in common: `type` says which one it is."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stands inside a frame."""


def require_hex(text: str) -> None:
    """Raise ValueError where *text* is not the one hexadecimal form of some bytes. It is not repeated: it is personal."""
    try:
        octets = bytes.fromhex(text)
    except ValueError as error:
        raise ValueError("a text is not hexadecimal") from error
    if octets.hex().upper() != text:
        raise ValueError("a text is not hexadecimal in upper case")
