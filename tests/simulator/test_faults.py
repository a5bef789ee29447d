"""Cards that misbehave."""

from datetime import datetime
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.card.apdu import Response
from appliance.card.tlv import Tlv, total_length
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.fault_text import parse
from appliance.simulator.faults import (
    Answer,
    Delay,
    Fault,
    FaultyCard,
    ForeignCertificate,
    ForeignFront,
    Garbage,
    Mute,
    PinForPinless,
    Removal,
    Removed,
    Silence,
    Slow,
    StateLost,
    StatusWord,
    Truncated,
    WrongFrontSignature,
    WrongSignature,
)
from appliance.simulator.pki import Hierarchy
from tests.simulator.conversation import (
    ANCHOR,
    CHALLENGE,
    JPKI,
    NONCE,
    PIN,
    QUERY,
    SURFACE,
    VERIFY,
    VERIFY_WRONG,
    Institution,
    read,
    say,
    sign,
    statuses,
    verify,
)


def answer(card: FaultyCard, command: str) -> bytes:
    """Return what *card* answers, and insist that it is an answer."""
    outcome = card.respond(bytes.fromhex(command))
    assert isinstance(outcome, Answer)
    return outcome.octets


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("wrong-signature", WrongSignature()),
        ("pin-for-pinless", PinForPinless()),
        ("removed@7", Removed(7)),
        ("mute@1", Mute(1)),
        ("slow@4=2.5", Slow(4, 2.5)),
        ("truncated@12", Truncated(12)),
        ("garbage@2", Garbage(2)),
        ("status@3=6f00", StatusWord(3, 0x6F00)),
        ("state-lost@5", StateLost(5)),
        ("wrong-front-signature", WrongFrontSignature()),
    ],
)
def test_text(text: str, fault: Fault) -> None:
    """Every fault has a text."""
    assert parse(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "broken",
        "removed",
        "removed@",
        "removed@0",
        "removed@-1",
        "removed@7=1",
        "wrong-signature@3",
        "slow@4",
        "slow@4=",
        "slow@4=1.2.3",
        "slow@4=ABC",
        "status@3",
        "status@3=6F0",
        "status@3=6F0.",
        "status=6F00",
        "mute@1 ",
        "state-lost",
        "foreign-front",
        "foreign-front@1=card",
        "foreign-front=/nowhere",
        "foreign-certificate=/nowhere",
        "wrong-front-signature=1",
    ],
)
def test_bad_text(text: str) -> None:
    """What is no fault raises ValueError, and nothing is guessed."""
    with pytest.raises(ValueError, match="is no"):
        parse(text)


def test_one_fault_a_step(card: SoftwareCard) -> None:
    """Two faults at one step are refused, since only one could happen."""
    with pytest.raises(ValueError, match="two faults want step 3"):
        FaultyCard(card, [Mute(3), Removed(3)])


def test_without_faults(card: SoftwareCard) -> None:
    """Without faults the card is the card."""
    faulty = FaultyCard(card)
    assert faulty.power_on() == faulty.atr == card.atr
    assert answer(faulty, JPKI) == b"\x90\x00"


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Removed(2), Removal()),
        (Mute(2), Silence()),
        (StatusWord(2, 0x6F00), Answer(b"\x6f\x00")),
        (Garbage(2), Answer(b"\xa5")),
    ],
)
def test_command_is_not_executed(card: SoftwareCard, fault: Fault, outcome: object) -> None:
    """These faults replace the answer at their step alone, and the card does not see the command (ruling 29)."""
    faulty = FaultyCard(card, [fault])
    assert answer(faulty, JPKI) == b"\x90\x00"
    assert faulty.respond(bytes.fromhex(PIN)) == outcome
    assert answer(faulty, QUERY) == b"\x69\x86"


def test_slow(card: SoftwareCard) -> None:
    """A slow answer is the right one, with its delay."""
    faulty = FaultyCard(card, [Slow(1, 2.5)])
    assert faulty.respond(bytes.fromhex(JPKI)) == Delay(2.5, b"\x90\x00")
    assert answer(faulty, PIN) == b"\x90\x00"


def test_truncated(card: SoftwareCard) -> None:
    """A truncated answer is the first half, and the command was executed."""
    faulty = FaultyCard(card, [Truncated(3)])
    answer(faulty, JPKI)
    answer(faulty, PIN)
    assert answer(faulty, VERIFY_WRONG) == b"\x63"
    assert answer(faulty, QUERY) == b"\x63\xc2"


@pytest.mark.parametrize("method", ["power_on", "reset"])
def test_steps_count_from_power_on(card: SoftwareCard, method: str) -> None:
    """The count begins again at each power-on and reset."""
    faulty = FaultyCard(card, [StatusWord(2, 0x6F00)])
    for _ in range(2):
        getattr(faulty, method)()
        assert answer(faulty, JPKI) == b"\x90\x00"
        assert answer(faulty, JPKI) == b"\x6f\x00"
        assert answer(faulty, JPKI) == b"\x90\x00"


def test_wrong_signature(card: SoftwareCard, holder_key: rsa.RSAPrivateKey) -> None:
    """A wrong signature is the right one with one bit flipped; nothing else is touched."""
    faulty = FaultyCard(card, [WrongSignature()])
    for command in (JPKI, PIN, VERIFY):
        assert answer(faulty, command) == b"\x90\x00"
    wrong = Response.from_bytes(answer(faulty, sign(0x03, NONCE).to_bytes().hex()))
    right = say(card, sign(0x03, NONCE))
    assert wrong.status == 0x9000
    assert (int.from_bytes(wrong.data) ^ int.from_bytes(right.data)).bit_count() == 1
    with pytest.raises(InvalidSignature):
        holder_key.public_key().verify(wrong.data, NONCE, padding.PKCS1v15(), SHA256())
    assert answer(faulty, sign(0x00, bytes(246)).to_bytes().hex()) == b"\x67\x00"


def test_pin_for_pinless(card: SoftwareCard, institution: Institution, holder_key: rsa.RSAPrivateKey) -> None:
    """The card that forgets the institution signs the bare nonce, as it does for someone who gave the PIN."""
    faulty = FaultyCard(card, [PinForPinless()])
    institution.load_chain(card)
    assert statuses(card, ANCHOR, institution.answer(say(card, CHALLENGE).data)) == "9000 9000"
    signature = Response.from_bytes(answer(faulty, sign(0x03, NONCE).to_bytes().hex())).data
    holder_key.public_key().verify(signature, NONCE, padding.PKCS1v15(), SHA256())


def test_state_lost(card: SoftwareCard) -> None:
    """A card that was reset unnoticed has no current file any more, and answers accordingly."""
    faulty = FaultyCard(card, [StateLost(3)])
    assert [answer(faulty, command) for command in (JPKI, PIN)] == [b"\x90\x00"] * 2
    assert answer(faulty, QUERY) == b"\x69\x86"
    assert answer(faulty, JPKI) == b"\x90\x00"


@pytest.fixture(scope="module")
def other_data(hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey, now: datetime) -> CardData:
    """Another person's card, with a card key of its own."""
    return hierarchy.issue_card(now=now, private_key=holder_key)


def front_of(card: FaultyCard, data: CardData) -> bytes:
    """Return the front that *card* gives for the number of *data*, without filler."""
    assert answer(card, SURFACE) == b"\x90\x00"
    assert answer(card, verify(0x12, data.secrets.number_b)) == b"\x90\x00"
    file = answer(card, read(0x02))[:-2]
    return file[: total_length(file[:8])]


def test_wrong_front_signature(card: SoftwareCard, card_data: CardData) -> None:
    """The front's signature has one wrong bit, and everything else is as it was."""
    wrong = Tlv.from_bytes(front_of(FaultyCard(card, [WrongFrontSignature()]), card_data))
    right = Tlv.from_bytes(card_data.surface[0x02])
    changed = [one for one, other in zip(right.children, wrong.children, strict=True) if one != other]
    assert [each.tag for each in changed] == [0xDF28]


def test_foreign_front(card: SoftwareCard, card_data: CardData, other_data: CardData) -> None:
    """The number of this card opens the front of another, whose key is not this card's."""
    front = front_of(FaultyCard(card, [ForeignFront(other_data.surface[0x02])]), card_data)
    assert front == other_data.surface[0x02] != card_data.surface[0x02]


def test_foreign_certificate(card: SoftwareCard, other_data: CardData) -> None:
    """The certificate is that of another card."""
    faulty = FaultyCard(card, [ForeignCertificate(other_data.certificate)])
    assert answer(faulty, JPKI) == b"\x90\x00"
    assert answer(faulty, read(0x0A)).startswith(other_data.certificate)


def test_parts_of_another_card(other_data: CardData, tmp_path: Path) -> None:
    """On a command line the other card is named by its folder."""
    other_data.save(tmp_path)
    assert parse(f"foreign-front={tmp_path}") == ForeignFront(other_data.surface[0x02])
    assert parse(f"foreign-certificate={tmp_path}") == ForeignCertificate(other_data.certificate)
