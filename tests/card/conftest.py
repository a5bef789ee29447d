"""An institution of our own, made once."""

from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.card.cvc import Body, Certificate, Chain, KeyReference, check_chain
from appliance.card.profile import Profile, shipped


def sign(body: Body, key: rsa.RSAPrivateKey) -> Certificate:
    """Return the certificate that *key* makes of *body*."""
    return Certificate(body, key.sign(body.to_bytes(), padding.PKCS1v15(), SHA256()))


@dataclass(frozen=True, slots=True)
class Institution:
    """Root, intermediate and leaf with their private keys."""

    root_key: rsa.RSAPrivateKey
    intermediate_key: rsa.RSAPrivateKey
    leaf_key: rsa.RSAPrivateKey
    chain: Chain


@pytest.fixture(scope="session")
def institution() -> Institution:
    """Return an institution with the code 9912345."""
    root, intermediate, leaf = (rsa.generate_private_key(65_537, 2_048) for _ in range(3))
    names = [KeyReference.of(code) for code in ("0000001", "0000002", "9912345")]
    above = Body(names[0], names[1], intermediate.public_key())
    below = Body(names[1], names[2], leaf.public_key())
    chain = check_chain(sign(above, root), sign(below, intermediate), root.public_key())
    return Institution(root, intermediate, leaf, chain)


@pytest.fixture(scope="session")
def profile() -> Profile:
    """Return the reference profile."""
    return shipped("jpki-reference")
