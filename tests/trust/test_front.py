"""The card's front: issued, unaltered, and the card's own."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.apdu import Response
from appliance.card.front import Front
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped
from appliance.card.surface import FrontReading, read_front
from appliance.card.tlv import Tlv
from appliance.card.verification_number import VerificationNumber
from appliance.errors import (
    ApplianceError,
    CardAnswerMalformed,
    FrontNotGenuine,
    VerificationNumberBlocked,
    VerificationNumberLastTry,
    VerificationNumberRejected,
)
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.people import AOBA, Person, made_up
from appliance.simulator.pki import Hierarchy
from appliance.simulator.printed import _with_offsets
from appliance.terminals.steps import perform
from appliance.trust.front import verify

NONCE = Nonce(bytes(31) + b"\x80")
PROFILE = shipped("jpki-reference")


@pytest.fixture(scope="session")
def person(now: datetime) -> Person:
    """Return somebody made up."""
    return made_up(AOBA, now.date())


@pytest.fixture(scope="session")
def card_data(hierarchy: Hierarchy, person: Person, now: datetime) -> CardData:
    """Return that person's card."""
    return hierarchy.issue_card(now=now, person=person)


@pytest.fixture
def card(card_data: CardData) -> SoftwareCard:
    """Return the card with power."""
    powered = SoftwareCard(card_data)
    powered.power_on()
    return powered


def number(person: Person) -> VerificationNumber:
    """Return 照合番号B as the clerk reads it off the card."""
    return VerificationNumber.of(person.birth, person.expires.year, person.security_code)


def read(
    transmit: Callable[[bytes], bytes], opened_with: VerificationNumber, *, last_try: bool = False
) -> FrontReading:
    """Return what a card gives for its front; the dialogue takes exactly two exchanges."""
    dialogue = read_front(PROFILE, opened_with, NONCE, last_try=last_try)
    answer: tuple[Response, ...] | None = None
    for exchanges in range(3):
        try:
            request = next(dialogue) if answer is None else dialogue.send(answer)
        except StopIteration as end:
            assert exchanges == 2
            reading: FrontReading = end.value
            return reading
        answer = perform(request, transmit)  # type: ignore[arg-type]  # no signature is asked for
    pytest.fail("the dialogue takes more than two exchanges")


@pytest.fixture(scope="session")
def reading(card_data: CardData, person: Person) -> FrontReading:
    """Return a genuine reading."""
    powered = SoftwareCard(card_data)
    powered.power_on()
    return read(powered.transmit, number(person))


def test_a_genuine_front_tells_what_is_printed(
    reading: FrontReading, hierarchy: Hierarchy, person: Person
) -> None:
    """Birth date, sex and expiry are the person's, and the images are there."""
    front = verify(reading, NONCE, hierarchy.surface_root_key)
    assert (front.birth, front.sex, front.expiry) == (person.birth, person.sex.value, person.expires)
    assert front.photo_jp2[4:8] == b"jP  "
    assert front.name_png.startswith(b"\x89PNG")


def test_another_root_vouches_for_nobody(reading: FrontReading, hierarchy: Hierarchy) -> None:
    """A municipality that the configured root has not certified is not believed."""
    other = rsa.generate_private_key(65_537, 2_048).public_key()
    assert other != hierarchy.surface_root_key
    with pytest.raises(FrontNotGenuine, match="root"):
        verify(reading, NONCE, other)


def test_a_front_of_another_card_is_noticed(
    reading: FrontReading, hierarchy: Hierarchy, card_data: CardData, now: datetime
) -> None:
    """A genuine front on a card that does not have its key is a copy."""
    other = hierarchy.issue_card(now=now)
    signature = other.card_key.sign(NONCE.octets, padding.PKCS1v15(), SHA256())
    assert other.card_key.private_numbers() != card_data.card_key.private_numbers()
    with pytest.raises(FrontNotGenuine, match="its own"):
        verify(replace(reading, signature=signature), NONCE, hierarchy.surface_root_key)


def test_an_old_reading_proves_nothing(reading: FrontReading, hierarchy: Hierarchy) -> None:
    """What was read for another nonce cannot be shown again."""
    later = Nonce(b"\x01" + NONCE.octets[1:])
    with pytest.raises(FrontNotGenuine, match="nonce"):
        verify(reading, later, hierarchy.surface_root_key)
    with pytest.raises(FrontNotGenuine, match="its own"):
        verify(replace(reading, nonce=later), later, hierarchy.surface_root_key)


@given(st.integers(0, 1 << 20), st.integers(1, 255))
def test_any_changed_byte_of_what_is_signed_is_noticed(
    reading: FrontReading, hierarchy: Hierarchy, position: int, change: int
) -> None:
    """One byte changed anywhere before the unsigned end of the front is refused."""
    front = bytearray(reading.front)
    unsigned = front.index(bytes.fromhex("DF29"), len(front) - 600)
    front[position % unsigned] ^= change
    with pytest.raises((FrontNotGenuine, CardAnswerMalformed)):
        verify(replace(reading, front=bytes(front)), NONCE, hierarchy.surface_root_key)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_front_or_refused(octets: bytes) -> None:
    """Any bytes raise CardAnswerMalformed, and nothing else."""
    with pytest.raises(CardAnswerMalformed):
        Front.from_bytes(octets)


@pytest.mark.parametrize(
    "expiry", [b"1980 217", b"+198 1 1", b"1_800217", b"19800217trailing", b"198002", b""]
)
def test_what_looks_like_a_date_is_none(reading: FrontReading, expiry: bytes) -> None:
    """A date is eight digits: nothing else is made one of, for the expiry is signed by nobody."""
    (*objects, _, code) = Tlv.from_bytes(reading.front).children[1:]
    front = _with_offsets(0xFF20, 0xDF21, (*objects, Tlv(0xDF29, b"20350217"), code))
    assert Front.from_bytes(front).expiry == date(2035, 2, 17)
    with pytest.raises(CardAnswerMalformed, match="date"):
        Front.from_bytes(_with_offsets(0xFF20, 0xDF21, (*objects, Tlv(0xDF29, expiry), code)))


def test_nothing_of_a_front_is_shown(reading: FrontReading, hierarchy: Hierarchy, person: Person) -> None:
    """No repr shows a birth date, an image, or the bytes that were read."""
    shown = repr(reading) + repr(verify(reading, NONCE, hierarchy.surface_root_key))
    assert f"{person.birth:%Y}" not in shown
    assert "PNG" not in shown


def test_a_wrong_number_costs_one_try_and_says_how_many_are_left(card: SoftwareCard, person: Person) -> None:
    """The clerk learns how many tries are left, and the number is not sent twice."""
    wrong = VerificationNumber.of(person.birth, person.expires.year + 1, person.security_code)
    with pytest.raises(VerificationNumberRejected) as caught:
        read(card.transmit, wrong)
    assert caught.value.tries_left == 9


def test_the_last_try_is_left_alone(card: SoftwareCard, person: Person) -> None:
    """With one try left nothing is tried unless that was allowed, and after the last the front stays shut."""
    wrong = VerificationNumber.of(person.birth, person.expires.year + 1, person.security_code)
    for _ in range(9):
        with pytest.raises(VerificationNumberRejected):
            read(card.transmit, wrong)
    with pytest.raises(VerificationNumberLastTry):
        read(card.transmit, number(person))
    with pytest.raises(VerificationNumberBlocked):
        read(card.transmit, wrong, last_try=True)
    with pytest.raises(VerificationNumberBlocked):
        read(card.transmit, number(person))


def test_the_last_try_can_be_allowed(card: SoftwareCard, person: Person) -> None:
    """Somebody who is sure may use the last try, and the right number restores all of them."""
    wrong = VerificationNumber.of(person.birth, person.expires.year + 1, person.security_code)
    for _ in range(9):
        with pytest.raises(VerificationNumberRejected):
            read(card.transmit, wrong)
    read(card.transmit, number(person), last_try=True)
    card.reset()
    with pytest.raises(VerificationNumberRejected) as caught:
        read(card.transmit, wrong)
    assert caught.value.tries_left == 9


@given(st.integers(1, 25), st.binary(max_size=300))
def test_one_lie_of_a_card_is_enough(
    card_data: CardData, person: Person, hierarchy: Hierarchy, step: int, lie: bytes
) -> None:
    """A card that lies at any one step ends the reading in an error of ours, or the lie did not matter."""
    powered, sent = SoftwareCard(card_data), 0
    powered.power_on()

    def transmit(command: bytes) -> bytes:
        nonlocal sent
        sent += 1
        return lie if sent == step else powered.transmit(command)

    try:
        told = read(transmit, number(person))
        verify(told, NONCE, hierarchy.surface_root_key)
    except ApplianceError:
        return
    assert sent < step or lie.endswith(b"\x90\x00")
