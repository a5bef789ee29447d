"""The institution's card-verifiable certificates."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.cvc import Body, Certificate, KeyReference, Shape, check_chain
from appliance.errors import CvcChainInvalid, CvcMalformed
from tests.card.conftest import Institution, sign
from tests.card.test_algorithm import by_curve

REAL = bytes.fromhex((Path(__file__).parents[1] / "vectors" / "intermediate-cvc.hex").read_text())


def test_the_real_intermediate_certificate_is_read() -> None:
    """The public intermediate 9299774 parses, names its issuer, and stands for itself."""
    certificate = Certificate.from_bytes(REAL)
    assert certificate.body.issuer.octets == b"9200073\x08\x050010000"
    assert certificate.body.holder.code == "9299774"
    assert certificate.body.shape is Shape.RSA_2048
    assert certificate.to_bytes() == REAL


def test_the_two_blocks_are_the_whole_certificate() -> None:
    """Block 1 is bytes 0 to 306, block 2 the rest, as the card takes them."""
    first, second = Certificate.from_bytes(REAL).blocks
    assert (len(first), len(second)) == (307, 261)
    assert first + second == REAL
    assert second.startswith(bytes.fromhex("5F37820100"))


@given(st.binary(max_size=700))
def test_any_bytes_are_a_certificate_or_refused(encoded: bytes) -> None:
    """Any bytes parse, and then stand for themselves, or raise CvcMalformed."""
    try:
        certificate = Certificate.from_bytes(encoded)
    except CvcMalformed:
        return
    assert certificate.to_bytes() == encoded


@given(st.integers(0, Shape.RSA_2048.length - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(position: int, change: int) -> None:
    """One byte changed in a real certificate is refused, or is plain in what was read: nothing is normalised."""
    encoded = bytearray(REAL)
    encoded[position] ^= change
    try:
        certificate = Certificate.from_bytes(bytes(encoded))
    except CvcMalformed:
        return
    assert certificate.to_bytes() == encoded
    assert certificate != Certificate.from_bytes(REAL)


@pytest.mark.parametrize(
    ("position", "octets"),
    [
        (0, b"\x7f\x4e"),  # another outer tag
        (5, b"\x5f\x4f"),  # another inner tag
        (10, b"x"),  # an issuer reference that does not begin with digits
        (10 + 32, bytes.fromhex("9003010003")),  # another public exponent
        (10 + 32 + 5 + 4, b"\x7f"),  # a modulus whose top bit is clear
    ],
)
def test_another_shape_than_the_cards_is_refused(position: int, octets: bytes) -> None:
    """Tag, reference, exponent and modulus have the one form that the card takes (ruling 9)."""
    encoded = bytearray(REAL)
    encoded[position : position + len(octets)] = octets
    with pytest.raises(CvcMalformed):
        Certificate.from_bytes(bytes(encoded))


def test_a_chain_is_checked_with_the_root_where_it_is_known(institution: Institution) -> None:
    """The intermediate's own signature is checked as soon as the root's key is given."""
    chain = institution.chain
    assert chain.institution_code == "9912345"
    assert check_chain(chain.intermediate, chain.leaf) == chain
    with pytest.raises(CvcChainInvalid, match="0000001"):
        check_chain(chain.intermediate, chain.leaf, institution.leaf_key.public_key())


def test_a_leaf_of_another_issuer_is_refused(institution: Institution) -> None:
    """The leaf must name the intermediate and bear its signature, each by itself."""
    chain = institution.chain
    renamed = sign(replace(chain.leaf.body, issuer=KeyReference.of("0000009")), institution.intermediate_key)
    with pytest.raises(CvcChainInvalid, match="0000009"):
        check_chain(chain.intermediate, renamed)
    forged = sign(chain.leaf.body, institution.leaf_key)
    with pytest.raises(CvcChainInvalid, match="not signed"):
        check_chain(chain.intermediate, forged)


def test_a_chain_on_p384_has_its_own_lengths() -> None:
    """With an elliptic curve the lengths follow from the key, and the blocks are still the whole (ruling 28)."""
    keys = [ec.generate_private_key(ec.SECP384R1()) for _ in range(2)]
    names = [KeyReference.of(code) for code in ("0000001", "9912345")]
    body = Body(names[0], names[1], keys[1].public_key())
    certificate = Certificate(body, by_curve(keys[0], body.to_bytes()))
    certificate.verify(keys[0].public_key())
    first, second = certificate.blocks
    assert body.to_bytes()[32:34] == bytes.fromhex("8661")
    assert (len(body.to_bytes()), len(second)) == (131, 3 + 96)
    assert first.startswith(bytes.fromhex("7F2181EA 5F4E8183"))
    assert Certificate.from_bytes(first + second) == certificate
    with pytest.raises(CvcChainInvalid):
        certificate.verify(keys[1].public_key())


def test_kinds_of_keys_do_not_mix(institution: Institution) -> None:
    """An RSA intermediate cannot vouch for a key on a curve: the card has one algorithm."""
    key = ec.generate_private_key(ec.SECP384R1())
    body = Body(KeyReference.of("0000002"), KeyReference.of("9912345"), key.public_key())
    leaf = Certificate(body, by_curve(key, body.to_bytes()))
    with pytest.raises(CvcChainInvalid):
        check_chain(institution.chain.intermediate, leaf)


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(3, 2_048), ec.generate_private_key(ec.SECP256R1())], ids=["e=3", "P-256"]
)
def test_other_keys_are_not_certified(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    """Exponent and curve are fixed; another one is refused when the certificate is made."""
    with pytest.raises(CvcMalformed):
        Body(KeyReference.of("0000001"), KeyReference.of("9912345"), key.public_key())
