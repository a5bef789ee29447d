"""
The surface application's dialogue: read the front by 照合番号B, and have the card prove that it is no copy.

Two exchanges: the first opens the front and learns how long it is, the second reads the rest of it, the issuing
municipality's certificate, and a signature over our nonce by the card's own key (internal authentication, which
needs no PIN). The front and the certificate are public to whoever holds the number; the signature is what a copied
card cannot give (card facts 4.4).
"""

from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil
from typing import Final

from appliance.card.cvc import Shape
from appliance.card.dialogue import Dialogue, Step, exchange
from appliance.card.file import (
    READ,
    ObjectTooLong,
    first_object,
    object_length,
    read_pieces,
    select_application,
    select_file,
)
from appliance.card.jpki import DIGEST_INFO_SHA256
from appliance.card.nonce import Nonce
from appliance.card.profile import Profile
from appliance.card.refusal import enough_tries, require
from appliance.card.verification_number import VerificationNumber
from appliance.errors import CardAnswerMalformed

LONGEST_FRONT: Final = 0x7F00
"""Bytes. READ BINARY reaches no further, and no front has been seen that comes near."""
CARD_SIGNATURE_LENGTH: Final = 256

_FRONT, _CERTIFICATE = 0xFF20, 0x7F21


@dataclass(frozen=True, slots=True)
class FrontReading:
    """
    What a card gave for its front, believed by nobody yet: `trust.front.verify` makes a `Front` of it.

    *front* is the whole FF20 object, *certificate* the municipality's, *signature* the card's over *nonce*.
    """

    nonce: Nonce
    front: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def read_front(
    profile: Profile, number: VerificationNumber, nonce: Nonce, *, last_try: bool = False
) -> Dialogue[FrontReading]:
    """
    Open the front with *number* (照合番号B) and read it, with what proves it genuine.

    The tries left are queried first, and a single one is not used unless *last_try* allows it. Raises
    CardWithoutFront, VerificationNumberRejected, VerificationNumberBlocked, VerificationNumberLastTry,
    CardAnswerMalformed.
    """
    surface, blocked = profile.surface, profile.pin.blocked
    opening = (
        select_application("select-surface", surface.aid),
        select_file("select-number", surface.verification_number),
        Step("query-number", surface.verify.command(), enough_tries(last_try=last_try)),
        Step("verify-number", surface.verify.command(number.digits.encode("ascii"))),
        select_file("select-front", surface.front),
        *read_pieces("read-front", range(1)),
    )
    opened = yield from exchange(*opening)
    require(opening, opened, blocked)
    length = object_length("read-front", _FRONT, opened[-1].data)
    if length > LONGEST_FRONT:
        raise ObjectTooLong(f"the front announces {length} bytes, more than {LONGEST_FRONT}")
    rest = read_pieces("read-front", range(1, ceil(length / READ)))
    proving = (
        *rest,
        select_file("select-issuer", surface.certificate),
        *read_pieces("read-issuer", range(ceil(Shape.RSA_2048.length / READ))),
        Step(
            "prove-genuine", surface.sign.command(DIGEST_INFO_SHA256 + sha256(nonce.octets).digest(), le=READ)
        ),
    )
    proved = yield from exchange(*proving)
    require(proving, proved, blocked)
    signature = proved[-1].data
    if len(signature) != CARD_SIGNATURE_LENGTH:
        raise CardAnswerMalformed(f"the card's own signature has {len(signature)} bytes")
    front = first_object("read-front", _FRONT, (opened[-1], *proved[: len(rest)]), LONGEST_FRONT)
    issuer = first_object("read-issuer", _CERTIFICATE, proved[len(rest) + 1 : -1], Shape.RSA_2048.length)
    return FrontReading(nonce, front, issuer, signature)
