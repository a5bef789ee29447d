"""Command and response APDUs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.apdu import Command, CommandMalformed, Response
from appliance.errors import CardAnswerMalformed

WRITTEN = [
    ("00200080", Command(0x00, 0x20, 0x00, 0x80)),
    ("00B0000000", Command(0x00, 0xB0, 0, 0, le=256)),
    ("0084000010", Command(0x00, 0x84, 0, 0, le=16)),
    ("00A4020C020016", Command(0x00, 0xA4, 0x02, 0x0C, b"\x00\x16")),
    ("802A03800301020300", Command(0x80, 0x2A, 0x03, 0x80, b"\x01\x02\x03", le=256)),
    ("00B00000000000", Command(0x00, 0xB0, 0, 0, le=65_536, extended=True)),
    ("0084000000" + "0101", Command(0x00, 0x84, 0, 0, le=257, extended=True)),
    ("80A206C1" + "000003" + "010203", Command(0x80, 0xA2, 0x06, 0xC1, b"\x01\x02\x03", extended=True)),
    ("802A0380" + "000001" + "01" + "0000", Command(0x80, 0x2A, 0x03, 0x80, b"\x01", 65_536, extended=True)),
]
"""Cases 1, 2S, 2S, 3S, 4S, 2E, 2E, 3E, 4E of ISO/IEC 7816-4 §5.1."""

byte = st.integers(0, 255)
commands = st.one_of(
    st.builds(Command, byte, byte, byte, byte, st.binary(max_size=255), st.none() | st.integers(1, 256)),
    st.builds(
        Command, byte, byte, byte, byte, st.binary(min_size=1, max_size=400),
        st.none() | st.integers(1, 65_536), st.just(value=True),
    ),
)  # fmt: skip


@pytest.mark.parametrize(("written", "command"), WRITTEN)
def test_every_case_is_written_as_the_standard_says(written: str, command: Command) -> None:
    """All four cases, short and extended, have exactly one written form each."""
    assert command.to_bytes() == bytes.fromhex(written)
    assert Command.from_bytes(bytes.fromhex(written)) == command


@given(commands)
def test_a_command_survives_being_written(command: Command) -> None:
    """What was written is read back as the same command, its form included."""
    assert Command.from_bytes(command.to_bytes()) == command


@given(st.binary(max_size=600))
def test_any_bytes_are_a_command_or_refused(encoded: bytes) -> None:
    """Any bytes parse, and then stand for themselves, or raise CommandMalformed."""
    try:
        command = Command.from_bytes(encoded)
    except CommandMalformed:
        return
    assert command.to_bytes() == encoded


@pytest.mark.parametrize(
    "arguments",
    [
        {"cla": 256}, {"data": bytes(256)}, {"le": 0}, {"le": 257}, {"extended": True},
        {"le": 65_537, "extended": True}, {"data": bytes(65_536), "extended": True},
    ],
)  # fmt: skip
def test_what_has_no_written_form_cannot_be_built(arguments: dict[str, object]) -> None:
    """A command that could not be transmitted is a programming error where it is made."""
    fields = {"cla": 0, "ins": 0xB0, "p1": 0, "p2": 0, **arguments}
    with pytest.raises(ValueError, match=r"byte|fit|form"):
        Command(**fields)  # type: ignore[arg-type]  # wrong on purpose


@given(st.binary(max_size=300))
def test_any_bytes_are_a_response_or_refused(encoded: bytes) -> None:
    """Two bytes or more are a response that stands for itself; fewer are refused."""
    try:
        response = Response.from_bytes(encoded)
    except CardAnswerMalformed:
        assert len(encoded) < 2
        return
    assert response.to_bytes() == encoded


def test_a_response_has_a_bounded_length() -> None:
    """More than an extended response can carry is refused."""
    with pytest.raises(CardAnswerMalformed):
        Response.from_bytes(bytes(65_539))
