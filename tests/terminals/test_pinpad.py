"""PIN entry on a reader's own keys, against the published layout of PC/SC part 10."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.dialogue import Exchange, VerifyHolder
from appliance.card.profile import Header
from appliance.errors import CardTimeout, CardUnreadable, PinCancelled
from appliance.terminals import pinpad
from appliance.terminals.attendant import Attendant
from appliance.terminals.session import Abilities, Manner, PcscCard
from appliance.terminals.view import Desk

STEP = VerifyHolder("verify-holder", Header.from_hex("00200080"), 4)


def test_the_structure_is_laid_out_as_published() -> None:
    """Every field of PIN_VERIFY_STRUCTURE stands in its place, numbers little-endian, the command at the end."""
    structure = pinpad.verify_structure(STEP, 60)
    fields = {
        "bTimerOut": structure[0:1],
        "bTimerOut2": structure[1:2],
        "bmFormatString": structure[2:3],
        "bmPINBlockString": structure[3:4],
        "bmPINLengthFormat": structure[4:5],
        "wPINMaxExtraDigit": structure[5:7],
        "bEntryValidationCondition": structure[7:8],
        "bNumberMessage": structure[8:9],
        "wLangId": structure[9:11],
        "bMsgIndex": structure[11:12],
        "bTeoPrologue": structure[12:15],
        "ulDataLength": structure[15:19],
        "abData": structure[19:],
    }
    assert {name: value.hex() for name, value in fields.items()} == {
        "bTimerOut": "3c",
        "bTimerOut2": "3c",
        "bmFormatString": "82",
        "bmPINBlockString": "04",
        "bmPINLengthFormat": "00",
        "wPINMaxExtraDigit": "0404",
        "bEntryValidationCondition": "02",
        "bNumberMessage": "01",
        "wLangId": "1104",
        "bMsgIndex": "00",
        "bTeoPrologue": "000000",
        "ulDataLength": "09000000",
        "abData": "0020008004ffffffff",
    }


def test_a_readers_features_are_found_by_their_tags() -> None:
    """Tag, length 4, control code big-endian, one after another."""
    answer = bytes.fromhex("060442330006120442330012")
    assert pinpad.features(answer) == {pinpad.VERIFY_PIN: 0x42330006, pinpad.PROPERTIES: 0x42330012}


@pytest.mark.parametrize(
    ("properties", "extended"),
    [
        ("0A0400000100", True),
        ("0A0400000000", False),
        ("0A0400010000", False),
        ("010200000A0400000100", True),
        ("01020000", None),
        ("0A0200FF", None),
        ("0A04000001", None),
        ("", None),
    ],
)
def test_a_reader_says_whether_it_transmits_extended_apdus(properties: str, extended: bool | None) -> None:  # noqa: FBT001  # a value
    """The longest APDU's data (tag 0A, little-endian) is over 256 bytes, or not, or not told."""
    assert pinpad.extended_transmitted(bytes.fromhex(properties)) is extended


@given(st.binary(max_size=300))
def test_any_bytes_are_features_and_properties_or_none(answer: bytes) -> None:
    """Whatever a driver answers, something is made of it and nothing is raised."""
    assert len(pinpad.features(answer)) <= len(answer) // 6
    assert pinpad.extended_transmitted(answer) in {True, False, None}


class PadReader:
    """A reader with a pad, which remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def require_same_card(self) -> None:
        """It is the same."""

    def control(self, code: int, data: bytes) -> bytes:
        """Say that the card took the PIN."""
        assert code == 0x42330006
        self.told.append(data)
        return b"\x90\x00"


async def entered(reader: PadReader, pin_seconds: float, within: float | None) -> int:
    """Have a PIN entered on *reader*'s pad, and return what its two timers were set to, which is the same."""
    attendant = Attendant("pad")
    card = PcscCard(
        attendant,
        reader,  # type: ignore[arg-type]  # of a connection, this needs no more
        Desk("Pad", pin_seconds=pin_seconds),
        Abilities(pad=0x42330006),
        Manner(10.0),
    )
    try:
        await card.exchange(Exchange((STEP,)), within)
    finally:
        attendant.end()
    (structure,) = reader.told
    assert structure[0] == structure[1]
    return structure[0]


@pytest.mark.parametrize(
    ("pin_seconds", "within", "timer"),
    [(60.0, None, 30), (60.0, 23.8, 10), (300.0, 69.8, 33), (300.0, None, 150), (3_600.0, None, 255)],
)
async def test_a_pad_has_no_more_time_than_somebody_waits(
    pin_seconds: float, within: float | None, timer: int
) -> None:
    """Until the first key and from there on, both together end before whoever asked gives up: no try is spent afterwards."""
    assert await entered(PadReader(), pin_seconds, within) == timer


@pytest.mark.parametrize(("pin_seconds", "within"), [(60.0, 3.0), (1.5, None)])
async def test_a_pad_is_not_asked_where_no_time_is_left(pin_seconds: float, within: float | None) -> None:
    """A timer of 0 would be the reader's own, which may be none: nothing is asked then."""
    reader = PadReader()
    with pytest.raises(CardTimeout):
        await entered(reader, pin_seconds, within)
    assert not reader.told


@pytest.mark.parametrize("status", ["6400", "6401", "6403"])
def test_no_pin_on_the_pad_is_the_holders_decision(status: str) -> None:
    """Too late, cancelled or too short: the card did not hear of it, and no try is lost."""
    with pytest.raises(PinCancelled):
        pinpad.outcome(bytes.fromhex(status))


@pytest.mark.parametrize("status", ["9000", "63C2", "6984"])
def test_what_the_card_said_to_the_pad_is_passed_on(status: str) -> None:
    """A right PIN, a wrong one and a blocked one are the dialogue's to judge."""
    assert pinpad.outcome(bytes.fromhex(status)) == bytes.fromhex(status)


@pytest.mark.parametrize("answer", [b"", b"\x90", b"\x90\x00\x00"])
def test_a_pad_that_answers_no_status_word_has_failed(answer: bytes) -> None:
    """Nothing else can be the answer to VERIFY."""
    with pytest.raises(CardUnreadable):
        pinpad.outcome(answer)
