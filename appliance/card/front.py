"""
The card's front as it is stored: EF 0002 of the surface application (券面事項確認AP).

    FF20 { DF21 offsets · DF22 birth date · DF23 sex · DF24 the card's public key · DF25 name (PNG)
           DF26 address (PNG) · DF27 photo (JPEG 2000) · DF28 signature · DF29 expiry · DF2A security code (PNG) }

The signature is over three hashes side by side, each over whole objects as read (card facts 4.2, rulings 22 and 23).
The My Number is not on the front, and nothing here can ask for it.
"""

from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.card import tlv
from appliance.card.tlv import Tlv
from appliance.errors import CardAnswerMalformed

SIGNED_DIGEST_INFO: Final = bytes.fromhex("3071300D060960864801650304020105000460")
"""DigestInfo with the OID of SHA-256 and room for 96 bytes: what a standard verifier refuses (ruling 23)."""

_FRONT, _OFFSETS, _FIRST, _LAST = 0xFF20, 0xDF21, 0xDF22, 0xDF2A
_EXPONENT, _MODULUS = 0x90, 0x91
_SEXES: Final = frozenset({b"1", b"2", b"9"})


@dataclass(frozen=True, slots=True)
class Front:
    """
    What is printed on the front, and what proves it. Unverified until `trust.front.verify`.

    Held for the length of a request; no part of it is shown in a repr.
    """

    birth: date = field(repr=False)
    sex: str = field(repr=False)
    """1 male, 2 female, 9 other (JIS X 0303)."""
    card_key: rsa.RSAPublicKey = field(repr=False)
    name_png: bytes = field(repr=False)
    address_png: bytes = field(repr=False)
    photo_jp2: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    expiry: date = field(repr=False)
    security_code_png: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    """The 96 bytes that the signature is over."""

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Return the front that *encoded*, the whole FF20 object, is, or raise CardAnswerMalformed."""
        outer = Tlv.from_bytes(encoded)
        parts = outer.children
        if outer.tag != _FRONT or [part.tag for part in parts] != list(range(_OFFSETS, _LAST + 1)):
            raise CardAnswerMalformed("the front has not the ten objects of a front, in their order")
        _require_offsets(encoded, parts)
        birth, sex, key, name, address, photo, signature, expiry, code = (part.value for part in parts[1:])
        if sex not in _SEXES:
            raise CardAnswerMalformed("the front names a sex that does not exist")
        hashes = (_hash(parts[1:4]), _hash(parts[4:6]), _hash(parts[6:7]))
        return cls(
            _date(birth), sex.decode("ascii"), _key(key), name, address, photo, signature, _date(expiry), code,
            b"".join(hashes),
        )  # fmt: skip


def _require_offsets(encoded: bytes, parts: tuple[Tlv, ...]) -> None:
    """Walk the objects and require that DF21 points at each: two readers must not see two fronts (ruling 22)."""
    position = len(encoded) - sum(len(part.to_bytes()) for part in parts[1:])
    expected = bytearray()
    for part in parts[1:]:
        expected += position.to_bytes(2)
        position += len(part.to_bytes())
    if parts[0].value != expected:
        raise CardAnswerMalformed("the front's offsets do not point at its objects")


def _hash(parts: tuple[Tlv, ...]) -> bytes:
    return sha256(b"".join(part.to_bytes() for part in parts)).digest()


def _date(text: bytes) -> date:
    if len(text) != len("YYYYMMDD") or not text.isdigit():
        raise CardAnswerMalformed("the front holds a date that is not of eight digits")
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError as error:
        raise CardAnswerMalformed("the front holds a date that does not exist") from error


def _key(encoded: bytes) -> rsa.RSAPublicKey:
    parts = {part.tag: int.from_bytes(part.value) for part in tlv.parse(encoded)}
    try:
        return rsa.RSAPublicNumbers(parts[_EXPONENT], parts[_MODULUS]).public_key()
    except (KeyError, ValueError) as error:
        raise CardAnswerMalformed("the front holds no RSA public key") from error
