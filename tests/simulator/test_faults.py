"""Cards that misbehave."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.card.apdu import Response
from appliance.simulator.card import SoftwareCard
from appliance.simulator.faults import (
    Answer,
    Delay,
    Fault,
    FaultyCard,
    Garbage,
    Mute,
    PinForPinless,
    Removal,
    Removed,
    Silence,
    Slow,
    StatusWord,
    Truncated,
    WrongSignature,
    parse,
)
from tests.simulator.conversation import (
    ANCHOR,
    CHALLENGE,
    JPKI,
    NONCE,
    PIN,
    QUERY,
    VERIFY,
    VERIFY_WRONG,
    Institution,
    say,
    sign,
    statuses,
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
