"""The two applications with the printed data, command by command: card facts 1.5 and 1.6, rulings 12, 13, 16 and 21."""

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.people import own_number
from appliance.simulator.tries import TriesFile
from tests.simulator.conversation import (
    CHALLENGE,
    JPKI,
    NONCE,
    SURFACE,
    TEXT,
    query,
    read,
    say,
    select,
    sign,
    statuses,
    verify,
)

B, BIRTH, A, TEXT_PIN = "55021720352285", "550217", own_number(1234567), "1234"
DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020105000420") + hashlib.sha256(NONCE).digest()

# application, credential (file and secret) or None, and the files that can be read after it
READABLE = [
    (SURFACE, None, {0x03, 0x04, 0x06}),
    (SURFACE, (0x11, BIRTH), {0x01, 0x03, 0x04, 0x06}),
    (SURFACE, (0x12, B), {0x01, 0x02, 0x03, 0x04, 0x06}),
    (SURFACE, (0x13, A), {0x01, 0x02, 0x03, 0x04, 0x05, 0x06}),
    (TEXT, None, {0x04, 0x05, 0x07, 0x08}),
    (TEXT, (0x11, TEXT_PIN), {0x01, 0x02, 0x03, 0x04, 0x05, 0x07, 0x08}),
    (TEXT, (0x15, B), {0x02, 0x03, 0x04, 0x05, 0x07, 0x08}),
    (TEXT, (0x14, A), {0x01, 0x02, 0x03, 0x04, 0x05, 0x07, 0x08}),
]


@pytest.mark.parametrize(("application", "credential", "readable"), READABLE)
def test_who_reads_what(
    card: SoftwareCard, application: str, credential: tuple[int, str] | None, readable: set[int]
) -> None:
    """Each credential opens its files and no others; what is not readable says 6982, and what is not there 6A82."""
    statuses(card, application)
    if credential is not None:
        assert statuses(card, verify(*credential)) == "9000"
    data = range(0x01, 0x09 if application == TEXT else 0x07)
    for file_id in data:
        assert statuses(card, read(file_id)) == ("9000" if file_id in readable else "6982"), f"{file_id:02X}"
    assert statuses(card, read(0x09)) == "6A82"


COMMANDS = [
    ("a name's beginning finds the surface first", ["00A4040C09D39210003100010104", query(0x12)], "9000 63CA"),
    ("the front is not there before its application", [JPKI, select(0x02), "00B0000000"], "9000 9000 6982"),
    ("an EF id of the other application", [SURFACE, select(0x07)], "9000 6A82"),
    ("past the front's filler", [SURFACE, verify(0x12, B), select(0x02), "00B0200000"], "9000 9000 9000 6B00"),
    ("the last byte of its filler", [SURFACE, verify(0x12, B), select(0x02), "00B01FFF00"], "9000 9000 9000 9000"),
    ("past the end of a shut file: security first", [SURFACE, select(0x02), "00B0200000"], "9000 9000 6982"),
    ("a shut file without Le: form first", [SURFACE, select(0x02), "00B00000"], "9000 9000 6700"),
    ("the filler file has 16 bytes", [SURFACE, "00B0860F01", "00B0861001"], "9000 9000 6B00"),
    ("the My Number has 17 bytes", [TEXT, verify(0x11, TEXT_PIN), "00B0811001", "00B0811101"], "9000 9000 9000 6B00"),
    ("a credential is no data", [SURFACE, read(0x12)], "9000 6981"),
    ("the card's key is no data", [SURFACE, read(0x1A)], "9000 6981"),
    ("unknown files of the surface", [SURFACE, read(0x14), read(0x15), read(0x1C), read(0x1E)], "9000 6982 6982 6982 6982"),
    ("unknown files of the text", [TEXT, read(0x06), read(0x10), read(0x1C), read(0x1E)], "9000 6982 6982 6982 6982"),
    ("tries of the surface", [SURFACE, query(0x11), query(0x12), query(0x13)], "9000 63CA 63CA 63CA"),
    ("tries of the text", [TEXT, query(0x11), query(0x14), query(0x15)], "9000 63C3 63CA 63CA"),
    ("credentials of the text that nobody can use", [TEXT, query(0x10), query(0x12), verify(0x12, "1234")], "9000 63C0 63C0 6984"),
    ("a number of another length", [SURFACE, verify(0x12, BIRTH), query(0x12)], "9000 6700 63CA"),
    ("a wrong number", [SURFACE, verify(0x12, B[::-1]), query(0x12), read(0x02)], "9000 63C9 63C9 6982"),
    ("a wrong number after the right one", [SURFACE, verify(0x12, B), verify(0x12, B[::-1]), read(0x02)], "9000 9000 63C9 6982"),
    ("the right number restores the tries", [SURFACE, verify(0x12, B[::-1]), verify(0x12, B), query(0x12)], "9000 63C9 9000 63CA"),
    ("one credential's failure leaves another's success", [SURFACE, verify(0x13, A), verify(0x12, B[::-1]), read(0x05)], "9000 9000 63C9 9000"),
    ("leaving the application drops what was verified", [SURFACE, verify(0x12, B), TEXT, SURFACE, read(0x02)], "9000 9000 9000 9000 6982"),
    ("the PIN of one application is not that of another", [TEXT, verify(0x11, TEXT_PIN), JPKI, sign(0x03, NONCE)], "9000 9000 9000 6982"),
    # the card's key (ruling 12)
    ("the card's key by default", [SURFACE, sign(0x00, DIGEST_INFO, 0x00)], "9000 9000"),
    ("the card's key by its short id", [SURFACE, sign(0x00, DIGEST_INFO, 0x9A)], "9000 9000"),
    ("the card's key as current file", [SURFACE, select(0x1A), sign(0x00, DIGEST_INFO, 0x80)], "9000 9000 9000"),
    ("no current file", [SURFACE, sign(0x00, DIGEST_INFO, 0x80)], "9000 6986"),
    ("the default key leaves the current file", [SURFACE, select(0x03), sign(0x00, NONCE, 0x00), "00B0000001"], "9000 9000 9000 9000"),
    ("its short id makes it the current one", [SURFACE, select(0x03), sign(0x00, NONCE, 0x9A), "00B0000001"], "9000 9000 9000 6981"),
    ("the authentication key is in another application", [SURFACE, sign(0x00, NONCE, 0x97)], "9000 6A86"),
    ("the key of the text by default", [TEXT, sign(0x00, DIGEST_INFO, 0x00)], "9000 9000"),
    ("the key of the text by its short id", [TEXT, sign(0x05, NONCE, 0x93)], "9000 9000"),
    ("the surface's short id in the text", [TEXT, sign(0x00, DIGEST_INFO, 0x9A)], "9000 6A86"),
    ("an operation that is not there", [SURFACE, sign(0x06, NONCE, 0x00)], "9000 6A86"),
    ("a signature by default without an application", [sign(0x00, NONCE, 0x00)], "6A86"),
    # what belongs to the JPKI application
    ("a challenge", [SURFACE, CHALLENGE], "9000 9000"),
    ("a certificate without current file", [SURFACE, "80A206C1"], "9000 6986"),
    ("a certificate for the card's key", [SURFACE, select(0x1A), "80A206C1"], "9000 9000 6985"),
    ("a session key", [TEXT, "80AE0000"], "9000 6D00"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("commands", "expected"), [row[1:] for row in COMMANDS], ids=[row[0] for row in COMMANDS]
)
def test_status_words(card: SoftwareCard, commands: list[str], expected: str) -> None:
    """Both applications judge every command in the order of ruling 15."""
    assert statuses(card, *commands) == expected


def test_wrong_numbers_block(card: SoftwareCard) -> None:
    """Ten wrong numbers block; the one that takes the last try answers 63C0, later ones 6984 (ruling 13)."""
    statuses(card, SURFACE)
    wrong = statuses(card, *[verify(0x12, B[::-1])] * 10)
    assert wrong == " ".join(f"63C{left:X}" for left in range(9, -1, -1))
    assert statuses(card, verify(0x12, B[::-1]), verify(0x12, B), query(0x12)) == "6984 6984 63C0"


def test_applications_count_for_themselves(card: SoftwareCard) -> None:
    """The same number has two counts, one in each application; so have the two PINs (ruling 21)."""
    assert statuses(card, SURFACE, verify(0x12, B[::-1]), TEXT, query(0x15)) == "9000 63C9 9000 63CA"
    assert statuses(card, TEXT, verify(0x11, "9999"), JPKI, query(0x18)) == "9000 63C2 9000 63C3"


def test_counts_outlive_the_process(card_data: CardData, tmp_path: Path) -> None:
    """All counts of a card in a folder are there again when the folder is loaded."""
    card_data.save(tmp_path)
    card = SoftwareCard(CardData.load(tmp_path), keep_tries=TriesFile(tmp_path).keep)
    statuses(card, SURFACE, verify(0x12, B[::-1]), TEXT, verify(0x11, "9999"), verify(0x11, "9999"))
    again = SoftwareCard(CardData.load(tmp_path))
    assert statuses(again, SURFACE, query(0x12), TEXT, query(0x11), query(0x15)) == "9000 63C9 9000 63C1 63CA"


@pytest.mark.parametrize("application", [SURFACE, TEXT])
def test_genuine(card: SoftwareCard, card_key: rsa.RSAPrivateKey, application: str) -> None:
    """The card signs a nonce with the key that its records vouch for, without any credential (card facts 4.4)."""
    statuses(card, application)
    signature = say(card, sign(0x00, DIGEST_INFO, 0x00)).data
    card_key.public_key().verify(signature, NONCE, padding.PKCS1v15(), SHA256())


def test_files(card: SoftwareCard, card_data: CardData) -> None:
    """A file's content is what the municipality wrote, and FF behind it."""
    statuses(card, SURFACE, verify(0x13, A))
    for file_id, content in card_data.surface.items():
        file = say(card, read(file_id)).data
        assert file.startswith(content)
        assert set(file[len(content) :]) <= {0xFF}
