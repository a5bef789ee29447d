"""The far end of an exchange."""

import pytest

from appliance.card.apdu import Command, Response
from appliance.card.dialogue import Exchange, Step, VerifyHolder
from appliance.card.profile import Header
from appliance.errors import CardAnswerMalformed, PinCancelled
from appliance.terminals.steps import no_pin_entry, perform
from tests.terminals.script import Script

FIRST = Step("first", Command(0, 0xA4, 4, 0x0C, b"\x01"))
SECOND = Step("second", Command(0, 0xB0, 0, 0, le=4), frozenset({0x9000, 0x6B00}))
VERIFY = VerifyHolder("verify-holder", Header.from_hex("00200080"), 4)


def test_steps_are_done_in_order_and_answered_one_for_one() -> None:
    """Each step's answer stands in the step's place."""
    card = Script([b"\x90\x00", b"abcd\x90\x00"])
    assert perform(Exchange((FIRST, SECOND)), card.transmit) == (
        Response(b"", 0x9000),
        Response(b"abcd", 0x9000),
    )
    assert card.sent == [FIRST.command.to_bytes(), SECOND.command.to_bytes()]


def test_nothing_is_sent_after_an_unexpected_answer() -> None:
    """The first status word that a step does not expect is the last answer."""
    card = Script([b"\x6a\x82"])
    assert perform(Exchange((FIRST, SECOND)), card.transmit) == (Response(b"", 0x6A82),)
    assert len(card.sent) == 1


def test_the_pin_goes_into_one_verify_command() -> None:
    """What the holder enters is sent once, as ASCII digits, and nowhere else."""
    card = Script([b"\x90\x00", b"\x90\x00"])
    perform(Exchange((VERIFY, FIRST)), card.transmit, lambda: "1234")
    assert card.sent == [bytes.fromhex("002000800431323334"), FIRST.command.to_bytes()]


@pytest.mark.parametrize("entered", [None, "", "123", "12345", "12a4", "\uff11\uff12\uff13\uff14"])
def test_what_is_no_pin_is_never_sent(entered: str | None) -> None:
    """A PIN of another form costs the holder no try: the card does not hear of it."""
    card = Script([])
    with pytest.raises(PinCancelled):
        perform(Exchange((VERIFY,)), card.transmit, lambda: entered)
    assert card.sent == []


def test_where_nobody_can_enter_a_pin_it_is_declined() -> None:
    """Without a way to ask, the answer is no."""
    with pytest.raises(PinCancelled):
        perform(Exchange((VERIFY,)), Script([]).transmit, no_pin_entry)


@pytest.mark.parametrize("answer", [b"", b"\x90"])
def test_an_answer_that_is_no_response_is_refused(answer: bytes) -> None:
    """Fewer than two bytes are no answer."""
    with pytest.raises(CardAnswerMalformed):
        perform(Exchange((FIRST,)), Script([answer]).transmit)


def test_every_answered_step_is_observed_by_name_and_status() -> None:
    """Whoever measures hears of each step once, without any data of the card."""
    heard: list[tuple[str, int]] = []
    perform(
        Exchange((FIRST, SECOND)),
        Script([b"\x90\x00", b"\x6b\x00"]).transmit,
        observe=lambda name, status, _seconds: heard.append((name, status)),
    )
    assert heard == [("first", 0x9000), ("second", 0x6B00)]


def test_a_pad_takes_the_place_of_the_keyboard() -> None:
    """Where the reader has keys of its own, nobody is asked at the keyboard, and the card's answer counts."""
    card = Script([b"\x90\x00"])

    def ask() -> str:
        pytest.fail("the keyboard was asked")

    answers = perform(Exchange((VERIFY, FIRST)), card.transmit, ask, pad=lambda _: b"\x63\xc2")
    assert answers == (Response(b"", 0x63C2),)
    assert card.sent == []
