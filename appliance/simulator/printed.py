"""
What a municipality writes into a card when it is made: the files of the two applications with the printed data.

Shapes are those of card facts 1.5, 1.6, 4.2 and 4.3 under rulings 22 to 24. Where those name an object and not
its content, the content is ours and says so.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.card.cvc import EXPONENT, KeyReference
from appliance.card.tlv import Tlv, header
from appliance.simulator import images
from appliance.simulator.municipality_pki import Signer
from appliance.simulator.people import Municipality, Person

DIGEST_INFO: Final = bytes.fromhex("3071300D060960864801650304020105000460")
"""What precedes the 96 bytes in the front's signature (ruling 23)."""

_MODULUS_LENGTH: Final = 256
_SPECIFICATION: Final = bytes.fromhex("06030E01")
"""Version of the specification, extended lengths, vendor."""
_FILLED_FILE: Final = b"\xff" * 16


@dataclass(frozen=True, slots=True)
class Printed:
    """Who is on a card, which municipality made it, and the card's own public key that it vouches for."""

    person: Person
    municipality: Municipality
    card_key: rsa.RSAPublicKey
    signer: Signer

    def surface_files(self) -> dict[int, bytes]:
        """Return the files of 券面事項確認AP by id, without filler."""
        return {
            0x01: self._birth_record(),
            0x02: self.front(),
            0x03: self._surface_information(),
            0x04: self.signer.surface_certificate.to_bytes(),
            0x05: self._number_image(),
            0x06: _FILLED_FILE,
        }

    def text_files(self) -> dict[int, bytes]:
        """Return the files of 券面事項入力補助AP by id, without filler; but EF 0001 has its two bytes of it."""
        number = Tlv(0xFF10, self.person.my_number.encode("ascii")).to_bytes() + b"\xff\xff"
        attributes = self._attributes()
        return {
            0x01: number,
            0x02: _with_offsets(0xFF20, 0xDF21, attributes),
            0x03: self._signed(
                0xFF30,
                Tlv(0xDF31, sha256(number).digest()),
                Tlv(0xDF32, sha256(_joined(attributes)).digest()),
                signature=0xDF33,
            ),
            0x04: self.signer.text_certificate.to_bytes(),
            0x05: Tlv(0xFF40, _joined(_identification(0xDF41))).to_bytes(),
            0x07: self._signed(0xFF50, self._public_key(0xDF51), signature=0xDF52),
            0x08: _FILLED_FILE,
        }

    def front(self) -> bytes:
        """Return EF 0002 of the surface application: everything on the front, and no My Number."""
        person = self.person
        signed = (
            (
                Tlv(0xDF22, f"{person.birth:%Y%m%d}".encode("ascii")),
                Tlv(0xDF23, person.sex.value.encode("ascii")),
                self._public_key(0xDF24),
            ),
            (Tlv(0xDF25, images.line(person.drawn_name)), Tlv(0xDF26, images.line(person.drawn_address))),
            (Tlv(0xDF27, images.photo(person.drawn_name)),),
        )
        hashes = b"".join(sha256(_joined(group)).digest() for group in signed)
        objects = (
            *(each for group in signed for each in group),
            Tlv(0xDF28, self.signer.sign_digest_info(DIGEST_INFO + hashes)),
            Tlv(0xDF29, f"{person.expires:%Y%m%d}".encode("ascii")),
            Tlv(0xDF2A, images.digits(person.security_code)),
        )
        return _with_offsets(0xFF20, 0xDF21, objects)

    def _birth_record(self) -> bytes:
        birth = Tlv(0xDF11, f"{self.person.birth:%Y%m%d}".encode("ascii"))
        return self._signed(0xFF10, birth, self._public_key(0xDF12), signature=0xDF13)

    def _number_image(self) -> bytes:
        image = Tlv(0xDF41, images.digits(self.person.my_number))
        return self._signed(0xFF40, image, self._public_key(0xDF42), signature=0xDF43)

    def _surface_information(self) -> bytes:
        objects = (
            *_identification(0xDF31),
            Tlv(0xDF34, self.municipality.code.encode("ascii")),
            Tlv(0xDF35, KeyReference.of("0000025").octets + secrets.token_bytes(_MODULUS_LENGTH)),
        )
        return Tlv(0xFF30, _joined(objects)).to_bytes()

    def _attributes(self) -> tuple[Tlv, ...]:
        person = self.person
        return (
            Tlv(0xDF22, person.name.encode()),
            Tlv(0xDF23, person.address.encode()),
            Tlv(0xDF24, f"{person.birth:%Y%m%d}".encode("ascii")),
            Tlv(0xDF25, person.sex.value.encode("ascii")),
        )

    def _public_key(self, tag: int) -> Tlv:
        modulus = self.card_key.public_numbers().n.to_bytes(_MODULUS_LENGTH)
        return Tlv(tag, _joined((Tlv(0x90, EXPONENT.to_bytes(3)), Tlv(0x91, modulus))))

    def _signed(self, tag: int, *objects: Tlv, signature: int) -> bytes:
        """Return the record *tag* of *objects* and, under tag *signature*, the signature over all their bytes."""
        content = _joined(objects)
        return Tlv(tag, content + Tlv(signature, self.signer.sign(content)).to_bytes()).to_bytes()


def _identification(tag: int) -> tuple[Tlv, ...]:
    """Return specification, key reference and version under *tag* and the two that follow; the last two are ours."""
    return (
        Tlv(tag, _SPECIFICATION),
        Tlv(tag + 1, KeyReference.of("0000024").octets),
        Tlv(tag + 2, b"\x01"),
    )


def _joined(objects: tuple[Tlv, ...]) -> bytes:
    return b"".join(each.to_bytes() for each in objects)


def _with_offsets(tag: int, table: int, objects: tuple[Tlv, ...]) -> bytes:
    """Return the record *tag* with, under *table*, where each of *objects* begins in the file (ruling 22)."""
    encoded = [each.to_bytes() for each in objects]
    length = 2 * len(encoded)
    table_length = len(header(table, length)) + length
    offset = len(header(tag, table_length + sum(map(len, encoded)))) + table_length
    offsets = b""
    for each in encoded:
        offsets += offset.to_bytes(2)
        offset += len(each)
    return Tlv(tag, Tlv(table, offsets).to_bytes() + b"".join(encoded)).to_bytes()
