"""
A PKCS#11 token as the appliance sees it: one module, one token, one login, keys found by their public halves.

Imported only in processes that do nothing else: python-pkcs11 initialises modules without locks, so there may be
one thread, and nothing here may reach the daemon. What a module returns becomes an error of ours in `mapped`.

A key is never found by its label. RSA private keys show their modulus; for EC the public key object with the
pinned point leads over CKA_ID to the private key, which then has to prove itself by a signature.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag, exceptions
from pkcs11.attributes import AttributeMapper
from pkcs11.types import Object, PrivateKey, Session, Token

from appliance.errors import (
    HsmError,
    HsmKeyAbsent,
    HsmKeyAmbiguous,
    HsmKeyUnsafe,
    HsmModuleUnusable,
    HsmPinRejected,
    HsmTokenAbsent,
    HsmTokenAmbiguous,
    HsmUnavailable,
    InstitutionKeyMismatch,
)
from appliance.hsm.messages import Role
from appliance.hsm.pin import Pin

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

MECHANISMS: Mapping[Role, Mechanism] = {
    Role.INSTITUTION: Mechanism.SHA256_RSA_PKCS,
    Role.TOKEN: Mechanism.ECDSA,
}
"""The one mechanism a key of each role signs with. ECDSA takes a digest; hashing is ours."""

SAFE_ATTRIBUTES: Mapping[Attribute, bool] = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.LOCAL: True,
    Attribute.SENSITIVE: True,
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.NEVER_EXTRACTABLE: True,
    Attribute.SIGN: True,
    Attribute.SIGN_RECOVER: False,
    Attribute.DECRYPT: False,
    Attribute.UNWRAP: False,
    Attribute.DERIVE: False,
}
"""What a private key of ours is: made in the token, never to leave it, and able to sign, nothing more."""

_PIN_ERRORS = (
    exceptions.PinIncorrect,
    exceptions.PinLocked,
    exceptions.PinExpired,
    exceptions.PinInvalid,
    exceptions.PinLenRange,
    exceptions.UserPinNotInitialized,
)
_PIN_AT_RISK = (
    TokenFlag.USER_PIN_LOCKED,
    TokenFlag.USER_PIN_FINAL_TRY,
    TokenFlag.USER_PIN_COUNT_LOW,
)
_IRREGULAR_NAMES = {
    exceptions.AnotherUserAlreadyLoggedIn: "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
    exceptions.FunctionCancelled: "CKR_FUNCTION_CANCELED",
    exceptions.TokenNotRecognised: "CKR_TOKEN_NOT_RECOGNIZED",
}


@contextmanager
def mapped(failure: type[HsmError], doing: str) -> Iterator[None]:
    """Turn what python-pkcs11 raises while *doing* something into *failure*, or HsmPinRejected for the PIN's sake."""
    try:
        yield
    except _PIN_ERRORS as error:
        raise HsmPinRejected(f"{doing}: {return_value(error)}") from error
    except exceptions.PKCS11Error as error:
        raise failure(f"{doing}: {return_value(error)}") from error


def return_value(error: exceptions.PKCS11Error) -> str:
    """Return the PKCS#11 name of *error*, or its text where python-pkcs11 has no class for the value."""
    kind = type(error)
    if kind is exceptions.PKCS11Error:
        return str(error)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind.__name__)
    return _IRREGULAR_NAMES.get(kind, f"CKR_{words.upper()}")


def load_module(path: str) -> Any:  # noqa: ANN401 - python-pkcs11 does not export the type of its library
    """Return the PKCS#11 module at *path*, initialised, or raise HsmModuleUnusable."""
    with mapped(HsmModuleUnusable, f"loading {path}"):
        return pkcs11.lib(path)


def find_token(module: Any, label: str) -> Token:  # noqa: ANN401 - as above
    """Return the one token called *label*, or raise HsmTokenAbsent or HsmTokenAmbiguous."""
    with mapped(HsmModuleUnusable, "listing tokens"):
        tokens: list[Token] = list(module.get_tokens(token_label=label))
    if not tokens:
        raise HsmTokenAbsent(f"no token is called '{label}'")
    if len(tokens) > 1:
        raise HsmTokenAmbiguous(f"{len(tokens)} tokens are called '{label}'")
    return tokens[0]


def refuse_risky_login(token: Token) -> None:
    """
    Raise HsmPinRejected when a PIN has been refused since the last login, or is locked.

    A daemon that tries a wrong PIN at every start would lock the token. One wrong try is for a person to look at.
    """
    for flag in _PIN_AT_RISK:
        if token.flags & flag:
            raise HsmPinRejected(f"not tried: the token reports CKF_{flag.name}")


def log_in(token: Token, pin: Pin, *, writable: bool = False) -> Session:
    """Return a session on *token*, logged in, or raise HsmPinRejected, or HsmUnavailable for any other failure."""
    mapper = AttributeMapper()
    mapper.register_handler(Attribute.ALLOWED_MECHANISMS, _pack_mechanisms, _unpack_mechanisms)
    with mapped(HsmUnavailable, "logging in"):
        return token.open(user_pin=pin, rw=writable, attribute_mapper=mapper)


def find_private_key(session: Session, role: Role, pinned: PublicKey) -> PrivateKey:
    """
    Return the one private key that belongs to *pinned*, checked to be safe.

    Raises HsmKeyAbsent, or InstitutionKeyMismatch for the institution's, when there is none; HsmKeyAmbiguous when
    there are several; HsmKeyUnsafe when it could do more than sign.
    """
    with mapped(HsmUnavailable, f"looking for the {role} key"):
        found = (
            _with_modulus(session, pinned)
            if isinstance(pinned, rsa.RSAPublicKey)
            else _with_point(session, pinned)
        )
    if not found:
        if role is Role.INSTITUTION:
            raise InstitutionKeyMismatch(
                "the token holds no private key for the institution certificate's key"
            )
        raise HsmKeyAbsent(f"the token holds no private key for the pinned {role} key")
    if len(found) > 1:
        raise HsmKeyAmbiguous(f"the token holds {len(found)} private keys for the pinned {role} key")
    refuse_unsafe(found[0], role)
    return found[0]


def refuse_unsafe(key: PrivateKey, role: Role) -> None:
    """Read the attributes of *key* back and raise HsmKeyUnsafe, naming the one that is not as it has to be."""
    for attribute, wanted in SAFE_ATTRIBUTES.items():
        if attribute_of(key, attribute) is not wanted:
            raise HsmKeyUnsafe(f"the {role} key has not CKA_{attribute.name} {str(wanted).upper()}")
    allowed = attribute_of(key, Attribute.ALLOWED_MECHANISMS)
    # A token that does not know the attribute (PKCS#11 before 2.40) cannot be asked to limit the key by it.
    if allowed is not None and allowed != (int(MECHANISMS[role]),):
        raise HsmKeyUnsafe(f"the {role} key has not CKA_ALLOWED_MECHANISMS {MECHANISMS[role].name} alone")


def attribute_of(key: Object, attribute: Attribute) -> Any:  # noqa: ANN401 - an attribute is of any type
    """Return an *attribute* of *key*, or None where the token does not know it."""
    try:
        with mapped(HsmKeyUnsafe, f"reading CKA_{attribute.name}"):
            return key[attribute]
    except HsmKeyUnsafe as error:
        if isinstance(error.__cause__, exceptions.AttributeTypeInvalid):
            return None
        raise


def encoded_point(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the uncompressed point of *key*."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _with_modulus(session: Session, pinned: rsa.RSAPublicKey) -> list[PrivateKey]:
    modulus = pinned.public_numbers().n
    # Compared as numbers and not by a search template: modules differ in leading zeros.
    return [
        key
        for key in _private_keys(session, {Attribute.KEY_TYPE: KeyType.RSA})
        if int.from_bytes(key[Attribute.MODULUS]) == modulus
    ]


def _with_point(session: Session, pinned: ec.EllipticCurvePublicKey) -> list[PrivateKey]:
    point = encoded_point(pinned)
    # CKA_EC_POINT is a DER OCTET STRING; some modules give the bare point.
    forms = {point, bytes([0x04, len(point)]) + point}
    public_keys = session.get_objects(
        {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.EC}
    )
    ids = {key[Attribute.ID] for key in list(public_keys) if key[Attribute.EC_POINT] in forms}
    return [
        key
        for id_ in ids
        for key in _private_keys(session, {Attribute.KEY_TYPE: KeyType.EC, Attribute.ID: id_})
    ]


def _private_keys(session: Session, template: dict[Attribute, Any]) -> list[PrivateKey]:
    # The list ends the search before the objects are read: some modules take no other call during one.
    found = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, **template}))
    return [key for key in found if isinstance(key, PrivateKey)]


def _pack_mechanisms(mechanisms: tuple[int, ...]) -> bytes:
    return struct.pack(f"{len(mechanisms)}L", *mechanisms)


def _unpack_mechanisms(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"{len(packed) // struct.calcsize('L')}L", packed)
