"""
Keys are made in the token and never imported: one call makes both halves, and only the public one comes out.

What was asked for is read back with the check every start makes, because tokens may ignore what they do not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.types import PrivateKey, Session
from pkcs11.types import PublicKey as PublicObject

from appliance.errors import ApplianceError, HsmKeyAmbiguous, HsmKeyUnsafe, HsmSigningFailed
from appliance.hsm.messages import Role
from appliance.hsm.signing import SigningKey
from appliance.hsm.token import MECHANISMS, SAFE_ATTRIBUTES, PublicKey, mapped, refuse_unsafe

_RSA_BITS = 2048
_P256 = bytes.fromhex("06082a8648ce3d030107")
"""CKA_EC_PARAMS of P-256: the DER of its object identifier, 1.2.840.10045.3.1.7."""

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


APPLIANCE_KEYS = (
    NewKey(Role.INSTITUTION, "institution", b"institution"),
    NewKey(Role.TOKEN, "token", b"token"),
)
"""The keys of a fresh installation. They are told apart by their public halves, not by these names."""


def make_keys(session: Session) -> dict[Role, bytes]:
    """Make the keys of a fresh installation through a writable *session*; return their public halves as PEM."""
    return {new.role: make_key(session, new) for new in APPLIANCE_KEYS}


def make_key(session: Session, new: NewKey) -> bytes:
    """
    Make one key pair through a writable *session* and return the public half as PEM.

    Raises HsmKeyAmbiguous where the token has an object of that label or id, and HsmKeyUnsafe, after destroying the
    pair, where the token has not made it as it was told.
    """
    _refuse_taken(session, new)
    private_template = {
        **{name: wanted for name, wanted in SAFE_ATTRIBUTES.items() if name not in _DECIDED_BY_TOKEN},
        Attribute.ALLOWED_MECHANISMS: (int(MECHANISMS[new.role]),),
    }
    with mapped(HsmSigningFailed, f"making the {new.role} key"):
        public, private = _generate(session, new, private_template)
    try:
        key = _public_key(public)
        refuse_unsafe(private, new.role)
        SigningKey(new.role, private, key).canary()
    except ApplianceError:
        with mapped(HsmKeyUnsafe, f"destroying the unsafe {new.role} key"):
            private.destroy()
            public.destroy()
        raise
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _generate(
    session: Session, new: NewKey, private_template: dict[Attribute, Any]
) -> tuple[PublicObject, PrivateKey]:
    names: dict[str, Any] = {
        "id": new.id,
        "label": new.label,
        "store": True,
        "private_template": private_template,
    }
    match new.role:
        case Role.INSTITUTION:
            return session.generate_keypair(
                KeyType.RSA, _RSA_BITS, public_template=dict(_PUBLIC_TEMPLATE), **names
            )
        case Role.TOKEN:
            curve = {**_PUBLIC_TEMPLATE, Attribute.EC_PARAMS: _P256}
            return session.generate_keypair(KeyType.EC, public_template=curve, **names)


def _public_key(public: PublicObject) -> PublicKey:
    with mapped(HsmKeyUnsafe, "reading a new public key"):
        if public.key_type is KeyType.RSA:
            modulus, exponent = public[Attribute.MODULUS], public[Attribute.PUBLIC_EXPONENT]
            return rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()
        point: bytes = public[Attribute.EC_POINT]
    # A DER OCTET STRING around an uncompressed point of 65 bytes; some modules give the bare point.
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point.removeprefix(b"\x04\x41"))


def _refuse_taken(session: Session, new: NewKey) -> None:
    with mapped(HsmSigningFailed, "looking for keys of the same name"):
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
            for name, value in ((Attribute.LABEL, new.label), (Attribute.ID, new.id)):
                if list(session.get_objects({Attribute.CLASS: kind, name: value})):
                    raise HsmKeyAmbiguous(
                        f"the token has an object with the {name.name.lower()} of '{new.label}'"
                    )
