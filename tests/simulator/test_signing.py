"""The holder's PIN, and the signatures it opens."""

import hashlib
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.credentials import Credential
from appliance.simulator.tries import TriesFile
from tests.simulator.conversation import (
    JPKI,
    KEY,
    NONCE,
    PIN,
    QUERY,
    VERIFY,
    VERIFY_WRONG,
    say,
    sign,
    statuses,
)

DIGEST = hashlib.sha256(NONCE).digest()
DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020105000420") + DIGEST
PSS = padding.PSS(padding.MGF1(SHA256()), salt_length=32)


def test_wrong_pins_block(card: SoftwareCard) -> None:
    """The wrong PIN that takes the last try answers 63C0; from then on the right one too answers 6984."""
    assert statuses(card, JPKI, PIN, QUERY, *[VERIFY_WRONG] * 3) == "9000 9000 63C3 63C2 63C1 63C0"
    assert statuses(card, VERIFY_WRONG, VERIFY, QUERY) == "6984 6984 63C0"


def test_right_pin_restores_the_tries(card: SoftwareCard) -> None:
    """The right PIN gives back all tries, and the query says 63C3 even then."""
    assert (
        statuses(card, JPKI, PIN, VERIFY_WRONG, VERIFY_WRONG, VERIFY, QUERY)
        == "9000 9000 63C2 63C1 9000 63C3"
    )


@pytest.mark.parametrize("command", ["0020008003313233", "00200080053132333435", "002000800000043132333400"])
def test_wrong_length_costs_nothing(card: SoftwareCard, command: str) -> None:
    """A PIN of another length, or in a form no VERIFY has, is 6700 and costs no try."""
    assert statuses(card, JPKI, PIN, command, QUERY) == "9000 9000 6700 63C3"


def test_wrong_length_of_a_blocked_pin(card: SoftwareCard) -> None:
    """A blocked PIN is blocked for any length: security comes before the input's length."""
    assert statuses(card, JPKI, PIN, *[VERIFY_WRONG] * 3, "002000800131")[-4:] == "6984"


def test_wrong_pin_ends_what_the_right_one_opened(card: SoftwareCard) -> None:
    """A failed VERIFY drops the verified state; one of the wrong length does not."""
    assert (
        statuses(card, JPKI, PIN, VERIFY, "00200080013 1".replace(" ", ""), sign(3, b"x"))
        == "9000 9000 9000 6700 9000"
    )
    assert statuses(card, PIN, VERIFY_WRONG, sign(3, b"x")) == "9000 63C2 6982"


def test_pin_by_short_id(card: SoftwareCard) -> None:
    """VERIFY takes the PIN by its short id, and makes its file current."""
    assert statuses(card, JPKI, "002000980431323334", QUERY) == "9000 9000 63C3"


def test_tries_outlive_power(card_data: CardData) -> None:
    """The count of tries stays in the card through a reset."""
    card = SoftwareCard(card_data)
    assert statuses(card, JPKI, PIN, VERIFY_WRONG) == "9000 9000 63C2"
    card.reset()
    assert statuses(card, JPKI, PIN, QUERY) == "9000 9000 63C2"


def test_tries_outlive_the_process(card_data: CardData, tmp_path: Path) -> None:
    """The count of tries of a card in a folder is there again when the folder is loaded."""
    card_data.save(tmp_path)
    card = SoftwareCard(CardData.load(tmp_path), keep_tries=TriesFile(tmp_path).keep)
    assert statuses(card, JPKI, PIN, VERIFY_WRONG) == "9000 9000 63C2"
    assert statuses(SoftwareCard(CardData.load(tmp_path)), JPKI, PIN, QUERY) == "9000 9000 63C2"


def test_try_is_counted_before_it_is_compared() -> None:
    """A power cut during VERIFY gains nobody a try: the count falls first, and rises after success."""
    kept: list[int] = []
    Credential(b"1234", 3, 3, keep=kept.append).verify(b"1234")
    assert kept == [2, 3]


def test_secret_is_not_shown(card_data: CardData) -> None:
    """Neither PIN nor key appears in what is printed of a card."""
    shown = repr(card_data) + repr(Credential(b"4711", 3, 3))
    assert "1234" not in shown.replace(card_data.serial, "")
    assert card_data.secrets.number_b not in shown
    assert "4711" not in shown
    assert "RSA" not in shown


@pytest.mark.parametrize("operation", range(6))
def test_nothing_without_pin(card: SoftwareCard, operation: int) -> None:
    """Without PIN and institution no operation signs anything."""
    data = NONCE
    assert (
        statuses(card, JPKI, KEY, sign(operation, data, 0x80), sign(operation, data)) == "9000 9000 6982 6982"
    )


@pytest.mark.parametrize(
    ("operation", "data", "scheme"),
    [
        (0x00, DIGEST_INFO, padding.PKCS1v15()),
        (0x02, DIGEST, padding.PKCS1v15()),
        (0x03, NONCE, padding.PKCS1v15()),
        (0x04, DIGEST, PSS),
        (0x05, NONCE, PSS),
    ],
)
def test_signatures(
    card: SoftwareCard,
    holder_key: rsa.RSAPrivateKey,
    operation: int,
    data: bytes,
    scheme: padding.AsymmetricPadding,
) -> None:
    """Each operation makes of the nonce the signature that card facts 1.7 say, of 256 bytes."""
    assert statuses(card, JPKI, PIN, VERIFY) == "9000 9000 9000"
    for extended in (False, True):
        signature = say(card, sign(operation, data, extended=extended)).data
        assert len(signature) == 256
        holder_key.public_key().verify(signature, NONCE, scheme, SHA256())


def test_bare_hash(card: SoftwareCard, holder_key: rsa.RSAPrivateKey) -> None:
    """P1 01 pads the bare hash, so an ordinary verification refuses the signature."""
    statuses(card, JPKI, PIN, VERIFY)
    signature = say(card, sign(0x01, NONCE)).data
    public = holder_key.public_key()
    assert public.recover_data_from_signature(signature, padding.PKCS1v15(), None) == DIGEST
    with pytest.raises(InvalidSignature):
        public.verify(signature, NONCE, padding.PKCS1v15(), SHA256())


@pytest.mark.parametrize(
    ("operation", "length", "extended", "expected"),
    [
        (0x00, 1, False, "9000"),
        (0x00, 245, False, "9000"),
        (0x00, 246, False, "6700"),
        (0x01, 255, False, "9000"),
        (0x02, 31, False, "6700"),
        (0x02, 33, False, "6700"),
        (0x03, 1, False, "9000"),
        (0x03, 255, False, "9000"),
        (0x03, 1000, True, "9000"),
        (0x04, 33, False, "6700"),
        (0x05, 1000, True, "9000"),
    ],
)
def test_input_lengths(
    card: SoftwareCard, operation: int, length: int, *, extended: bool, expected: str
) -> None:
    """Each operation takes inputs of its lengths alone (ruling 11)."""
    statuses(card, JPKI, PIN, VERIFY)
    assert statuses(card, sign(operation, bytes(length), extended=extended)) == expected


@pytest.mark.parametrize(
    "command", ["802A0397012A", "802A0397012AFF", "802A039700", "802A0397", "802A03970000012A00FF"]
)
def test_signature_needs_room_for_itself(card: SoftwareCard, command: str) -> None:
    """Without data, without Le, or with one below 256, there is no signature, verified or not (ruling 11)."""
    assert statuses(card, JPKI, command, PIN, VERIFY, command) == "9000 6700 9000 9000 6700"
