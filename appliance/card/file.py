"""
Applications and files of a card: choosing and reading them, as steps of a dialogue.

Files are larger than what is in them; the rest is filler. What a file holds is its first TLV object, which says how
long it is.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from appliance.card import tlv
from appliance.card.apdu import SUCCESS, Command, Response
from appliance.card.dialogue import Step
from appliance.card.profile import ApplicationId, FileId
from appliance.errors import CardAnswerMalformed, CardStatusUnexpected

READ: Final = 256
"""Bytes that one READ BINARY with a short Le brings at most, so a piece's number is its offset's high byte."""
_HEADER: Final = 8


@lru_cache(maxsize=64)
def select_application(name: str, aid: ApplicationId) -> Step:
    """Return the step that selects an application (ISO/IEC 7816-4 §11.2.2, by name, no answer data)."""
    return Step(name, Command(0x00, 0xA4, 0x04, 0x0C, aid))


@lru_cache(maxsize=64)
def select_file(name: str, file: FileId) -> Step:
    """Return the step that selects an elementary file; My Number cards know P1 02 alone (card facts 1.7)."""
    return Step(name, Command(0x00, 0xA4, 0x02, 0x0C, file))


@lru_cache(maxsize=64)
def read_pieces(name: str, pieces: range) -> tuple[Step, ...]:
    """
    Return the steps that read *pieces* of 256 bytes of the current file.

    Only 9000 is expected, so a far end stops by itself where the file ends (ruling 17).
    """
    return tuple(Step(name, Command(0x00, 0xB0, piece, 0x00, le=READ)) for piece in pieces)


def first_object(name: str, tag: int, reads: Sequence[Response], longest: int) -> bytes:
    """
    Return the object *tag* that the file begins with, of which *reads* are the pieces from its start.

    From the second piece on, 6B00, or fewer bytes than asked for, is where the file ends (ruling 17). Raises
    CardStatusUnexpected for a first piece that was refused, ObjectTooLong for more than *longest* bytes, and
    CardAnswerMalformed for another object, or one that is cut off.
    """
    if not reads or reads[0].status != SUCCESS:
        raise CardStatusUnexpected(name, reads[0].status if reads else 0)
    content = bytearray()
    for piece in reads:
        content += piece.data
        if len(piece.data) != READ:
            break
    length = object_length(name, tag, bytes(content))
    if length > longest:
        raise ObjectTooLong(f"'{name}' announces {length} bytes, more than {longest}")
    if length > len(content):
        raise CardAnswerMalformed(f"'{name}' announces {length} bytes, {len(content)} could be read")
    return bytes(content[:length])


def object_length(name: str, tag: int, beginning: bytes) -> int:
    """Return how many bytes the object *tag* has that *beginning* is the beginning of."""
    written = tlv.header(tag, 0)[:-1]
    if not beginning.startswith(written):
        raise CardAnswerMalformed(f"'{name}' did not bring what the file should hold")
    return tlv.total_length(beginning[:_HEADER])


class ObjectTooLong(CardAnswerMalformed):
    """An object announces more than such an object can have."""
