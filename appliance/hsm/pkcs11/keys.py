"""
Keys are made in the token and never imported: one call makes both halves, and only the public one comes out.

What was asked for is read back with the check every start makes, because tokens may ignore what they do not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.constants import DEFAULT
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import PrivateKey, Session
from pkcs11.types import PublicKey as PublicObject

from appliance.errors import (
    ApplianceError,
    ConfigInvalid,
    HsmKeyAmbiguous,
    HsmKeyUnsafe,
    HsmSigningFailed,
)
from appliance.hsm.messages import Role
from appliance.hsm.pkcs11.signing import SigningKey
from appliance.hsm.pkcs11.token import (
    SAFE_ATTRIBUTES,
    PublicKey,
    mapped,
    mechanism,
    read_back,
    refuse_unsafe,
    return_value,
)
from appliance.hsm.vendor import AttributeName, Vendor

_RSA_BITS = 2048
_P384_POINT = 97
_P256 = bytes.fromhex("06082a8648ce3d030107")
"""CKA_EC_PARAMS of P-256: the DER of its object identifier, 1.2.840.10045.3.1.7."""
_P384 = bytes.fromhex("06052b81040022")
"""CKA_EC_PARAMS of P-384: the DER of 1.3.132.0.34."""
_ED25519 = {"oid": bytes.fromhex("06032b6570"), "name": b"\x13\x0cedwards25519"}
"""CKA_EC_PARAMS of Ed25519: the DER of 1.3.101.112, or the name as a PrintableString. Standards allow both."""

_DECIDED_BY_TOKEN = {Attribute.LOCAL, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE}
"""What a template must not contain; the token sets it by what really happened."""

_PUBLIC_TEMPLATE: Mapping[Attribute, Any] = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: False,
    Attribute.VERIFY: True,
    Attribute.ENCRYPT: False,
    Attribute.WRAP: False,
    Attribute.VERIFY_RECOVER: False,
    Attribute.DERIVE: False,
}


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key to be made is for, and what it is called in the token."""

    role: Role
    label: str
    id: bytes
    on_curve: bool = False
    """An institution key on P-384, as the hypothetical profile jpki-next wants it; others have one kind of key."""


APPLIANCE_KEYS = (
    NewKey(Role.INSTITUTION, "institution", b"institution"),
    NewKey(Role.TOKEN, "token", b"token"),
    NewKey(Role.LEDGER, "ledger", b"ledger"),
)
"""The keys of a fresh installation. They are told apart by their public halves, not by these names."""


def make_keys(session: Session, vendor: Vendor, *, on_curve: bool = False) -> dict[Role, bytes]:
    """
    Make the keys of a fresh installation through a writable *session*; return their public halves as PEM.

    With *on_curve* the institution's key is one on P-384.
    """
    return {
        new.role: make_key(session, vendor, replace(new, on_curve=on_curve and new.role is Role.INSTITUTION))
        for new in APPLIANCE_KEYS
    }


def make_key(session: Session, vendor: Vendor, new: NewKey) -> bytes:
    """
    Make one key pair through a writable *session* and return the public half as PEM.

    Raises HsmKeyAmbiguous where the token has an object of that label or id, and HsmKeyUnsafe, after destroying the
    pair, where the token has not made it as it was told. The same for other errors while the key is tried; where the pair
    could not be destroyed, they say so. ConfigInvalid where the module has no such keys.
    """
    if (new.on_curve or new.role is not Role.INSTITUTION) and not vendor.signing.ec:
        raise ConfigInvalid(f"a module of profile {vendor.name} makes no EC keys, so no {new.role} key")
    _refuse_taken(session, new)
    with mapped(HsmSigningFailed, f"making the {new.role} key"):
        public, private = generate_pair(session, vendor, new)
    try:
        key = public_key(vendor, public)
        refuse_unsafe(private, vendor, new.role)
        SigningKey(vendor, new.role, private, key).canary()
    except ApplianceError as error:
        try:
            private.destroy()
            public.destroy()
        except PKCS11Error as failed:
            # What went wrong first is what happened: an HSM that has gone says nothing about the key.
            left = f"and the new {new.role} key could not be destroyed: {return_value(failed)}"
            raise type(error)(f"{error.detail}, {left}") from error
        raise
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_template(vendor: Vendor, role: Role, *, on_curve: bool = False) -> dict[Attribute, Any]:
    """Return what a private key of *role* is made with; *on_curve* as in `token.mechanism`."""
    template: dict[Attribute, Any] = {
        name: wanted for name, wanted in SAFE_ATTRIBUTES.items() if name not in _DECIDED_BY_TOKEN
    }
    if vendor.attributes.allowed_mechanisms in {"enforced", "unenforced"}:
        template[Attribute.ALLOWED_MECHANISMS] = (int(mechanism(vendor, role, on_curve=on_curve)),)
    return _without_omitted(vendor, template)


def template_names() -> tuple[AttributeName, ...]:
    """Return the names of all attributes our templates hold, but for CKA_ALLOWED_MECHANISMS."""
    held = {*_PUBLIC_TEMPLATE, *SAFE_ATTRIBUTES} - _DECIDED_BY_TOKEN
    return tuple(name for name in get_args(AttributeName) if Attribute[name.removeprefix("CKA_")] in held)


def generate_pair(session: Session, vendor: Vendor, new: NewKey) -> tuple[PublicObject, PrivateKey]:
    """Have the token make a pair, and check nothing: `make_key` is the one to call. Raises python-pkcs11's errors."""
    names: dict[str, Any] = {
        "id": new.id,
        "label": new.label,
        "store": True,
        "private_template": private_template(vendor, new.role, on_curve=new.on_curve),
    }
    public = _without_omitted(vendor, _PUBLIC_TEMPLATE)
    match mechanism(vendor, new.role, on_curve=new.on_curve):
        case Mechanism.EDDSA:
            curve = _ED25519[vendor.signing.ed25519_params]
            public[Attribute.EC_PARAMS] = curve
            return session.generate_keypair(KeyType.EC_EDWARDS, public_template=public, **names)
        case Mechanism.ECDSA:
            public[Attribute.EC_PARAMS] = _P384 if new.on_curve else _P256
            return session.generate_keypair(KeyType.EC, public_template=public, **names)
        case _:
            return session.generate_keypair(KeyType.RSA, _RSA_BITS, public_template=public, **names)


def public_key(vendor: Vendor, public: PublicObject) -> PublicKey:
    """Return the public key that the object *public* holds, or raise HsmKeyUnsafe, or HsmUnavailable."""
    with read_back("a new public key"):
        kind = public.key_type
        if kind is KeyType.RSA:
            modulus, exponent = public[Attribute.MODULUS], public[Attribute.PUBLIC_EXPONENT]
            return rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()
        point: bytes = public[Attribute.EC_POINT]
    if vendor.signing.ec_point == "der":
        if point[:1] != b"\x04" or len(point) < 2 or point[1] != len(point) - 2:
            raise HsmKeyUnsafe(f"CKA_EC_POINT is no OCTET STRING, and profile {vendor.name} says it is")
        point = point[2:]
    try:
        if kind is KeyType.EC_EDWARDS:
            return ed25519.Ed25519PublicKey.from_public_bytes(point)
        curve = ec.SECP384R1() if len(point) == _P384_POINT else ec.SECP256R1()
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    except ValueError as error:
        raise HsmKeyUnsafe("CKA_EC_POINT of a new key is not a point of its curve") from error


def _without_omitted(vendor: Vendor, template: Mapping[Attribute, Any]) -> dict[Attribute, Any]:
    # DEFAULT is python-pkcs11's word for "say nothing"; it would add attributes of its own otherwise.
    omitted = {Attribute[name.removeprefix("CKA_")]: DEFAULT for name in vendor.attributes.omitted}
    return {**template, **omitted}


def _refuse_taken(session: Session, new: NewKey) -> None:
    with mapped(HsmSigningFailed, "looking for keys of the same name"):
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
            for name, value in ((Attribute.LABEL, new.label), (Attribute.ID, new.id)):
                if list(session.get_objects({Attribute.CLASS: kind, name: value})):
                    raise HsmKeyAmbiguous(
                        f"the token has an object with the {name.name.lower()} of '{new.label}'"
                    )
