"""The longest probe: make a key as the appliance would, read it back, use it, and try to misuse it."""

from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec.structs import replace
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import PrivateKey
from pkcs11.types import PublicKey as PublicObject

from appliance.hsm.conformance.bench import MESSAGE, Bench, answer, sign
from appliance.hsm.conformance.results import SIGNS, Failed, Finding, KeyMade
from appliance.hsm.conformance.template import Made, Search, TemplateRefused
from appliance.hsm.pkcs11.keys import NewKey, public_key
from appliance.hsm.pkcs11.signing import prepared
from appliance.hsm.pkcs11.token import SAFE_ATTRIBUTES, PublicKey, attribute_of, return_value

_OTHERS = {
    KeyType.RSA: (
        Mechanism.RSA_PKCS,
        Mechanism.SHA256_RSA_PKCS,
        Mechanism.SHA512_RSA_PKCS,
        Mechanism.SHA1_RSA_PKCS,
    ),
    KeyType.EC: (Mechanism.ECDSA_SHA256, Mechanism.ECDSA_SHA1, Mechanism.ECDSA_SHA512),
}
_SECRET_PARTS = {
    KeyType.RSA: (
        Attribute.PRIVATE_EXPONENT,
        Attribute.PRIME_1,
        Attribute.PRIME_2,
        Attribute.EXPONENT_1,
        Attribute.EXPONENT_2,
        Attribute.COEFFICIENT,
    ),
    KeyType.EC: (Attribute.VALUE,),
    KeyType.EC_EDWARDS: (Attribute.VALUE,),
}
_WRAPPED_POINTS = {34, 67}
"""Bytes of an OCTET STRING around an Edwards point of Ed25519, and around an uncompressed point of P-256."""


def key(bench: Bench) -> Finding:
    """Make a key, read it back, sign with it, try to get it out and to use it otherwise."""
    session = bench.log_in(writable=True)
    try:
        made = Search(
            session, bench.order.vendor, NewKey(bench.role, bench.label, bench.label.encode())
        ).made()
    except TemplateRefused as refused:
        return Failed("refused", str(refused))
    private = made.private
    point = _point_form(made.public)
    signed, form = _signature(bench, made, point)
    allowed = attribute_of(private, Attribute.ALLOWED_MECHANISMS)
    attributes = made.vendor.attributes
    omitted: set[str] = {*attributes.omitted}
    if attributes.allowed_mechanisms == "unknown":
        omitted.add("CKA_ALLOWED_MECHANISMS")
    return KeyMade(
        omitted=tuple(sorted(omitted)),
        attributes={f"CKA_{name.name}": attribute_of(private, name) for name in SAFE_ATTRIBUTES},
        allowed=None if allowed is None else tuple(_name(one) for one in allowed),
        signature=signed,
        ec_point=point,
        ecdsa_signature=form,
        ed25519_params=made.vendor.signing.ed25519_params if bench.mechanism is Mechanism.EDDSA else None,
        other_mechanism=_with_other_mechanism(bench, private),
        secret_parts=_secret_parts(private),
        made_extractable=answer(lambda: _make_extractable(private), "CKR_OK"),
    )


def _point_form(public: PublicObject) -> Literal["der", "raw"] | None:
    if public.key_type is KeyType.RSA:
        return None
    point: bytes = public[Attribute.EC_POINT]
    return "der" if len(point) in _WRAPPED_POINTS and point[:2] == bytes([4, len(point) - 2]) else "raw"


def _signature(
    bench: Bench, made: Made, point: Literal["der", "raw"] | None
) -> tuple[str, Literal["raw", "der"] | None]:
    vendor = made.vendor
    if point is not None:
        vendor = replace(vendor, signing=replace(vendor.signing, ec_point=point))
    pinned = public_key(vendor, made.public)
    how = bench.mechanism
    try:
        signature = sign(made.private, prepared(MESSAGE, how), how)
    except PKCS11Error as error:
        return return_value(error), None
    if not isinstance(pinned, ec.EllipticCurvePublicKey):
        return (SIGNS if _verifies(pinned, signature) else "does not verify"), None
    half = len(signature) // 2
    joined = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    if _verifies(pinned, joined):
        return SIGNS, "raw"
    return (SIGNS, "der") if _verifies(pinned, signature) else ("does not verify", None)


def _verifies(pinned: PublicKey, signature: bytes) -> bool:
    try:
        if isinstance(pinned, rsa.RSAPublicKey):
            pinned.verify(signature, MESSAGE, padding.PKCS1v15(), SHA256())
        elif isinstance(pinned, ec.EllipticCurvePublicKey):
            pinned.verify(signature, MESSAGE, ec.ECDSA(SHA256()))
        else:
            pinned.verify(signature, MESSAGE)
    except InvalidSignature:
        return False
    return True


def _with_other_mechanism(bench: Bench, private: PrivateKey) -> str | None:
    listed = set(bench.token.slot.get_mechanisms())
    for other in _OTHERS.get(private.key_type, ()):
        if other in listed and other is not bench.mechanism:
            return _misused(private, other)
    return None


def _misused(private: PrivateKey, other: Mechanism) -> str:
    return answer(lambda: sign(private, bytes(32), other), SIGNS)


def _secret_parts(private: PrivateKey) -> tuple[str, ...]:
    def reading(part: Attribute) -> str:
        return answer(lambda: private[part], "readable")

    return tuple(sorted({reading(part) for part in _SECRET_PARTS[private.key_type]}))


def _make_extractable(private: PrivateKey) -> None:
    private[Attribute.EXTRACTABLE] = True


def _name(value: int) -> str:
    try:
        return f"CKM_{Mechanism(value).name}"
    except ValueError:
        return f"{value:#x}"
