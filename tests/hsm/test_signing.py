"""What a mechanism is given to sign, judged by OpenSSL's own padding."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st
from pkcs11 import Mechanism

from appliance.hsm.messages import Role
from appliance.hsm.pkcs11.signing import prepared
from appliance.hsm.pkcs11.token import encoded_point, mechanism, safe_attributes
from appliance.hsm.vendor import SOFTHSM, load_vendor
from tests.hsm.conftest import Token

_KEY = rsa.generate_private_key(65537, 2048)


@given(st.binary(max_size=100))
def test_digest_info_is_what_a_signature_hides(message: bytes) -> None:
    """Our DigestInfo is byte for byte what a whole RSA signature over SHA-256 contains."""
    signature = _KEY.sign(message, padding.PKCS1v15(), SHA256())
    hidden = _KEY.public_key().recover_data_from_signature(signature, padding.PKCS1v15(), None)
    assert prepared(message, Mechanism.RSA_PKCS) == hidden


def test_hashing_is_done_once() -> None:
    """A mechanism that hashes is given the message, one that does not is given the digest."""
    digest = hashlib.sha256(b"message").digest()
    assert prepared(b"message", Mechanism.SHA256_RSA_PKCS) == b"message"
    assert prepared(b"message", Mechanism.EDDSA) == b"message"
    assert prepared(b"message", Mechanism.ECDSA) == digest


@pytest.mark.parametrize(
    ("vendor", "institution", "ledger"),
    [
        ("softhsm", Mechanism.SHA256_RSA_PKCS, Mechanism.EDDSA),
        ("opencryptoki", Mechanism.RSA_PKCS, Mechanism.ECDSA),
        ("p11-kit", Mechanism.SHA256_RSA_PKCS, Mechanism.ECDSA),
    ],
)
def test_mechanisms_are_the_profile_s(vendor: str, institution: Mechanism, ledger: Mechanism) -> None:
    """The mechanism of each key is what its profile says, and nothing else is ever tried."""
    profile = load_vendor(vendor)
    assert mechanism(profile, Role.INSTITUTION) is institution
    assert mechanism(profile, Role.TOKEN) is Mechanism.ECDSA
    assert mechanism(profile, Role.LEDGER) is ledger


def test_point_is_compared_in_the_profile_s_form(token: Token) -> None:
    """A point is looked for as the module writes it: in an OCTET STRING, or bare."""
    wrapped = encoded_point(SOFTHSM, token.token_key)
    assert wrapped[:2] == b"\x04\x41"
    assert len(wrapped) == 67


def test_softened_attribute_is_one_value_all_the_same() -> None:
    """A profile changes which one value is right; it never lets two pass."""
    nss = {name.name: value for name, value in safe_attributes(load_vendor("nss")).items()}
    standard = {name.name: value for name, value in safe_attributes(SOFTHSM).items()}
    assert nss == {**standard, "LOCAL": False}
