"""The card's files, its order of checks, and that nothing makes it fall over."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.apdu import Response
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import Atr, CardData
from appliance.simulator.jpki import token_information
from tests.simulator.conversation import CHALLENGE, JPKI, KEY, PIN, SURFACE, TEXT, VERIFY, say, sign, statuses

COMMANDS = [
    # selection (ruling 19)
    ("an application by P2 00 as well", ["00A404000AD392F00026010000000100"], "9000"),
    ("an application by the beginning of its name", ["00A4040C03D392F0"], "9000"),
    ("no application of that name", ["00A4040C03D392F1"], "6A82"),
    ("no name at all", ["00A4040C"], "6700"),
    ("a name longer than any application's", ["00A4040C0BD392F00026010000000100"], "6A82"),
    ("a file before any application", [KEY], "6A82"),
    (
        "a file that is not there keeps the current one",
        [JPKI, "00A4020C02000A", "00A4020C02000C", "00B0000001"],
        "9000 9000 6A82 9000",
    ),
    (
        "an application that is not there changes nothing",
        [JPKI, "00A4020C02000A", "00A4040C03D392F1", "00B0000001"],
        "9000 9000 6A82 9000",
    ),
    ("an application leaves no file current", [JPKI, KEY, JPKI, "00B0000001"], "9000 9000 9000 6986"),
    ("a file id of three bytes", [JPKI, "00A4020C03000A00"], "9000 6700"),
    ("a file with P2 00", [JPKI, "00A4020002000A"], "9000 6A86"),
    ("P1 00 after a reset", ["00A40000"], "6A86"),
    (
        "P1 00 in an application changes nothing",
        [JPKI, "00A4020C02000A", "00A40000", "00B0000001"],
        "9000 9000 9000 9000",
    ),
    ("the master file", [JPKI, "00A40000023F00"], "9000 6A82"),
    # reading (rulings 15, 16, 18, 20)
    ("no current file", [JPKI, "00B0000000"], "9000 6986"),
    ("without Le", [JPKI, "00B08A00"], "9000 6700"),
    ("with data", [JPKI, "00B08A00010000"], "9000 6700"),
    ("a short id that no file has", [JPKI, "00B08C0000"], "9000 6A82"),
    ("a short id of zero", [JPKI, "00B0800000"], "9000 6A86"),
    ("a short id of 31", [JPKI, "00B09F0000"], "9000 6A86"),
    ("bits 6 and 7 of P1", [JPKI, "00B0CA0000"], "9000 6A86"),
    ("the signing certificate", [JPKI, "00B0810000"], "9000 6982"),
    ("its CA certificate", [JPKI, "00B0820000"], "9000 6982"),
    ("the signing key", [JPKI, "00B09A0000"], "9000 6982"),
    ("the signing password", [JPKI, "00B09B0000"], "9000 6982"),
    ("EF 0009", [JPKI, "00B0890000"], "9000 6982"),
    ("a shut file without Le: form comes before security", [JPKI, "00B08100"], "9000 6700"),
    ("the trust anchor is no data", [JPKI, "00B0960000"], "9000 6981"),
    ("the authentication key is no data", [JPKI, "00B0970000"], "9000 6981"),
    ("the PIN is no data", [JPKI, "00B0980000"], "9000 6981"),
    ("the last byte of the token information", [JPKI, "00B0869F00"], "9000 9000"),
    ("past the token information", [JPKI, "00B086A000"], "9000 6B00"),
    ("past EF 0008", [JPKI, "00B0880301"], "9000 6B00"),
    ("past a certificate's filler", [JPKI, "00A4020C02000A", "00B007D000"], "9000 9000 6B00"),
    ("far past the end", [JPKI, "00A4020C02000A", "00B07FFF00"], "9000 9000 6B00"),
    (
        "a short id makes its file current",
        [JPKI, "00B0860001", "00B0009F01", "00B000A001"],
        "9000 9000 9000 6B00",
    ),
    (
        "a short id of an unfit file does not",
        [JPKI, "00B0860001", "00B0970000", "00B0000001"],
        "9000 9000 6981 9000",
    ),
    # challenge (ruling 7)
    ("a challenge before any application", [CHALLENGE], "9000"),
    ("a challenge of 256 bytes", ["0084000000"], "9000"),
    ("a challenge of 257 bytes", ["00840000000101"], "6985"),
    ("a challenge without Le", ["00840000"], "6700"),
    ("a challenge with parameters", ["0084000110"], "6A86"),
    # classes, instructions, forms (ruling 15)
    ("three bytes", ["00A404"], "6700"),
    ("no bytes", [""], "6700"),
    ("a length field that does not fit", ["00A4040C0AD392"], "6700"),
    ("command chaining", ["10B0000000"], "6881"),
    ("command chaining of an unknown instruction", ["10FF000000"], "6881"),
    ("another channel", ["01B0000000"], "6881"),
    ("a known instruction under another class", ["80B0000000"], "6E00"),
    ("a known instruction under secure messaging", ["0CB0000000"], "6E00"),
    ("a signature under class 00", ["002A03800100"], "6E00"),
    ("an unknown instruction", ["00FF000000"], "6D00"),
    ("an unknown instruction under an unknown class", ["90FE000000"], "6D00"),
    # VERIFY and signatures before a file is looked at
    ("VERIFY with P1 01", [JPKI, "00200180"], "9000 6A86"),
    ("VERIFY with P2 00", [JPKI, "00200000"], "9000 6A86"),
    ("VERIFY without a current file", [JPKI, "00200080"], "9000 6986"),
    ("VERIFY of a key", [JPKI, KEY, "00200080"], "9000 9000 6981"),
    ("VERIFY with Le", [JPKI, PIN, "0020008000"], "9000 9000 6700"),
    ("the signing password has no tries", [JPKI, "0020009B", "0020009B06414141414141"], "9000 63C0 6984"),
    ("a signature with P1 06", [JPKI, "802A06970100 00"], "9000 6A86"),
    ("a signature with P2 00", [JPKI, "802A03000100 00"], "9000 6A86"),
    ("a signature with P2 98", [JPKI, "802A03980100 00"], "9000 6A86"),
    ("a signature without a current file", [JPKI, "802A03800100 00"], "9000 6986"),
    ("a signature with a certificate", [JPKI, "00A4020C02000A", "802A03800100 00"], "9000 9000 6981"),
    ("a signature with the shut key", [JPKI, "802A039A0100 00"], "9000 6982"),
    ("a signature with the shut key, without Le", [JPKI, "802A039A0100"], "9000 6700"),
    ("a signature before any application", ["802A03800100 00"], "6986"),
]


@pytest.mark.parametrize(
    ("commands", "expected"), [row[1:] for row in COMMANDS], ids=[row[0] for row in COMMANDS]
)
def test_status_words(card: SoftwareCard, commands: list[str], expected: str) -> None:
    """The card judges every command in the order of ruling 15."""
    assert statuses(card, *commands) == expected


def test_certificate_file(card: SoftwareCard, card_data: CardData) -> None:
    """The certificate is readable without PIN; what lies behind it in its file is FF."""
    say(card, JPKI)
    file = say(card, "00B08A00000000").data
    assert file[: len(card_data.certificate)] == card_data.certificate
    assert set(file[len(card_data.certificate) :]) == {0xFF}


def test_certificate_in_a_batch(card: SoftwareCard, card_data: CardData) -> None:
    """Reading by offsets 0000 to 0700 gives the whole file, the last answer being short (rulings 16, 17)."""
    say(card, JPKI)
    say(card, "00A4020C02000A")
    parts = [say(card, f"00B0{offset:02X}0000") for offset in range(8)]
    assert {part.status for part in parts} == {0x9000}
    assert [len(part.data) for part in parts] == [256] * 7 + [208]
    assert b"".join(part.data for part in parts).startswith(card_data.certificate)


def test_ca_certificate(card: SoftwareCard, card_data: CardData) -> None:
    """EF 000B holds the certificate of the CA."""
    say(card, JPKI)
    assert say(card, "00B08B00000000").data.startswith(card_data.ca_certificate)


def test_token_information(card: SoftwareCard, card_data: CardData) -> None:
    """EF 0006 tells a My Number card by its first 32 bytes, and has 160 bytes in all."""
    say(card, JPKI)
    content = say(card, "00B0860000").data
    assert content == token_information("JPKIAPICCTOKEN2", card_data.serial)
    assert len(content) == 160
    assert content[:32] == b"JPKIAPICCTOKEN2".ljust(32)
    assert content[-20:] == b"0301" + b"9" * 16


def test_presence(card: SoftwareCard) -> None:
    """EF 0008 says that there is an authentication certificate and no signing certificate (ruling 20)."""
    say(card, JPKI)
    assert say(card, "00B0880000").data == bytes.fromhex("008F00")


@pytest.mark.parametrize("atr", Atr)
def test_atr(card_data: CardData, atr: Atr) -> None:
    """The ATR is that of the side the card is read on."""
    card = SoftwareCard(replace(card_data, atr=atr))
    assert card.atr == card.power_on() == card.reset() == atr.value


@pytest.mark.parametrize("fall", ["power_off", "reset", "select"])
def test_state_falls(card: SoftwareCard, fall: str) -> None:
    """Selecting an application, a reset and a loss of power end what the PIN had opened."""
    assert statuses(card, JPKI, PIN, VERIFY, sign(0x03, b"x")) == "9000 9000 9000 9000"
    match fall:
        case "power_off":
            card.power_off()
        case "reset":
            card.reset()
        case _:
            pass
    assert statuses(card, JPKI, sign(0x03, b"x")) == "9000 6982"


HEADERS = st.builds(
    bytes,
    st.tuples(
        st.sampled_from([0x00, 0x80, 0x10, 0x0C]),
        st.sampled_from([0x20, 0x2A, 0x82, 0x84, 0xA2, 0xA4, 0xB0, 0xFF]),
        st.sampled_from([0x00, 0x02, 0x03, 0x04, 0x06, 0x8A, 0x96]),
        st.sampled_from([0x00, 0x0C, 0x80, 0x92, 0x93, 0x97, 0x98, 0x9A, 0xC1]),
    ),
)
BODIES = st.one_of(
    st.binary(max_size=8),
    st.binary(max_size=300).map(lambda data: bytes([0, *len(data).to_bytes(2), *data])),
    st.sampled_from(["020002", "02000A", "020012", "020016", "020017", "0431323334", "10", "00"]).map(
        bytes.fromhex
    ),
)
SELECTIONS = st.sampled_from([JPKI, SURFACE, TEXT]).map(bytes.fromhex)


@given(
    application=SELECTIONS,
    commands=st.lists(
        st.one_of(st.binary(max_size=40), st.builds(bytes.__add__, HEADERS, BODIES), SELECTIONS), max_size=8
    ),
)
def test_any_bytes(card_data: CardData, application: bytes, commands: list[bytes]) -> None:
    """Whatever is sent, in whatever order and application, the card gives a well-formed response and goes on."""
    card = SoftwareCard(card_data)
    card.transmit(application)
    for command in commands:
        response = Response.from_bytes(card.transmit(command))
        assert response.status == 0x9000 or not response.data
    assert statuses(card, JPKI) == "9000"
