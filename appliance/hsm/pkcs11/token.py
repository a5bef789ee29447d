"""
A PKCS#11 token as the appliance sees it: one module, one token, one login, keys found by their public halves.

Imported only in processes that do nothing else: python-pkcs11 initialises modules without locks, so there may be
one thread, and nothing here may reach the daemon. What a module returns becomes an error of ours in `mapped`.

A key is never found by its label. RSA private keys show their modulus; for EC the public key object with the
pinned point leads over CKA_ID to the private key, which then has to prove itself by a signature. What modules do
differently is in the vendor profile, and only there.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import PROTECTED_AUTH, Attribute, KeyType, Mechanism, ObjectClass, TokenFlag, UserType, exceptions
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
from appliance.hsm.pkcs11.pin import Pin
from appliance.hsm.pkcs11.return_values import named
from appliance.hsm.vendor import SAFE_KEY, Vendor

EdwardsOrWeierstrass = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PublicKey = rsa.RSAPublicKey | EdwardsOrWeierstrass

SAFE_ATTRIBUTES: Mapping[Attribute, bool] = {
    Attribute[name.removeprefix("CKA_")]: value for name, value in SAFE_KEY.items()
}
"""What `vendor.SAFE_KEY` says, in python-pkcs11's words."""

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
        raise failure(f"{doing}: {_told(error)}") from error


@contextmanager
def read_back(what: str) -> Iterator[None]:
    """
    Raise HsmKeyUnsafe where a key does not show *what* it has to, HsmUnavailable where reading it failed.

    A broken cable is no reason to make new keys.
    """
    doing = f"reading {what}"
    with mapped(HsmUnavailable, doing):
        try:
            yield
        except (exceptions.AttributeTypeInvalid, exceptions.AttributeSensitive) as error:
            raise HsmKeyUnsafe(f"{doing}: {return_value(error)}") from error


def return_value(error: exceptions.PKCS11Error) -> str:
    """Return the PKCS#11 name of *error*, or its text where python-pkcs11 has no class for the value."""
    kind = type(error)
    if kind is exceptions.PKCS11Error:
        return str(error)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind.__name__)
    return _IRREGULAR_NAMES.get(kind, f"CKR_{words.upper()}")


def _told(error: exceptions.PKCS11Error) -> str:
    """Return the name of *error* for people, and what python-pkcs11 says where it has no class for the value."""
    return f"{named(str(error))} ({error})" if type(error) is exceptions.PKCS11Error else return_value(error)


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


def log_in(token: Token, vendor: Vendor, pin: Pin | None, *, writable: bool = False) -> Session:
    """
    Return a session on *token*, logged in as *vendor* says, or raise HsmPinRejected, or HsmUnavailable.

    *pin* is None where the HSM asks for it at a device of its own, and only there.
    """
    protected = vendor.login.kind == "protected-path"
    if protected is not (pin is None):
        raise ValueError(f"a login of kind {vendor.login.kind} {'takes no' if protected else 'takes a'} PIN")
    # The stubs allow the standard's user types alone; the number is handed on as it is.
    user_type = None if vendor.login.user_type == "user" else cast("UserType", vendor.login.user_type)
    with mapped(HsmUnavailable, "logging in"):
        return token.open(
            user_pin=PROTECTED_AUTH if protected else pin,
            user_type=user_type,
            rw=writable,
            attribute_mapper=attribute_mapper(),
        )


def attribute_mapper() -> AttributeMapper:
    """Return what turns attributes into values, with those python-pkcs11 does not know."""
    mapper = AttributeMapper()
    mapper.register_handler(Attribute.ALLOWED_MECHANISMS, _pack_mechanisms, _unpack_mechanisms)
    return mapper


def mechanism(vendor: Vendor, role: Role, *, on_curve: bool = False) -> Mechanism:
    """
    Return the one mechanism a key of *role* signs with. But for SHA256_RSA_PKCS and EDDSA, hashing is ours.

    *on_curve* is for an institution key on P-384 (the hypothetical profile jpki-next); other roles have one kind of key.
    """
    match role:
        case Role.INSTITUTION if on_curve:
            return Mechanism.ECDSA
        case Role.INSTITUTION:
            by_module = vendor.signing.rsa == "sha256-rsa-pkcs"
            return Mechanism.SHA256_RSA_PKCS if by_module else Mechanism.RSA_PKCS
        case Role.TOKEN:
            return Mechanism.ECDSA
        case Role.LEDGER:
            return Mechanism.EDDSA if vendor.signing.ledger == "ed25519" else Mechanism.ECDSA


def find_private_key(session: Session, vendor: Vendor, role: Role, pinned: PublicKey) -> PrivateKey:
    """
    Return the one private key that belongs to *pinned*, checked to be safe.

    Raises HsmKeyAbsent, or InstitutionKeyMismatch for the institution's, when there is none; HsmKeyAmbiguous when
    there are several; HsmKeyUnsafe when it could do more than sign.
    """
    with mapped(HsmUnavailable, f"looking for the {role} key"):
        found = (
            _with_modulus(session, pinned)
            if isinstance(pinned, rsa.RSAPublicKey)
            else _with_point(session, vendor, pinned)
        )
    if not found:
        if role is Role.INSTITUTION:
            raise InstitutionKeyMismatch(
                "the token holds no private key for the institution certificate's key"
            )
        raise HsmKeyAbsent(f"the token holds no private key for the pinned {role} key")
    if len(found) > 1:
        raise HsmKeyAmbiguous(f"the token holds {len(found)} private keys for the pinned {role} key")
    refuse_unsafe(found[0], vendor, role)
    return found[0]


def refuse_unsafe(key: PrivateKey, vendor: Vendor, role: Role) -> None:
    """
    Read the attributes of *key* back and raise HsmKeyUnsafe, naming the one that is not as it has to be.

    Every attribute is compared with one value: the standard's, or what the profile says this module reports
    instead. An attribute that the profile calls unknown must be unknown, so that a wrong profile hides nothing.
    """
    for attribute, value in safe_attributes(vendor).items():
        if attribute_of(key, attribute) is not value:
            wanted = "unknown" if value is None else str(value).upper()
            raise HsmKeyUnsafe(
                f"the {role} key has not CKA_{attribute.name} {wanted} (vendor profile {vendor.name})"
            )
    alone = mechanism(vendor, role, on_curve=key.key_type is KeyType.EC)
    match vendor.attributes.allowed_mechanisms:
        case "enforced" | "unenforced":
            if attribute_of(key, Attribute.ALLOWED_MECHANISMS) != (int(alone),):
                raise HsmKeyUnsafe(f"the {role} key has not CKA_ALLOWED_MECHANISMS {alone.name} alone")
        case "unknown":
            if attribute_of(key, Attribute.ALLOWED_MECHANISMS) is not None:
                raise HsmKeyUnsafe(
                    f"the token knows CKA_ALLOWED_MECHANISMS, and profile {vendor.name} denies it"
                )
        case "fixed":
            if int(alone) not in (attribute_of(key, Attribute.ALLOWED_MECHANISMS) or ()):
                raise HsmKeyUnsafe(f"the {role} key has no {alone.name} among its CKA_ALLOWED_MECHANISMS")


def safe_attributes(vendor: Vendor) -> dict[Attribute, bool | None]:
    """Return what a safe key of ours shows in a module of *vendor*; None for what the module does not know."""
    attributes = vendor.attributes
    expected: dict[str, bool] = {str(name): value for name, value in attributes.expected.items()}
    return {
        attribute: None if name in attributes.unreadable else expected.get(name, value)
        for attribute, value in SAFE_ATTRIBUTES.items()
        for name in (f"CKA_{attribute.name}",)
    }


def attribute_of(key: Object, attribute: Attribute) -> Any:  # noqa: ANN401 - an attribute is of any type
    """Return an *attribute* of *key*, or None where the token does not know it."""
    try:
        with read_back(f"CKA_{attribute.name}"):
            return key[attribute]
    except HsmKeyUnsafe as error:
        if isinstance(error.__cause__, exceptions.AttributeTypeInvalid):
            return None
        raise


def encoded_point(vendor: Vendor, key: EdwardsOrWeierstrass) -> bytes:
    """Return CKA_EC_POINT of *key*: the uncompressed, or Edwards, point, in an OCTET STRING or bare."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        point = key.public_bytes_raw()
    else:
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return bytes([0x04, len(point)]) + point if vendor.signing.ec_point == "der" else point


def _with_modulus(session: Session, pinned: rsa.RSAPublicKey) -> list[PrivateKey]:
    modulus = pinned.public_numbers().n
    # Compared as numbers and not by a search template: modules differ in leading zeros.
    return [
        key
        for key in _private_keys(session, {Attribute.KEY_TYPE: KeyType.RSA})
        if int.from_bytes(key[Attribute.MODULUS]) == modulus
    ]


def _with_point(session: Session, vendor: Vendor, pinned: EdwardsOrWeierstrass) -> list[PrivateKey]:
    kind = KeyType.EC_EDWARDS if isinstance(pinned, ed25519.Ed25519PublicKey) else KeyType.EC
    point = encoded_point(vendor, pinned)
    public_keys = session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: kind})
    ids = {key[Attribute.ID] for key in list(public_keys) if key[Attribute.EC_POINT] == point}
    return [
        key for id_ in ids for key in _private_keys(session, {Attribute.KEY_TYPE: kind, Attribute.ID: id_})
    ]


def _private_keys(session: Session, template: dict[Attribute, Any]) -> list[PrivateKey]:
    # The list ends the search before the objects are read: some modules take no other call during one.
    found = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, **template}))
    keys = [key for key in found if isinstance(key, PrivateKey)]
    for unread in found:
        if not isinstance(unread, PrivateKey):
            # python-pkcs11 gives a bare object where the class could not be read. A key that cannot be read is not
            # an absent key: reading again tells why.
            raise HsmUnavailable(f"an object found as a private key is {unread[Attribute.CLASS]!r}")
    return keys


def _pack_mechanisms(mechanisms: tuple[int, ...]) -> bytes:
    return struct.pack(f"{len(mechanisms)}L", *mechanisms)


def _unpack_mechanisms(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"{len(packed) // struct.calcsize('L')}L", packed)
