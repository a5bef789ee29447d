"""
Module, token and keys as a transcript tells of them: read from the HSM, turned into text, numbers and truth values.

Imported by `process` alone, because it reads through python-pkcs11.
"""

import hashlib
import platform
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cryptography
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, Mechanism, ObjectClass, exceptions
from pkcs11.types import Object, Session, Token
from pkcs11.types import PublicKey as PublicObject

from appliance import __version__
from appliance.errors import ApplianceError, HsmModuleUnusable, HsmUnavailable
from appliance.hsm.ceremony.errand import Taken
from appliance.hsm.ceremony.plan import KeyPlan
from appliance.hsm.ceremony.transcript import (
    AttributeValue,
    KeyRecord,
    Module,
    Software,
    TokenIdentity,
    VendorRecord,
    fingerprint,
    public_half,
)
from appliance.hsm.pkcs11.keys import public_key
from appliance.hsm.pkcs11.signing import SigningKey
from appliance.hsm.pkcs11.token import mapped, mechanism
from appliance.hsm.vendor import Vendor

_ATTRIBUTES = (
    *(Attribute.CLASS, Attribute.KEY_TYPE, Attribute.LABEL, Attribute.ID),
    *(Attribute.TOKEN, Attribute.PRIVATE, Attribute.MODIFIABLE, Attribute.COPYABLE, Attribute.DESTROYABLE),
    *(Attribute.LOCAL, Attribute.KEY_GEN_MECHANISM, Attribute.ALLOWED_MECHANISMS),
    *(Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.EXTRACTABLE, Attribute.NEVER_EXTRACTABLE),
    *(Attribute.SIGN, Attribute.SIGN_RECOVER, Attribute.DECRYPT, Attribute.UNWRAP, Attribute.DERIVE),
    *(Attribute.ALWAYS_AUTHENTICATE, Attribute.WRAP_WITH_TRUSTED),
)
"""What is read back of a private key: all that says what it is and what it can be made to do."""

_GENERATION = {
    "rsa-2048": Mechanism.RSA_PKCS_KEY_PAIR_GEN,
    "p-256": Mechanism.EC_KEY_PAIR_GEN,
    "ed25519": Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
}


def software() -> Software:
    """Return the versions of what runs."""
    return Software(
        appliance=__version__,
        cryptography=cryptography.__version__,
        python=platform.python_version(),
        python_pkcs11=version("python-pkcs11"),
    )


def module_identity(path: str, module: Any) -> Module:  # noqa: ANN401 - python-pkcs11 does not export its type
    """Return what *module*, loaded from *path*, says of itself, and the hash of its file."""
    try:
        hashed = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise HsmModuleUnusable(f"{path} cannot be read: {error.strerror}") from error
    return Module(
        path=path,
        sha256=hashed,
        description=_text(module.library_description),
        manufacturer=_text(module.manufacturer_id),
        version=_version(module.library_version),
        cryptoki=_version(module.cryptoki_version),
    )


def token_identity(token: Token) -> TokenIdentity:
    """Return what *token* says of itself."""
    return TokenIdentity(
        label=_text(token.label),
        manufacturer=_text(token.manufacturer_id),
        model=_text(token.model),
        serial=_text(token.serial.decode("ascii", "replace")),
        hardware=_version(token.hardware_version),
        firmware=_version(token.firmware_version),
    )


def vendor_record(vendor: Vendor) -> VendorRecord:
    """Return what *vendor* says, as far as keys are judged by it."""
    attributes = vendor.attributes
    return VendorRecord(
        name=vendor.name,
        tested=vendor.tested,
        omitted=tuple(sorted(attributes.omitted)),
        unreadable=tuple(sorted(attributes.unreadable)),
        expected={str(name): value for name, value in attributes.expected.items()},
        allowed_mechanisms=attributes.allowed_mechanisms,
        deviations=vendor.deviations,
    )


def key_record(vendor: Vendor, key: SigningKey) -> KeyRecord:
    """Return what the token shows of *key*."""
    half = public_half(key.role, key.pinned.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    attributes = {f"CKA_{name.name}": _attribute(key.private, name) for name in _ATTRIBUTES}
    return KeyRecord(
        role=key.role,
        algorithm=half.algorithm,
        public_key=half.public_key,
        fingerprint=half.fingerprint,
        label=str(attributes["CKA_LABEL"]),
        id=str(attributes["CKA_ID"]),
        mechanism=_name(mechanism(vendor, key.role)),
        attributes=attributes,
    )


def missing_mechanisms(token: Token, vendor: Vendor, keys: tuple[KeyPlan, ...]) -> tuple[str, ...]:
    """Return the names of mechanisms that *keys* need and *token* does not offer."""
    with mapped(HsmUnavailable, "asking for mechanisms"):
        offered = set(token.slot.get_mechanisms())
    needed = {needed for key in keys for needed in (_GENERATION[key.algorithm], mechanism(vendor, key.role))}
    return tuple(sorted(_name(name) for name in needed - offered))


def taken(session: Session, vendor: Vendor, keys: tuple[KeyPlan, ...]) -> tuple[Taken, ...]:
    """Return the keys that *session* sees in the token and that bear the label or the id of one of *keys*."""
    return tuple(
        Taken(
            kind="public key" if isinstance(found, PublicObject) else "private key",
            label=_text(str(_attribute(found, Attribute.LABEL))),
            id=str(_attribute(found, Attribute.ID)),
            fingerprint=_fingerprint(vendor, found),
        )
        for found in _named(session, [{Attribute.LABEL: key.label} for key in keys])
        + [
            found
            for found in _named(session, [{Attribute.ID: bytes.fromhex(key.id)} for key in keys])
            if _attribute(found, Attribute.LABEL) not in {key.label for key in keys}
        ]
    )


def destroy(session: Session, keys: tuple[KeyPlan, ...]) -> None:
    """Destroy the keys in the token that bear both the label and the id of one of *keys*."""
    with mapped(HsmUnavailable, "destroying keys that were not given out"):
        for found in _named(
            session, [{Attribute.LABEL: key.label, Attribute.ID: bytes.fromhex(key.id)} for key in keys]
        ):
            found.destroy()


def _named(session: Session, templates: list[dict[Attribute, Any]]) -> list[Object]:
    with mapped(HsmUnavailable, "looking for keys of the same name"):
        return [
            found
            for template in templates
            for kind in (ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY)
            # The list ends the search before objects are read: some modules take no other call during one.
            for found in list(session.get_objects({Attribute.CLASS: kind, **template}))
        ]


def _fingerprint(vendor: Vendor, found: Object) -> str | None:
    if not isinstance(found, PublicObject):
        return None
    try:
        return fingerprint(public_key(vendor, found))
    except ApplianceError:
        return None  # somebody else's key, of a kind we do not make


def _attribute(found: Object, name: Attribute) -> AttributeValue:
    """Return an attribute for people to read; None where the module does not know or does not show it."""
    try:
        with mapped(HsmUnavailable, f"reading CKA_{name.name}"):
            value = found[name]
    # python-pkcs11 raises NotImplementedError for an attribute that it has no reading for.
    except NotImplementedError:
        return None
    except HsmUnavailable as error:
        if isinstance(error.__cause__, exceptions.AttributeTypeInvalid | exceptions.AttributeSensitive):
            return None
        raise
    return tuple(map(_name, value)) if name is Attribute.ALLOWED_MECHANISMS else _shown(value)


def _shown(value: object) -> bool | int | str:
    match value:
        case Mechanism():
            return _name(value)
        case Enum():
            return value.name
        case bytes():
            return value.hex()
        case bool() | int():
            return value
        case _:
            return _text(str(value))


def _name(number: int) -> str:
    try:
        return f"CKM_{Mechanism(number).name}"
    except ValueError:
        return f"{number:#010x}"


def _text(said: str) -> str:
    # What modules say is padded, and not always text.
    return "".join(character if character.isprintable() else "?" for character in said.strip("\0 "))


def _version(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}"
