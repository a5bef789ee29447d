"""
Speaks with a token from a process of its own: `python -m tests.hsm.probe FOLDER COMMAND …`, JSON on standard output.

python-pkcs11 stays out of the process that runs the tests, as it stays out of the daemon.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import PrivateKey, Session
from pkcs11.util.rsa import decode_rsa_private_key

from appliance.errors import ApplianceError
from appliance.hsm import softhsm
from appliance.hsm.messages import Role
from appliance.hsm.pkcs11.keys import NewKey, make_key, make_keys
from appliance.hsm.pkcs11.pin import locked_credential
from appliance.hsm.pkcs11.token import (
    SAFE_ATTRIBUTES,
    find_token,
    load_module,
    log_in,
    mechanism,
    return_value,
)
from appliance.hsm.vendor import SOFTHSM

SECRET_PARTS = {
    "institution": (
        Attribute.PRIVATE_EXPONENT,
        Attribute.PRIME_1,
        Attribute.PRIME_2,
        Attribute.EXPONENT_1,
        Attribute.EXPONENT_2,
        Attribute.COEFFICIENT,
    ),
    "token": (Attribute.VALUE,),
    "ledger": (Attribute.VALUE,),
}


def private_key(session: Session, role: str) -> PrivateKey:
    """Return the private key labelled *role*."""
    key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=role)
    assert isinstance(key, PrivateKey)
    return key


def attributes(session: Session, role: str) -> dict[str, bool]:
    """Return the attributes that make a key safe, as the token tells them."""
    return {name.name: private_key(session, role)[name] for name in SAFE_ATTRIBUTES}


def secret_parts(session: Session, role: str) -> dict[str, str]:
    """Try to read each secret part of a key; return how the token answered."""
    answers = {}
    for name in SECRET_PARTS[role]:
        try:
            answers[name.name] = private_key(session, role)[name].hex()
        except PKCS11Error as error:
            answers[name.name] = return_value(error)
    return answers


def make_extractable(session: Session, role: str) -> str:
    """Turn EXTRACTABLE of a key on; return how the token answered."""
    try:
        private_key(session, role)[Attribute.EXTRACTABLE] = True
    except PKCS11Error as error:
        return return_value(error)
    return "CKR_OK"


def change(session: Session, role: str, attribute: str) -> str:
    """Turn an attribute of a key on."""
    private_key(session, role)[Attribute[attribute]] = True
    return "CKR_OK"


def _safe_template() -> dict[Attribute, Any]:
    decided_by_token = {Attribute.LOCAL, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE}
    return {name: wanted for name, wanted in SAFE_ATTRIBUTES.items() if name not in decided_by_token} | {
        Attribute.ALLOWED_MECHANISMS: (int(mechanism(SOFTHSM, Role.INSTITUTION)),)
    }


def generate(session: Session, *switches: str) -> str:
    """Make an RSA key that is safe but for the attributes turned over; return its public half as PEM."""
    template = _safe_template()
    for switch in switches:
        if switch == "ALLOWED_MECHANISMS":
            del template[Attribute.ALLOWED_MECHANISMS]
        else:
            template[Attribute[switch]] = not template[Attribute[switch]]
    public, _ = session.generate_keypair(
        KeyType.RSA, 2048, id=b"unsafe", label="unsafe", store=True, private_template=template
    )
    numbers = rsa.RSAPublicNumbers(
        int.from_bytes(public[Attribute.PUBLIC_EXPONENT]), int.from_bytes(public[Attribute.MODULUS])
    )
    return numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def import_key(session: Session) -> str:
    """Import an RSA key that is safe in all other respects; return its public half as PEM."""
    key = rsa.generate_private_key(65537, 2048)
    encoded = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    template = decode_rsa_private_key(encoded)
    template.update(_safe_template() | {Attribute.LABEL: "imported"})
    session.create_object(template)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def copy(session: Session, role: str) -> str:
    """Make a second object of a private key."""
    private_key(session, role).copy({Attribute.LABEL: "copy", Attribute.TOKEN: True})
    return "CKR_OK"


def relink(session: Session, role: str) -> str:
    """Make a new P-256 pair and give the old public key's CKA_ID to the new private key."""
    public = session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=role)
    old_id = public[Attribute.ID]
    make_key(session, SOFTHSM, NewKey(Role.TOKEN, "other", b"other"))
    private_key(session, role)[Attribute.ID] = b"moved"
    private_key(session, "other")[Attribute.ID] = old_id
    return "CKR_OK"


def make_again(session: Session) -> str:
    """Try to make the appliance's keys once more; return the error."""
    try:
        make_keys(session, SOFTHSM)
    except ApplianceError as error:
        return str(error)
    return "made"


def make_another(session: Session, label: str) -> str:
    """Make another institution key; return its public half as PEM."""
    pem = make_key(session, SOFTHSM, NewKey(Role.INSTITUTION, label, label.encode()))
    load_pem_public_key(pem)
    return pem.decode()


COMMANDS: dict[str, Callable[..., object]] = {
    command.__name__: command
    for command in (
        attributes,
        secret_parts,
        make_extractable,
        change,
        generate,
        import_key,
        copy,
        relink,
        make_again,
        make_another,
    )
}


def main(folder: Path, command: str, *arguments: str) -> None:
    """Log in to the token in *folder* and print what *command* finds."""
    os.environ.update(softhsm.environment(folder))
    token = find_token(load_module(str(softhsm.MODULE)), softhsm.TOKEN_LABEL)
    locked = locked_credential(folder / softhsm.USER_PIN, str(softhsm.MODULE), softhsm.TOKEN_LABEL)
    with locked as credential, credential.pin() as pin:
        session = log_in(token, SOFTHSM, pin, writable=True)
    json.dump(COMMANDS[command](session, *arguments), sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
