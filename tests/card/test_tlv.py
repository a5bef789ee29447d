"""BER-TLV objects."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.tlv import Tlv, TlvMalformed, parse, total_length

tags = st.sampled_from([0x30, 0x90, 0x91, 0x5F37, 0x5F4E, 0x7F21, 0xDF21, 0xFF20, 0x1F8148])


@pytest.mark.parametrize(
    ("length", "header"),
    [(0, "9100"), (127, "917F"), (128, "918180"), (255, "9181FF"), (256, "91820100"), (65_536, "9183010000")],
)
def test_lengths_are_minimal(length: int, header: str) -> None:
    """A length takes as few bytes as DER allows."""
    encoded = Tlv(0x91, bytes(length)).to_bytes()
    assert encoded[: len(header) // 2].hex().upper() == header
    assert total_length(encoded[:8]) == len(encoded)


@given(tags, st.binary(max_size=300))
def test_an_object_survives_being_written(tag: int, value: bytes) -> None:
    """What was written is read back as the same object."""
    assert Tlv.from_bytes(Tlv(tag, value).to_bytes()) == Tlv(tag, value)


@given(st.binary(max_size=100))
def test_any_bytes_are_objects_or_refused(encoded: bytes) -> None:
    """Any bytes parse, and then stand for themselves, or raise TlvMalformed."""
    try:
        found = list(parse(encoded))
    except TlvMalformed:
        return
    assert b"".join(tlv.to_bytes() for tlv in found) == encoded


@given(st.binary(max_size=12))
def test_any_beginning_tells_its_length_or_is_refused(beginning: bytes) -> None:
    """The length of an object is known from its first bytes, or TlvMalformed is raised."""
    with contextlib.suppress(TlvMalformed):
        assert total_length(beginning) >= 2


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("", "at least"), ("30", "ends before"), ("9F", "cut off"), ("1F818181", "too long"), ("3080", "cannot be"),
        ("308105", "not minimal"), ("30820080", "not minimal"), ("3084FFFFFFFF", "cannot be"), ("300201", "follow"),
    ],
)  # fmt: skip
def test_what_the_card_never_writes_is_refused(encoded: str, why: str) -> None:
    """Cut-off, indefinite, non-minimal and oversized forms are refused, and the message says which it was."""
    with pytest.raises(TlvMalformed, match=why):
        Tlv.from_bytes(bytes.fromhex(encoded))


def test_objects_within_an_object() -> None:
    """A constructed object's value is a sequence of objects."""
    assert Tlv(0x30, bytes.fromhex("01010A 020100")).children == (Tlv(1, b"\x0a"), Tlv(2, b"\x00"))
