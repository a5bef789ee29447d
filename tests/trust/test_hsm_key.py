"""JWTs of the token key: what a library that knows nothing of us reads in them."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.errors import HsmUnavailable
from appliance.trust.hsm_key import Writer
from appliance.trust.jwk import thumbprint


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    """A key in the HSM's place."""
    return ec.generate_private_key(ec.SECP256R1())


async def test_a_library_verifies_what_is_written(key: ec.EllipticCurvePrivateKey) -> None:
    """
    PyJWT verifies the signature and reads the same claims; the header names type, algorithm and key.

    Twenty times: in about one of 256 a number of the signature is a byte shorter than the others.
    """

    async def sign(signing_input: bytes) -> bytes:
        return key.sign(signing_input, ec.ECDSA(SHA256()))

    writer = Writer("some+jwt", key.public_key(), sign)
    for number in range(20):
        claims = {"iss": "受付", "number": number, "none": None, "inside": {"list": [1, "a/b+c"]}}
        token = await writer.write(claims)
        assert jwt.decode(token, key.public_key(), algorithms=["ES256"]) == claims
        assert jwt.get_unverified_header(token) == {
            "typ": "some+jwt",
            "alg": "ES256",
            "kid": thumbprint(key.public_key()),
        }


async def test_short_numbers_of_a_signature_are_filled_up(key: ec.EllipticCurvePrivateKey) -> None:
    """A signature of r = 1 and s = 2 has 64 bytes all the same (RFC 7518 §3.4)."""

    async def sign(_signing_input: bytes) -> bytes:
        return bytes.fromhex("3006020101020102")

    token = await Writer("some+jwt", key.public_key(), sign).write({})
    signature = jwt.utils.base64url_decode(token.rpartition(".")[2])
    assert signature == (1).to_bytes(32) + (2).to_bytes(32)


async def test_what_the_hsm_raises_comes_through(key: ec.EllipticCurvePrivateKey) -> None:
    """Without a signature there is no token."""

    async def sign(_signing_input: bytes) -> bytes:
        raise HsmUnavailable("gone")

    with pytest.raises(HsmUnavailable, match="gone"):
        await Writer("some+jwt", key.public_key(), sign).write({})
