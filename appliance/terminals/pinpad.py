"""
PIN entry on the reader's own keys: PC/SC part 10, as bytes.

UNVERIFIED: no reader with a pad was at hand; the structures are tested against their published layout only.
"""

import struct
from collections.abc import Mapping
from typing import Final

from appliance.card.apdu import Response
from appliance.card.dialogue import VerifyHolder
from appliance.errors import CardUnreadable, PinCancelled

GET_FEATURES: Final = 3400
"""Number of the control code that asks a reader for its features."""
VERIFY_PIN: Final = 0x06
PROPERTIES: Final = 0x12

_FEATURE: Final = struct.Struct(">BBI")
_MAX_APDU_DATA: Final = 0x0A
_SHORT_APDU_DATA: Final = 256
_VERIFY: Final = struct.Struct("<BBBBBHBBHB3xI")
"""PIN_VERIFY_STRUCTURE without abData: numbers little-endian, nothing between them."""
_ASCII_FROM_FIRST_BYTE: Final = 0x82
"""bmFormatString: units are bytes, position 0 of the data field, left-aligned, ASCII."""
_VALIDATION_KEY: Final = 0x02
_JAPANESE: Final = 0x0411
_FILLER: Final = b"\xff"
_DECLINED: Final = {
    0x6400: "no PIN was entered on the pad in time",
    0x6401: "the holder pressed cancel on the pad",
    0x6403: "the PIN entered on the pad has the wrong length",
}


def features(answer: bytes) -> Mapping[int, int]:
    """Return the control code of each feature in *answer*; what is not a feature ends the list."""
    found: dict[int, int] = {}
    for start in range(0, len(answer) - _FEATURE.size + 1, _FEATURE.size):
        tag, length, control = _FEATURE.unpack_from(answer, start)
        if length != 4:
            break
        found[tag] = control
    return found


def extended_transmitted(properties: bytes) -> bool | None:
    """Return whether a reader with these TLV *properties* transmits extended APDUs; None where it does not say."""
    while len(properties) >= 2 and len(properties) >= 2 + properties[1]:
        tag, value, properties = (
            properties[0],
            properties[2 : 2 + properties[1]],
            properties[2 + properties[1] :],
        )
        if tag == _MAX_APDU_DATA and len(value) == 4:
            return int.from_bytes(value, "little") > _SHORT_APDU_DATA
    return None


def verify_structure(step: VerifyHolder, seconds: int) -> bytes:
    """
    Return PIN_VERIFY_STRUCTURE for *step*: the pad puts the digits in, sends VERIFY once, and shows nobody.

    The holder has *seconds* until the first key, and as many again from there on.
    """
    command = step.header + bytes([step.digits]) + _FILLER * step.digits
    return (
        _VERIFY.pack(
            seconds,
            seconds,
            _ASCII_FROM_FIRST_BYTE,
            step.digits,
            0,
            step.digits << 8 | step.digits,
            _VALIDATION_KEY,
            1,
            _JAPANESE,
            0,
            len(command),
        )
        + command
    )


def outcome(answer: bytes) -> bytes:
    """Return the card's response in a pad's *answer*; raise PinCancelled where the pad sent the card nothing."""
    if len(answer) != 2:
        raise CardUnreadable(f"the PIN pad answered {len(answer)} bytes, which are no status word")
    status = Response.from_bytes(answer).status
    if status in _DECLINED:
        raise PinCancelled(_DECLINED[status])
    return answer
