"""What kind of token is on the reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.token_info import Kind, Presence, TokenInfo
from appliance.errors import CardAnswerMalformed


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("JPKIAPICCTOKEN2", Kind.MY_NUMBER_CARD),
        ("JPKIAPICCTOKEN", Kind.BASIC_RESIDENT_CARD),
        ("JPKIAPGPSETOKEN", Kind.ANDROID),
        ("JPKIAPIOSTOKEN", Kind.IPHONE),
        ("JPKIAPSOMETHINGELSE", Kind.UNKNOWN),
    ],
)
def test_the_label_tells_the_kind(label: str, kind: Kind) -> None:
    """The label alone tells a card from a phone, and what nobody has described is unknown."""
    assert TokenInfo.from_bytes(label.encode().ljust(160)).kind is kind


@given(st.binary(max_size=200))
def test_any_bytes_are_token_info_or_refused(encoded: bytes) -> None:
    """Any bytes give a kind, or raise CardAnswerMalformed."""
    try:
        info = TokenInfo.from_bytes(encoded)
    except CardAnswerMalformed:
        return
    assert info.kind in Kind


@pytest.mark.parametrize(
    ("encoded", "signing", "authentication"), [("8F8F00", True, True), ("008F00", False, True)]
)
def test_presence_of_certificates(encoded: str, signing: bool, authentication: bool) -> None:  # noqa: FBT001
    """8F stands for a certificate that is there."""
    assert Presence.from_bytes(bytes.fromhex(encoded)) == Presence(signing, authentication)


@pytest.mark.parametrize("encoded", ["", "8F8F", "8F8F0000"])
def test_presence_is_three_bytes(encoded: str) -> None:
    """Another length is no presence."""
    with pytest.raises(CardAnswerMalformed):
        Presence.from_bytes(bytes.fromhex(encoded))
