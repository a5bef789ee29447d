"""Commands in the form a reader can do, and answers that come in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.apdu import Command
from appliance.errors import CardAnswerMalformed, ReaderWithoutExtended
from appliance.terminals.transport import LONGEST_ANSWER, MOST_PIECES, Extended, transmit
from tests.terminals.script import Script

READ = Command(0x00, 0xB0, 0, 0, le=256).to_bytes()
LOAD = Command(0x80, 0xA2, 0x06, 0xC1, bytes(range(256)) + bytes(51), extended=True).to_bytes()
VERIFY = Command(0x00, 0x20, 0x00, 0x80, b"1234").to_bytes()

statuses = st.one_of(
    st.integers(0x6100, 0x61FF), st.integers(0x6C00, 0x6CFF), st.just(0x9000), st.integers(0, 0xFFFF)
).map(lambda status: status.to_bytes(2))
answers = st.one_of(st.builds(bytes.__add__, st.binary(max_size=300), statuses), st.binary(max_size=3))
commands = st.builds(
    Command,
    st.sampled_from((0x00, 0x80)),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 255),
    data=st.binary(min_size=1, max_size=1_000),
    le=st.none() | st.integers(1, 65_536),
    extended=st.just(True),  # noqa: FBT003  # hypothesis wants it so
)


@pytest.mark.parametrize("extended", Extended)
def test_a_short_command_is_sent_as_it_is(extended: Extended) -> None:
    """What a reader cannot do with extended commands does not concern short ones."""
    card = Script([b"abc\x90\x00"])
    assert transmit(READ, card.transmit, extended) == b"abc\x90\x00"
    assert card.sent == [READ]


def test_an_extended_command_is_sent_as_it_is() -> None:
    """The form is the dialogue's decision."""
    card = Script([b"\x90\x00"])
    assert transmit(LOAD, card.transmit) == b"\x90\x00"
    assert card.sent == [LOAD]


def test_a_reader_without_extended_apdus_is_told_before_anything_is_sent() -> None:
    """Chaining is never guessed: the card takes these commands in extended form only."""
    card = Script([])
    with pytest.raises(ReaderWithoutExtended):
        transmit(LOAD, card.transmit, Extended.NO)
    assert card.sent == []


def test_chaining_sends_all_data_in_short_blocks() -> None:
    """Where the operator asks for it, 307 bytes go in 255 and 52, the first marked as followed by more."""
    card = Script([b"\x90\x00", b"\x90\x00"])
    assert transmit(LOAD, card.transmit, Extended.CHAINING) == b"\x90\x00"
    first, last = (Command.from_bytes(sent) for sent in card.sent)
    assert (first.cla, last.cla) == (0x90, 0x80)
    assert (len(first.data), len(last.data)) == (255, 52)
    assert first.data + last.data == Command.from_bytes(LOAD).data


def test_a_refused_block_ends_the_chain() -> None:
    """A card without chaining says so to the first block, and gets no other."""
    card = Script([b"\x68\x84"])
    assert transmit(LOAD, card.transmit, Extended.CHAINING) == b"\x68\x84"
    assert len(card.sent) == 1


def test_an_answer_in_pieces_is_put_together() -> None:
    """61xx is followed by GET RESPONSE until all is there."""
    card = Script([b"ab\x61\x03", b"cde\x61\x00", b"f\x90\x00"])
    assert transmit(READ, card.transmit) == b"abcdef\x90\x00"
    assert card.sent[1:] == [bytes.fromhex("00C0000003"), bytes.fromhex("00C0000000")]


def test_a_wrong_le_is_corrected_once() -> None:
    """6Cxx is followed by the same command with the right Le; a second 6Cxx is the answer."""
    card = Script([b"\x6c\x10", b"\x6c\x20"])
    assert transmit(READ, card.transmit) == b"\x6c\x20"
    assert card.sent == [READ, bytes.fromhex("00B0000010")]


@pytest.mark.parametrize("answer", [b"\x6c\x00", b"\x6c\x04", b"\x63\xc2", b"\x90\x00"])
def test_verify_is_never_sent_twice(answer: bytes) -> None:
    """Whatever the card says of Le: a PIN costs one try."""
    card = Script([answer])
    assert transmit(VERIFY, card.transmit) == answer
    assert card.sent == [VERIFY]


@pytest.mark.parametrize("piece", [b"\x61\x01", b"x\x61\x01", bytes(256) + b"\x61\x00"])
def test_an_answer_without_end_is_malformed(piece: bytes) -> None:
    """A card that always has more to say, in whatever portions, is not listened to for ever."""
    with pytest.raises(CardAnswerMalformed):
        transmit(READ, lambda _: piece)


@given(command=commands, given_answers=st.lists(answers, min_size=1), extended=st.sampled_from(Extended))
def test_any_answers_end_in_a_response_or_an_error_of_ours(
    command: Command, given_answers: list[bytes], extended: Extended
) -> None:
    """Whatever a card answers, commands and bytes are bounded, and every command is a valid one."""
    sent: list[Command] = []

    def card(encoded: bytes) -> bytes:
        sent.append(Command.from_bytes(encoded))
        return given_answers[(len(sent) - 1) % len(given_answers)]

    try:
        response = transmit(command.to_bytes(), card, extended)
    except (CardAnswerMalformed, ReaderWithoutExtended):
        pass
    else:
        assert 2 <= len(response) <= LONGEST_ANSWER + 2
    blocks = 4 if extended is Extended.CHAINING else 1
    assert len(sent) <= blocks * (2 + 2 * MOST_PIECES)
    if extended is not Extended.YES:
        assert not any(each.extended for each in sent)
