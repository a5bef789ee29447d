"""Nonces that cannot be mistaken for a shorter nonce and an institution code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.nonce import Nonce


@given(st.binary(min_size=32, max_size=32))
def test_a_nonce_never_ends_in_a_digit(random: bytes) -> None:
    """Whatever the random bytes, the last one is 0x80 or above and all others are kept."""
    nonce = Nonce.from_random(random)
    assert nonce.octets[-1] >= 0x80
    assert nonce.octets[:-1] == random[:-1]


@given(
    st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=32), st.from_regex(r"\A[0-9]{7}\Z")
)
def test_a_pin_message_is_no_pinless_message(mine: bytes, other: bytes, code: str) -> None:
    """No nonce of ours equals any nonce followed by any institution code, whatever their lengths."""
    assert Nonce.from_random(mine).octets != Nonce.from_random(other).octets + code.encode("ascii")


@pytest.mark.parametrize("octets", [b"", bytes(32), b"\xff" * 31 + b"\x7f"])
def test_what_could_be_mistaken_is_no_nonce(octets: bytes) -> None:
    """The verifier insists as well: such bytes cannot become a Nonce."""
    with pytest.raises(ValueError, match="0x80"):
        Nonce(octets)
