"""The hypothetical next generation: ECDSA on P-384 from the institution's root to the holder's signature (ruling 28)."""

import hashlib
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from appliance.card.algorithm import Algorithm, verified
from appliance.card.apdu import Command
from appliance.card.cvc import check_chain
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.institution_pki import INTERMEDIATE, ROOT, certify
from appliance.simulator.key_files import new_curve_key
from appliance.simulator.kinds import Kind
from appliance.simulator.pki import Hierarchy
from tests.simulator.conversation import (
    ANCHOR,
    CHALLENGE,
    JPKI,
    NONCE,
    PIN,
    SURFACE,
    VERIFY,
    Institution,
    authenticate,
    block,
    load,
    say,
    sign,
    statuses,
)

ALGORITHM = Algorithm.ECDSA_P384_SHA384
CODE = b"9912345"


@pytest.fixture(scope="module")
def next_data(hierarchy: Hierarchy, card_key: rsa.RSAPrivateKey, now: datetime) -> CardData:
    """A card of the next generation."""
    return hierarchy.issue_card(now=now, kind=Kind.NEXT, card_key=card_key)


@pytest.fixture
def next_card(next_data: CardData) -> SoftwareCard:
    """That card, with power."""
    return SoftwareCard(next_data)


@pytest.fixture(scope="module")
def next_institution(hierarchy: Hierarchy) -> Institution:
    """An institution with a key on P-384."""
    return Institution.certified_by(hierarchy, "9912345", new_curve_key())


def test_certificates(hierarchy: Hierarchy, next_data: CardData, next_institution: Institution) -> None:
    """Holder and institution have keys on P-384; body and signature have the lengths that follow."""
    certificate = x509.load_der_x509_certificate(next_data.certificate)
    certificate.verify_directly_issued_by(hierarchy.ca_certificates[-1])
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    root_key = hierarchy.next_institution.root_key.public_key()
    chain = check_chain(next_institution.intermediate, next_institution.leaf, root_key)
    assert chain.institution_code == "9912345"
    assert [len(part) for part in next_institution.leaf.blocks] == [139, 99]


def test_institution(next_card: SoftwareCard, next_data: CardData, next_institution: Institution) -> None:
    """The authenticated institution gets SHA-384 of nonce and code signed, as r and s side by side."""
    next_institution.enter(next_card)
    signature = say(next_card, sign(0x03, NONCE)).data
    assert len(signature) == 96
    assert verified(ALGORITHM, next_data.private_key.public_key(), signature, NONCE + CODE)


@pytest.mark.parametrize(("operation", "data"), [(0x02, hashlib.sha384(NONCE).digest()), (0x03, NONCE)])
def test_pin(next_card: SoftwareCard, next_data: CardData, operation: int, data: bytes) -> None:
    """After the PIN the card signs a digest of 48 bytes, or a message that it hashes itself."""
    assert statuses(next_card, JPKI, PIN, VERIFY) == "9000 9000 9000"
    signature = say(next_card, sign(operation, data)).data
    assert verified(ALGORITHM, next_data.private_key.public_key(), signature, NONCE)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (sign(0x00, NONCE), "6A86"),
        (sign(0x01, NONCE), "6A86"),
        (sign(0x04, bytes(32)), "6A86"),
        (sign(0x05, NONCE), "6A86"),
        (sign(0x02, bytes(32)), "6700"),
        (sign(0x02, bytes(49)), "6700"),
        (Command(0x80, 0x2A, 0x03, 0x97, NONCE, 95), "6700"),
        (Command(0x80, 0x2A, 0x03, 0x97, NONCE, 96), "9000"),
    ],
)
def test_operations(next_card: SoftwareCard, command: Command, expected: str) -> None:
    """P1 02 and 03 are all there is, and Le must leave room for the signature."""
    assert statuses(next_card, JPKI, PIN, VERIFY, command) == f"9000 9000 9000 {expected}"


def test_only_a_message_for_institutions(next_card: SoftwareCard, next_institution: Institution) -> None:
    """An institution gets no digest of its own choosing signed."""
    next_institution.enter(next_card)
    assert statuses(next_card, sign(0x02, bytes(48))) == "6982"


def test_certificates_of_today(
    next_card: SoftwareCard, card: SoftwareCard, institution: Institution, next_institution: Institution
) -> None:
    """A card takes certificates of its own kind alone; others have the wrong shape."""
    assert statuses(next_card, JPKI, ANCHOR, *load(institution.intermediate)) == "9000 9000 6700 6700"
    assert statuses(card, JPKI, ANCHOR, *load(next_institution.intermediate)) == "9000 9000 6700 6700"


def test_wrong_answers(next_card: SoftwareCard, next_institution: Institution) -> None:
    """A signature of another length is 6700 and keeps the challenge; a wrong one is 6300 and does not."""
    next_institution.load_chain(next_card)
    answer = next_institution.answer(say(next_card, CHALLENGE).data)
    wrong = authenticate(bytes(95) + b"\x01")
    assert statuses(next_card, authenticate(bytes(256)), wrong, answer) == "6700 6300 6985"


def test_wrong_certificate(next_card: SoftwareCard) -> None:
    """A certificate that the root did not sign is 6A80; a point that is on no curve has a bad shape."""
    stranger = new_curve_key()
    wrong = certify(ROOT, stranger, INTERMEDIATE, stranger.public_key())
    statuses(next_card, JPKI, ANCHOR)
    assert statuses(next_card, *load(wrong)) == "9000 6A80"
    first = bytearray(wrong.blocks[0])
    first[-1] ^= 0x01
    assert statuses(next_card, block(0x06, bytes(first))) == "6700"


def test_surface_stays(next_card: SoftwareCard) -> None:
    """The applications with the printed data are those of today: nothing is known of their successors."""
    assert statuses(next_card, SURFACE) == "9000"
    assert len(say(next_card, sign(0x00, NONCE, 0x00)).data) == 256


def test_folder(next_data: CardData, tmp_path: Path) -> None:
    """Such a card is kept in a folder as any other."""
    next_data.save(tmp_path)
    loaded = CardData.load(tmp_path)
    assert loaded.private_key.public_key() == next_data.private_key.public_key()
    assert loaded.anchor_key == next_data.anchor_key
