"""
Commands in the form that a reader and a card can do: extended, chained, and answers fetched in pieces.

Pure: *send* is whatever turns command bytes into response bytes. A My Number card takes some commands in extended
form only, so the form is the dialogue's decision (`card.apdu`), and a reader that cannot do it is an error. Chaining
(ISO/IEC 7816-4 §5.3.3) is used where the configuration says so, and never as a guess.

    61xx    more is there: fetched by GET RESPONSE, as long as each piece brings something  ISO/IEC 7816-4 §5.3.4
    6Cxx    wrong Le: the command is sent again with the right one, once                    ISO/IEC 7816-4 §5.6
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Final, TypeAlias

from appliance.card.apdu import SUCCESS, Command, Response
from appliance.errors import CardAnswerMalformed, ReaderWithoutExtended

Send: TypeAlias = Callable[[bytes], bytes]

_MORE, _WRONG_LE = 0x61, 0x6C
_CHAINING: Final = 0x10
_BLOCK: Final = 255
_SHORT_LE: Final = 256
LONGEST_ANSWER: Final = 65_536
"""Bytes of data that one command can bring, however many pieces it comes in."""
MOST_PIECES: Final = 257
"""GET RESPONSE commands after one command: the longest answer in pieces of 256."""


class Extended(StrEnum):
    """What is done with a command in extended form."""

    YES = "yes"
    """It is sent as it is."""
    NO = "no"
    """It is refused: the reader could not transmit it."""
    CHAINING = "chaining"
    """It is sent as a chain of short ones. No card is known to need this; the operator asks for it by setting."""


def transmit(command: bytes, send: Send, extended: Extended = Extended.YES) -> bytes:
    """
    Return the whole response to *command*, sent in the form that *extended* allows.

    Raises ReaderWithoutExtended before anything is sent, and CardAnswerMalformed for an answer that has no end.
    """
    decoded = Command.from_bytes(command)
    if decoded.extended and extended is Extended.NO:
        raise ReaderWithoutExtended("the command needs an extended APDU, which the reader cannot transmit")
    parts = _chain(decoded) if decoded.extended and extended is Extended.CHAINING else iter((decoded,))
    response = Response(b"", SUCCESS)
    for part in parts:
        response = _whole(part, send)
        if part.cla & _CHAINING and response.status != SUCCESS:
            break
    return response.to_bytes()


def _chain(command: Command) -> Iterator[Command]:
    """Yield short commands that together are *command*."""
    data, le = command.data, None if command.le is None else min(command.le, _SHORT_LE)
    while len(data) > _BLOCK:
        yield Command(command.cla | _CHAINING, command.ins, command.p1, command.p2, data[:_BLOCK])
        data = data[_BLOCK:]
    yield replace(command, data=data, le=le, extended=False)


def _whole(command: Command, send: Send) -> Response:
    response = _once(command, send)
    data = response.data
    for _ in range(MOST_PIECES):
        if response.status >> 8 != _MORE:
            return Response(data, response.status)
        piece = Command(0x00, 0xC0, 0x00, 0x00, le=response.status & 0xFF or _SHORT_LE)
        response = _once(piece, send)
        data += response.data
        if len(data) > LONGEST_ANSWER or (not response.data and response.status >> 8 == _MORE):
            break
    raise CardAnswerMalformed("the card says again and again that there is more")


def _once(command: Command, send: Send) -> Response:
    """Send *command*, and once more where the card says which Le is the right one."""
    response = Response.from_bytes(send(command.to_bytes()))
    if response.status >> 8 == _WRONG_LE and command.le is not None:
        right = replace(command, le=response.status & 0xFF or _SHORT_LE)
        response = Response.from_bytes(send(right.to_bytes()))
    return response
