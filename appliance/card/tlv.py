"""
BER-TLV objects as the card writes them: ISO/IEC 7816-4 §5.2.2 tags, lengths minimal as in DER.

Only minimal lengths are taken, so an object's bytes are exactly `to_bytes()` of it: a hash over "the object as
read" needs no second copy. Indefinite lengths and tags of more than three bytes do not occur and are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from appliance.errors import CardAnswerMalformed

_LONGEST_TAG: Final = 3
_LONGEST_LENGTH: Final = 3


class TlvMalformed(CardAnswerMalformed):
    """Bytes that are no sequence of TLV objects."""


@dataclass(frozen=True, slots=True)
class Tlv:
    """One object: *tag* as a number in its written form (0x5F37), *value* its content."""

    tag: int
    value: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return tag, minimal length and value."""
        return header(self.tag, len(self.value)) + self.value

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Return the one object that *encoded* is, with nothing behind it."""
        tag, start, length = _read_header(encoded)
        if start + length != len(encoded):
            raise TlvMalformed(f"object {tag:X} has {length} bytes, {len(encoded) - start} follow its length")
        return cls(tag, encoded[start:])

    @property
    def children(self) -> tuple["Tlv", ...]:
        """The objects that the value consists of."""
        return tuple(parse(self.value))


def header(tag: int, length: int) -> bytes:
    """Return the bytes of *tag* and *length*, for a value that follows elsewhere."""
    encoded_tag = tag.to_bytes(max(1, (tag.bit_length() + 7) // 8))
    if length < 0x80:
        return encoded_tag + bytes([length])
    encoded_length = length.to_bytes((length.bit_length() + 7) // 8)
    return encoded_tag + bytes([0x80 | len(encoded_length)]) + encoded_length


def total_length(beginning: bytes) -> int:
    """Return how many bytes the object has, header included, of which *beginning* are the first few."""
    _tag, start, length = _read_header(beginning)
    return start + length


def parse(encoded: bytes) -> Iterator[Tlv]:
    """Yield the objects that *encoded* consists of; raise TlvMalformed at the first that does not fit."""
    position = 0
    while position < len(encoded):
        tag, start, length = _read_header(encoded[position : position + _LONGEST_TAG + 1 + _LONGEST_LENGTH])
        value = encoded[position + start : position + start + length]
        if len(value) != length:
            raise TlvMalformed(f"object {tag:X} announces {length} bytes, {len(value)} are there")
        yield Tlv(tag, value)
        position += start + length


def _read_header(encoded: bytes) -> tuple[int, int, int]:
    """Return tag, where the value starts, and its length."""
    tag_end = _tag_end(encoded)
    tag = int.from_bytes(encoded[:tag_end])
    if tag_end == len(encoded):
        raise TlvMalformed(f"object {tag:X} ends before its length")
    first = encoded[tag_end]
    if first < 0x80:
        return tag, tag_end + 1, first
    count = first & 0x7F
    digits = encoded[tag_end + 1 : tag_end + 1 + count]
    if not 1 <= count <= _LONGEST_LENGTH or len(digits) != count:
        raise TlvMalformed(f"object {tag:X} has a length field that cannot be")
    length = int.from_bytes(digits)
    if length < 0x80 or digits[0] == 0:
        raise TlvMalformed(f"object {tag:X} has a length that is not minimal")
    return tag, tag_end + 1 + count, length


def _tag_end(encoded: bytes) -> int:
    """Return where the tag ends: low five bits all set mean that more bytes follow."""
    if not encoded:
        raise TlvMalformed("an object has at least a tag and a length")
    if encoded[0] & 0x1F != 0x1F:
        return 1
    for end in range(2, _LONGEST_TAG + 1):
        if len(encoded) >= end and not encoded[end - 1] & 0x80:
            return end
    raise TlvMalformed("a tag is cut off or too long")
