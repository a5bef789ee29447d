"""The card's front: was it issued, unaltered, and is the card on the reader the one that it was issued with."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.card.cvc import Certificate
from appliance.card.front import SIGNED_DIGEST_INFO, Front
from appliance.card.nonce import Nonce
from appliance.card.surface import FrontReading
from appliance.errors import CvcChainInvalid, CvcMalformed, FrontNotGenuine


def verify(reading: FrontReading, nonce: Nonce, root_key: rsa.RSAPublicKey) -> Front:
    """
    Return the front in *reading*, or refuse with FrontNotGenuine; CardAnswerMalformed where it is none.

    Checks, in this order, and nothing else:
      1. the municipality's certificate bears the signature of the surface root, *root_key*;
      2. the front bears the municipality's signature over its 96 bytes (ruling 23);
      3. the card signed *nonce*, ours, with the key that the front names: it is the card itself and no copy.

    Expiry and security code are not signed on the card; the expiry is for the clerk's eyes.
    """
    front = Front.from_bytes(reading.front)
    municipality = _municipality_key(reading.certificate, root_key)
    try:
        signed = municipality.recover_data_from_signature(front.signature, padding.PKCS1v15(), None)
    except (InvalidSignature, ValueError) as error:
        raise FrontNotGenuine("the front's signature is not the municipality's") from error
    if signed != SIGNED_DIGEST_INFO + front.signed:
        raise FrontNotGenuine("the front's signature is over another front")
    if reading.nonce != nonce:
        raise FrontNotGenuine("the reading is for another nonce than ours")
    try:
        front.card_key.verify(reading.signature, nonce.octets, padding.PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise FrontNotGenuine("the card could not prove that the front is its own") from error
    return front


def _municipality_key(encoded: bytes, root_key: rsa.RSAPublicKey) -> rsa.RSAPublicKey:
    try:
        certificate = Certificate.from_bytes(encoded)
        certificate.verify(root_key)
    except (CvcMalformed, CvcChainInvalid) as error:
        raise FrontNotGenuine(
            "the municipality's certificate does not lead to the configured root"
        ) from error
    key = certificate.body.public_key
    if not isinstance(key, rsa.RSAPublicKey):
        raise FrontNotGenuine("the municipality's key is not an RSA key")
    return key
