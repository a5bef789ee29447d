"""The name and the published form of the key that signs result tokens."""

from base64 import urlsafe_b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from appliance.trust.jwk import jwk, thumbprint


def base64url(octets: bytes) -> str:
    """Return *octets* as base64url without padding, RFC 7515 §2."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


@given(st.integers(1, 2**256 - 2**224))
def test_the_thumbprint_is_that_of_rfc_7638(scalar: int) -> None:
    """The name is the hash of the required members in order, coordinates in 32 bytes whatever their size."""
    key = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    x, y = (base64url(number.to_bytes(32)) for number in (key.public_numbers().x, key.public_numbers().y))
    text = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    assert thumbprint(key) == base64url(sha256(text.encode()).digest())


def test_the_published_key_says_what_it_is_for() -> None:
    """A receiver sees that the key verifies ES256 signatures, and under which name tokens mention it."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    published = jwk(key)
    assert (published["kty"], published["crv"]) == ("EC", "P-256")
    assert (published["alg"], published["use"], published["kid"]) == ("ES256", "sig", thumbprint(key))
    assert "d" not in published


def test_a_key_on_another_curve_is_a_bug() -> None:
    """Tokens are signed by ES256, and nothing else has a name here."""
    with pytest.raises(ValueError, match="secp384r1"):
        thumbprint(ec.generate_private_key(ec.SECP384R1()).public_key())
