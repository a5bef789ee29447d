"""
Command and response APDUs, ISO/IEC 7816-4 §5: cases 1 to 4, short and extended.

The form is part of the value: a My Number card takes some commands only in extended form, so whether a
length is written short or extended is the dialogue's decision and never a guess of a transport.
"""

from dataclasses import dataclass, field
from typing import Final, Self

from appliance.errors import CardAnswerMalformed

SUCCESS: Final = 0x9000

_HEADER = 4
_SHORT_DATA, _SHORT_LE = 255, 256
_EXTENDED_DATA, _EXTENDED_LE = 65_535, 65_536


class CommandMalformed(ValueError):
    """Bytes that are no command APDU. A card answers `6700` to them."""


@dataclass(frozen=True, slots=True)
class Command:
    """
    One command APDU.

    *le* is the number of bytes asked for: None for no Le field, 256 (short) or 65,536 (extended) for "all
    there is". *extended* fields carry two-byte lengths; it means nothing where neither data nor Le is there.
    """

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = field(default=b"", repr=False)
    """May hold what is personal, as the verification number; no repr shows it."""
    le: int | None = None
    extended: bool = False

    def __post_init__(self) -> None:
        # Or-ed together: negative where one of them is, and too large where one of them is.
        if not 0 <= self.cla | self.ins | self.p1 | self.p2 <= 0xFF:
            raise ValueError("a header field is one byte")
        if len(self.data) > (_EXTENDED_DATA if self.extended else _SHORT_DATA):
            raise ValueError(f"{len(self.data)} bytes do not fit into this form of APDU")
        if self.le is not None and not 1 <= self.le <= (_EXTENDED_LE if self.extended else _SHORT_LE):
            raise ValueError(f"Le {self.le} does not fit into this form of APDU")
        if self.extended and not self.data and self.le is None:
            raise ValueError("a command without data and Le has no extended form")

    def to_bytes(self) -> bytes:
        """Return the command as it is transmitted."""
        encoded = bytearray((self.cla, self.ins, self.p1, self.p2))
        if self.extended:
            encoded.append(0)
            if self.data:
                encoded += len(self.data).to_bytes(2)
        elif self.data:
            encoded.append(len(self.data))
        encoded += self.data
        if self.le is not None:
            encoded += (self.le % _EXTENDED_LE).to_bytes(2) if self.extended else bytes([self.le % _SHORT_LE])
        return bytes(encoded)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Return the command that *encoded* is, or raise CommandMalformed. Nothing may follow it."""
        if len(encoded) < _HEADER:
            raise CommandMalformed(f"{len(encoded)} bytes are fewer than a header")
        cla, ins, p1, p2 = encoded[:_HEADER]
        data, le, extended = _body(encoded[_HEADER:])
        return cls(cla, ins, p1, p2, data, le, extended)


def _body(body: bytes) -> tuple[bytes, int | None, bool]:
    """Return data, Le and form of what follows a header: ISO/IEC 7816-4 §5.1, table 1."""
    match len(body):
        case 0:
            return b"", None, False
        case 1:
            return b"", body[0] or _SHORT_LE, False
        case 3 if body[0] == 0:
            return b"", int.from_bytes(body[1:]) or _EXTENDED_LE, True
        case _ if body[0] != 0:
            data, rest = body[1 : 1 + body[0]], body[1 + body[0] :]
            if len(data) == body[0] and len(rest) <= 1:
                return data, (rest[0] or _SHORT_LE) if rest else None, False
        case _:
            announced = int.from_bytes(body[1:3])
            data, rest = body[3 : 3 + announced], body[3 + announced :]
            if announced and len(data) == announced and len(rest) in {0, 2}:
                return data, (int.from_bytes(rest) or _EXTENDED_LE) if rest else None, True
    raise CommandMalformed("the length fields do not fit the bytes that follow")


@dataclass(frozen=True, slots=True)
class Response:
    """One response APDU: up to 65,536 bytes of *data*, and the status word."""

    data: bytes = field(repr=False)
    status: int

    def __post_init__(self) -> None:
        if not 0 <= self.status <= 0xFFFF:
            raise ValueError("a status word is two bytes")

    def to_bytes(self) -> bytes:
        """Return the response as it is transmitted."""
        return self.data + self.status.to_bytes(2)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Return the response that *encoded* is, or raise CardAnswerMalformed."""
        if not 2 <= len(encoded) <= _EXTENDED_LE + 2:
            raise CardAnswerMalformed(f"an answer of {len(encoded)} bytes is no response APDU")
        return cls(encoded[:-2], int.from_bytes(encoded[-2:]))
