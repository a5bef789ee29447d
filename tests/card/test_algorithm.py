"""Signature algorithms of cards and institutions."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.algorithm import SIGNATURE_LENGTH, UNHASHED, Algorithm, digest, fits, of_key, verified
from tests.card.conftest import Institution

P384 = ec.generate_private_key(ec.SECP384R1())
MESSAGE = b"a challenge"


def by_curve(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Return r and s side by side, as cards write them."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA384())))
    return r.to_bytes(48) + s.to_bytes(48)


def test_each_key_has_its_one_algorithm(institution: Institution) -> None:
    """A key is used with exactly one algorithm, and other kinds of keys with none."""
    assert of_key(institution.leaf_key.public_key()) is Algorithm.RSA_2048_PKCS1_SHA256
    assert of_key(P384.public_key()) is Algorithm.ECDSA_P384_SHA384
    assert of_key(ec.generate_private_key(ec.SECP256R1()).public_key()) is None
    assert of_key(rsa.generate_private_key(65_537, 3_072).public_key()) is None


def test_genuine_signatures_are_verified(institution: Institution) -> None:
    """RSA by PKCS#1 v1.5 with SHA-256, P-384 by r and s with SHA-384."""
    by_rsa = institution.leaf_key.sign(MESSAGE, padding.PKCS1v15(), SHA256())
    assert verified(Algorithm.RSA_2048_PKCS1_SHA256, institution.leaf_key.public_key(), by_rsa, MESSAGE)
    assert verified(Algorithm.ECDSA_P384_SHA384, P384.public_key(), by_curve(P384, MESSAGE), MESSAGE)


def test_a_signature_under_another_algorithm_is_none(institution: Institution) -> None:
    """The profile's algorithm counts: a good signature by a key of another kind is refused."""
    by_rsa = institution.leaf_key.sign(MESSAGE, padding.PKCS1v15(), SHA256())
    assert not verified(Algorithm.ECDSA_P384_SHA384, institution.leaf_key.public_key(), by_rsa, MESSAGE)
    assert not verified(Algorithm.RSA_2048_PKCS1_SHA256, P384.public_key(), by_curve(P384, MESSAGE), MESSAGE)


@pytest.mark.parametrize("algorithm", sorted(UNHASHED))
def test_unhashed_algorithms_fit_no_key(algorithm: Algorithm, institution: Institution) -> None:
    """What a profile must not name verifies nothing either."""
    for key in (institution.leaf_key.public_key(), P384.public_key()):
        assert not fits(algorithm, key)
        assert not verified(algorithm, key, bytes(256), MESSAGE)


@given(st.sampled_from(sorted(SIGNATURE_LENGTH)), st.binary(max_size=300))
def test_any_bytes_are_no_signature(institution: Institution, algorithm: Algorithm, signature: bytes) -> None:
    """Any bytes are refused, whatever their length, without an exception."""
    for key in (institution.leaf_key.public_key(), P384.public_key()):
        assert not verified(algorithm, key, signature, MESSAGE)


def test_the_digest_is_the_algorithms() -> None:
    """32 bytes go to an RSA card, 48 to one on P-384."""
    assert [len(digest(algorithm, MESSAGE)) for algorithm in sorted(SIGNATURE_LENGTH)] == [48, 32]
