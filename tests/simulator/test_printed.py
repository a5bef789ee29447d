"""What a municipality writes into a card, looked at by others than those who wrote it."""

import hashlib
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from PIL import Image

from appliance.card import tlv
from appliance.card.cvc import Certificate
from appliance.card.front import Front
from appliance.card.tlv import Tlv
from appliance.simulator.card_data import CardData
from appliance.simulator.people import AOBA, Person
from appliance.simulator.pki import Hierarchy
from appliance.simulator.printed import Printed

IMAGES = {0xDF25: ("PNG", "1"), 0xDF26: ("PNG", "1"), 0xDF27: ("JPEG2000", "L"), 0xDF2A: ("PNG", "1")}


def objects(encoded: bytes) -> dict[int, Tlv]:
    """Return the objects in the record *encoded*, by tag."""
    return {each.tag: each for each in Tlv.from_bytes(encoded).children}


def public_key(encoded: bytes) -> tuple[int, int]:
    """Return exponent and modulus of a public key as cards write it."""
    exponent, modulus = tlv.parse(encoded)
    assert (exponent.tag, modulus.tag) == (0x90, 0x91)
    return int.from_bytes(exponent.value), int.from_bytes(modulus.value)


@pytest.fixture(scope="module")
def municipality_key(card_data: CardData) -> rsa.RSAPublicKey:
    """The key in the certificate that lies in the card."""
    key = Certificate.from_bytes(card_data.surface[0x04]).body.public_key
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def test_front_objects(card_data: CardData) -> None:
    """The front has the ten objects of card facts 4.2, in their order, under two-byte lengths where they are long."""
    front = card_data.surface[0x02]
    assert front[:3] == bytes.fromhex("FF2082")
    assert list(objects(front)) == list(range(0xDF21, 0xDF2B))
    assert objects(front)[0xDF28].to_bytes()[:5] == bytes.fromhex("DF28820100")


def test_front_offsets(card_data: CardData) -> None:
    """DF21 says for each object where its tag begins, counted from the first byte of the file (ruling 22)."""
    front = card_data.surface[0x02]
    table = objects(front)[0xDF21].value
    offsets = [int.from_bytes(table[at : at + 2]) for at in range(0, len(table), 2)]
    assert [int.from_bytes(front[offset : offset + 2]) for offset in offsets] == list(range(0xDF22, 0xDF2B))


def test_front_as_the_appliance_reads_it(card_data: CardData, person: Person) -> None:
    """The appliance's own reader finds the person and the card's key in it."""
    front = Front.from_bytes(card_data.surface[0x02])
    assert (front.birth, front.sex, front.expiry) == (person.birth, person.sex.value, person.expires)
    assert front.card_key == card_data.card_key.public_key()


@pytest.mark.parametrize("tag", IMAGES)
def test_images(card_data: CardData, tag: int) -> None:
    """Every image opens as what it should be, and there is something on it."""
    with Image.open(BytesIO(objects(card_data.surface[0x02])[tag].value)) as image:
        image.load()
        assert (image.format, image.mode) == IMAGES[tag]
        assert len(image.getcolors(100_000) or ()) > 1


def test_image_sizes(card_data: CardData) -> None:
    """Security code and My Number have the sizes of card facts 4.2; the photo is a JP2 file."""
    front = objects(card_data.surface[0x02])
    with Image.open(BytesIO(front[0xDF2A].value)) as code:
        assert code.size == (24, 12)
    with Image.open(BytesIO(objects(card_data.surface[0x05])[0xDF41].value)) as number:
        assert number.size == (72, 12)
    assert front[0xDF27].value.startswith(bytes.fromhex("0000000C6A5020200D0A870A"))


def test_people_look_different(hierarchy: Hierarchy, card_data: CardData, person: Person) -> None:
    """Another person has another photo and another name, drawn."""
    printed = Printed(
        replace(person, drawn_name="TEST HANAKO"),
        AOBA,
        card_data.card_key.public_key(),
        hierarchy.municipalities.signer(AOBA),
    )
    here, there = objects(card_data.surface[0x02]), objects(printed.front())
    assert [tag for tag in IMAGES if here[tag] != there[tag]] == [0xDF25, 0xDF27]


def test_front_signature_by_openssl(
    card_data: CardData, municipality_key: rsa.RSAPublicKey, tmp_path: Path
) -> None:
    """OpenSSL recovers from the front's signature exactly the DigestInfo of ruling 23 with three hashes in it."""
    front = objects(card_data.surface[0x02])
    groups = ((0xDF22, 0xDF23, 0xDF24), (0xDF25, 0xDF26), (0xDF27,))
    hashes = b"".join(
        hashlib.sha256(b"".join(front[tag].to_bytes() for tag in group)).digest() for group in groups
    )
    (tmp_path / "key.pem").write_bytes(
        municipality_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "signature").write_bytes(front[0xDF28].value)
    recovered = subprocess.run(
        ["openssl", "pkeyutl", "-verifyrecover", "-pubin", "-inkey", "key.pem", "-in", "signature",
         "-pkeyopt", "rsa_padding_mode:pkcs1"],
        cwd=tmp_path, capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert recovered == bytes.fromhex("3071300D060960864801650304020105000460") + hashes


@pytest.mark.parametrize(
    ("application", "file_id", "signature"),
    [
        ("surface", 0x01, 0xDF13),
        ("surface", 0x05, 0xDF43),
        ("text", 0x03, 0xDF33),
        ("text", 0x07, 0xDF52),
    ],
)
def test_other_signatures(
    card_data: CardData,
    municipality_key: rsa.RSAPublicKey,
    application: str,
    file_id: int,
    signature: int,
) -> None:
    """The other records are signed as usual, over all objects before the signature."""
    files = card_data.surface if application == "surface" else card_data.text
    *signed, last = Tlv.from_bytes(files[file_id]).children
    assert last.tag == signature
    content = b"".join(each.to_bytes() for each in signed)
    municipality_key.verify(last.value, content, padding.PKCS1v15(), SHA256())


def test_card_key(card_data: CardData) -> None:
    """Every record that vouches for the card's key names the same one."""
    numbers = card_data.card_key.public_key().public_numbers()
    records = (
        (card_data.surface[0x01], 0xDF12),
        (card_data.surface[0x02], 0xDF24),
        (card_data.surface[0x05], 0xDF42),
        (card_data.text[0x07], 0xDF51),
    )
    assert {public_key(objects(record)[tag].value) for record, tag in records} == {(numbers.e, numbers.n)}


def test_certificates(hierarchy: Hierarchy, card_data: CardData) -> None:
    """Both applications hold the municipality's certificate, each under the root's reference there."""
    for encoded, issuer in ((card_data.surface[0x04], "0000023"), (card_data.text[0x04], "0000033")):
        certificate = Certificate.from_bytes(encoded)
        certificate.verify(hierarchy.surface_root_key)
        assert certificate.body.issuer.code == issuer
        assert certificate.body.holder.octets == b"0099101\x08\x050000000"


def test_lengths(card_data: CardData) -> None:
    """Files whose length is public have it: FF10 with 021E, the text record with 014B, the My Number with 17 bytes."""
    assert card_data.surface[0x01][:5] == bytes.fromhex("FF1082021E")
    assert card_data.text[0x03][:5] == bytes.fromhex("FF3082014B")
    assert len(card_data.text[0x01]) == 17


def test_text(card_data: CardData, person: Person) -> None:
    """The text application has name and address as text, and hashes over its files as stored (ruling 24)."""
    attributes, record = Tlv.from_bytes(card_data.text[0x02]), objects(card_data.text[0x03])
    values = [each.value.decode() for each in attributes.children[1:]]
    assert values == [person.name, person.address, "19800217", "1"]
    assert "　" in values[0]
    assert card_data.text[0x01] == b"\xff\x10\x0c" + person.my_number.encode() + b"\xff\xff"
    assert record[0xDF31].value == hashlib.sha256(card_data.text[0x01]).digest()
    stored = b"".join(each.to_bytes() for each in attributes.children[1:])
    assert record[0xDF32].value == hashlib.sha256(stored).digest()


def test_no_my_number_on_the_front(card_data: CardData, person: Person) -> None:
    """Neither the front nor any free file holds the My Number."""
    number = person.my_number.encode()
    shown = [content for file_id, content in card_data.surface.items() if file_id != 0x05]
    shown += [content for file_id, content in card_data.text.items() if file_id != 0x01]
    assert not any(number in content for content in shown)
