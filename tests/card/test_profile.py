"""Card profiles: complete, known and safe, or refused."""

from importlib import resources

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.card.profile import Profile, shipped, shipped_names
from appliance.errors import ProfileInvalid, ProfileUnsafe

REFERENCE = (resources.files("appliance.card.profiles") / "jpki-reference.toml").read_text()
VALUES = [
    line for line in REFERENCE.splitlines() if " = " in line and not line.startswith(("unverified", " "))
]


def test_the_reference_profile_says_what_nobody_has_confirmed() -> None:
    """Whoever uses the reference profile can see which of its steps are UNVERIFIED."""
    profile = shipped("jpki-reference")
    assert {"institution-signature", "present-signature", "holder-proof"} <= set(profile.unverified)
    assert "jpki-reference" in shipped_names()


@pytest.mark.parametrize("line", VALUES)
def test_every_value_is_needed(line: str) -> None:
    """Without any single one of its values a profile is refused."""
    with pytest.raises(ProfileInvalid):
        Profile.from_toml(REFERENCE.replace(line + "\n", "", 1).encode())


@pytest.mark.parametrize(
    "table", ["[application]", "[files]", "[institution]", "[proof]", "[pin]", "[surface]"]
)
def test_an_unknown_value_is_refused(table: str) -> None:
    """A value that nothing reads is a mistake, and its name is in the message."""
    with pytest.raises(ProfileInvalid, match="surprise"):
        Profile.from_toml(REFERENCE.replace(table, f"{table}\nsurprise = 1", 1).encode())


@pytest.mark.parametrize(
    ("value", "bad"),
    [
        ('anchor = "0016"', 'anchor = "16"'), ('anchor = "0016"', "anchor = 22"),
        ('load_body = "80A206C1"', 'load_body = "80A206"'), ("version = 1", "version = 0"),
        ('algorithm = "rsa-2048-pkcs1-sha256"', 'algorithm = "rsa-1024"'), ("digits = 4", "digits = 0"),
        ('name = "jpki-reference"', 'name = "jpki-reference\\n"'),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused(value: str, bad: str) -> None:
    """Lengths, kinds and names are checked when the profile is read, not when a card is there."""
    with pytest.raises(ProfileInvalid):
        Profile.from_toml(REFERENCE.replace(value, bad).encode())


@pytest.mark.parametrize(
    ("value", "unsafe", "why"),
    [
        ("challenge_length = 16", "challenge_length = 33", "something else"),
        ('"rsa-2048-pkcs1-sha256"\npresent', '"rsa-2048-pkcs1"\npresent', "without hashing"),
        ('"rsa-2048-pkcs1-sha256"\npresent', '"rsa-2048-raw"\npresent', "without hashing"),
        ("nonce_length = 32", "nonce_length = 15", "repeat"),
        ('front = "0002"', 'front = "0005"', "My Number"),
        ('certificate = "0004"', 'certificate = "0005"', "My Number"),
        ('verification_number = "0012"', 'verification_number = "0013"', "My Number"),
        ('"D3921000310001010402"', '"D3921000310001010408"', "My Number"),
        ('"D3921000310001010402"', '"D392100031000101040801"', "My Number"),
        ('"D3921000310001010402"', '"D392100031"', "My Number"),
        ('"D3921000310001010402"', '"D3921000310001010401"', "My Number"),
        ('"D392F000260100000001"', '"D3921000310001010408"', "My Number"),
        ('"D3921000310001010402"', '"D392F000260100000001"', "surface.aid"),
        ('pin = "0018"', 'pin = "001B"', "files.pin"), ('key = "0017"', 'key = "001A"', "files.key"),
        ('certificate = "000A"', 'certificate = "0001"', "files.certificate"), ('anchor = "0016"', 'anchor = "001B"', "files.anchor"),
        ('"D392F000260100000001"', '"D3921000310001010402"', "My Number"),
        ('"D392F000260100000001"', '"D392100031"', "My Number"),
        ('get_challenge = "00840000"', 'get_challenge = "00B08500"', "get_challenge"),
        ('present_signature = "00820080"', 'present_signature = "00240180"', "present_signature"),
        ('present_signature = "00820080"', 'present_signature = "00D60000"', "present_signature"),
        ('load_body = "80A206C1"', 'load_body = "00DA06C1"', "load_body"),
        ('load_signature = "80A200C1"', 'load_signature = "002C00C1"', "load_signature"),
        ('digest-info"\n\n[pin]\nverify = "00200080"', 'digest-info"\n\n[pin]\nverify = "00240180"', "pin.verify"),
        ('key = "001A"\nverify = "00200080"', 'key = "001A"\nverify = "00200093"', "surface.verify"),
        ('sign_pinless = "802A0380"', 'sign_pinless = "802A039A"', "sign_pinless"),
        ('sign_with_pin = "802A0080"', 'sign_with_pin = "00B08500"', "sign_with_pin"),
        ('sign = "802A0000"', 'sign = "00B00000"', "surface.sign"),
    ],
)  # fmt: skip
def test_an_unsafe_value_is_refused_with_its_reason(value: str, unsafe: str, why: str) -> None:
    """A profile that would weaken the key or the proof has an error of its own that says why."""
    assert value in REFERENCE
    with pytest.raises(ProfileUnsafe, match=why):
        Profile.from_toml(REFERENCE.replace(value, unsafe).encode())


endless = st.integers(1, 6_000).flatmap(
    lambda length: st.sampled_from([b"a = " + b"[" * length, b"a = " + b"1" * length])
)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | endless)
@example(b"a = " + b"[" * 50_000)
@example(b"version = " + b"1" * 5_000)
def test_any_file_is_a_profile_or_refused(text: bytes) -> None:
    """Any bytes in a profile file raise ProfileInvalid."""
    with pytest.raises(ProfileInvalid):
        Profile.from_toml(text)


@pytest.mark.parametrize(
    ("value", "other"),
    [
        ('certificate = "cvc-rsa-2048"', 'certificate = "cvc-p384"'),
        ('input_with_pin = "digest-info"', 'input_with_pin = "digest"'),
    ],
)
def test_algorithms_and_forms_have_to_agree(value: str, other: str) -> None:
    """A certificate's shape and the form of a digest follow from the algorithm; a contradiction is refused."""
    assert value in REFERENCE
    with pytest.raises(ProfileInvalid, match="does not go with"):
        Profile.from_toml(REFERENCE.replace(value, other).encode())


@pytest.mark.parametrize("name", ["jpki-reference", "jpki-next"])
def test_what_ships_can_be_used(name: str) -> None:
    """Every profile that ships passes its own checks and says what it is."""
    assert shipped(name).name == name


def test_a_profile_that_does_not_ship_is_named_with_those_that_do() -> None:
    """A misspelt name is answered with the names there are."""
    with pytest.raises(ProfileInvalid, match="jpki-reference"):
        shipped("jpki-referense")
