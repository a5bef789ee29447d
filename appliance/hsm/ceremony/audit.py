"""
What can be checked of a transcript with nothing but its file: no HSM, no network, no plan beside it.

It proves that the keys exist, that whoever held the ceremony had them, and that not one byte was changed since. What
the attributes are is stated by the process that read them: that it was our software, on the machine people stood
before, is what operator and witnesses vouch for. They note the statement's hash, and `noted` compares it.
"""

import hashlib
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.card import cvc
from appliance.errors import CeremonyPlanInvalid, InstitutionError, TranscriptInvalid
from appliance.hsm.ceremony import plan as plans
from appliance.hsm.ceremony import request
from appliance.hsm.ceremony.plan import Algorithm, Plan
from appliance.hsm.ceremony.transcript import (
    ChainImported,
    KeyRecord,
    KeysMade,
    PublicHalf,
    Statement,
    Transcript,
    VendorRecord,
    digest,
    from_bytes,
    message,
    public_half,
    read_key,
    verify,
)
from appliance.hsm.messages import Role
from appliance.hsm.vendor import NEVER_SOFTENED, SAFE_KEY

_MECHANISMS: dict[Algorithm, set[str]] = {
    "rsa-2048": {"CKM_SHA256_RSA_PKCS", "CKM_RSA_PKCS"},
    "p-256": {"CKM_ECDSA"},
    "ed25519": {"CKM_EDDSA"},
}


class Check(StrEnum):
    """A step of the audit, in the order of the steps."""

    FORM = "form"
    HASH = "hash"
    PLAN = "plan"
    KEYS = "keys"
    ATTRIBUTES = "attributes"
    REQUEST = "request"
    CHAIN = "chain"
    SIGNATURES = "signatures"


def _silent(_passed: Check) -> None:
    pass


def audit(
    content: bytes, *, noted: str | None = None, passed: Callable[[Check], None] = _silent
) -> Transcript:
    """
    Return the transcript in *content*, or raise TranscriptInvalid; tell *passed* of each check that is passed.

      1. form: the file is a transcript in its one form;
      2. hash: it is that of the statement, and, where given, the one that was *noted*;
      3. plan: its hash is right, and what is stated is what was planned;
      4. keys: each is of its algorithm and has its fingerprint;
      5. attributes: private keys can do what they have to and nothing else, softened only as the vendor profile says;
      6. request: signed by the institution key, for that key, with the planned subject;
         or chain: the leaf is signed by the intermediate's key (and that by the root's), for the key in the token;
      7. signatures: every key of the statement has signed it.
    """
    transcript = from_bytes(content)
    statement = transcript.statement
    passed(Check.FORM)
    hashed = digest(statement).hex()
    if transcript.sha256 != hashed:
        raise TranscriptInvalid("the hash is not that of the statement")
    if noted is not None and not secrets.compare_digest(noted.lower().encode(), hashed.encode()):
        raise TranscriptInvalid("the hash is not the one that was noted")
    passed(Check.HASH)
    plan = _planned(statement)
    passed(Check.PLAN)
    match statement:
        case KeysMade():
            _check_keys_made(statement, plan, passed)
        case ChainImported():
            _check_chain_imported(statement, passed)
        case _:
            assert_never(statement)
    _check_signatures(transcript)
    passed(Check.SIGNATURES)
    return transcript


def _planned(statement: Statement) -> Plan:
    content = statement.plan.encode("utf-8")
    if hashlib.sha256(content).hexdigest() != statement.plan_sha256:
        raise TranscriptInvalid("the plan is not the one whose hash is stated")
    try:
        plan = plans.parse(content)
    except CeremonyPlanInvalid as error:
        raise TranscriptInvalid(f"the plan is none: {error.detail}") from error
    stated = (statement.purpose, statement.operator, statement.witnesses, statement.token.label)
    if stated != (plan.purpose, plan.operator, plan.witnesses, plan.token.label):
        raise TranscriptInvalid("purpose, people or token are not the planned ones")
    if statement.began > statement.ended:
        raise TranscriptInvalid("the ceremony ended before it began")
    return plan


def _check_keys_made(statement: KeysMade, plan: Plan, passed: Callable[[Check], None]) -> None:
    made = [(key.role, key.algorithm, key.label, key.id) for key in statement.keys]
    if made != [(key.role, key.algorithm, key.label, key.id) for key in plan.keys]:
        raise TranscriptInvalid("the keys are not the planned ones")
    if [key.role.value for key in statement.countersigners] != [key.role for key in plan.countersign]:
        raise TranscriptInvalid("the countersigning keys are not the planned ones")
    _check_halves(statement.signers)
    passed(Check.KEYS)
    for key in statement.keys:
        _check_attributes(key, statement.vendor)
    passed(Check.ATTRIBUTES)
    institution = next((key for key in statement.keys if key.role is Role.INSTITUTION), None)
    planned = plan.key(Role.INSTITUTION)
    if institution is None or planned is None or planned.request is None:
        if statement.request is not None:
            raise TranscriptInvalid("there is a request, and no institution key was planned")
        return
    if statement.request is None:
        raise TranscriptInvalid("the request for the institution key is missing")
    request.check(statement.request, planned.request, _rsa(institution.public_key))
    passed(Check.REQUEST)


def _check_chain_imported(statement: ChainImported, passed: Callable[[Check], None]) -> None:
    if statement.key.role is not Role.INSTITUTION:
        raise TranscriptInvalid("the chain is not for an institution key")
    if any(signer.role is Role.INSTITUTION for signer in statement.signers):
        raise TranscriptInvalid("an institution key in service signs no transcript")
    _check_halves((statement.key, *statement.signers))
    passed(Check.KEYS)
    _check_attributes(statement.key, statement.vendor)
    passed(Check.ATTRIBUTES)
    try:
        chain = cvc.check_chain(
            cvc.Certificate.from_bytes(bytes.fromhex(statement.intermediate)),
            cvc.Certificate.from_bytes(bytes.fromhex(statement.leaf)),
            None if statement.root_key is None else _rsa(statement.root_key),
        )
    except InstitutionError as error:
        raise TranscriptInvalid(f"the chain: {error.detail}") from error
    certified = chain.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if hashlib.sha256(certified).hexdigest() != statement.key.fingerprint:
        raise TranscriptInvalid("the leaf certifies another key")
    if chain.institution_code != statement.institution_code:
        raise TranscriptInvalid("the leaf has another institution code")
    passed(Check.CHAIN)


def _check_halves(halves: tuple[PublicHalf, ...]) -> None:
    if not any(half.role is not Role.INSTITUTION for half in halves):
        raise TranscriptInvalid("no token or ledger key signs")
    if len({half.fingerprint for half in halves}) != len(halves):
        raise TranscriptInvalid("a key is named twice")
    for half in halves:
        told = public_half(half.role, half.public_key.encode())
        if (told.algorithm, told.public_key, told.fingerprint) != (
            half.algorithm,
            half.public_key,
            half.fingerprint,
        ):
            raise TranscriptInvalid(
                f"the {half.role} key is not of the algorithm, form or fingerprint stated"
            )


def _check_attributes(key: KeyRecord, vendor: VendorRecord) -> None:
    if NEVER_SOFTENED & (set(vendor.unreadable) | vendor.expected.keys()):
        raise TranscriptInvalid("the vendor profile excuses what no profile may")
    for name, value in SAFE_KEY.items():
        wanted = None if name in vendor.unreadable else vendor.expected.get(name, value)
        if name not in key.attributes or key.attributes[name] is not wanted:
            raise TranscriptInvalid(f"the {key.role} key has not {name} {wanted}")
    if key.mechanism not in _MECHANISMS[key.algorithm]:
        raise TranscriptInvalid(f"the {key.role} key does not sign with {key.mechanism}")
    allowed = key.attributes.get("CKA_ALLOWED_MECHANISMS")
    match vendor.allowed_mechanisms:
        case "enforced" | "unenforced":
            limited = allowed == (key.mechanism,)
        case "unknown":
            limited = allowed is None
        case "fixed":
            limited = isinstance(allowed, tuple) and key.mechanism in allowed
        case _:
            assert_never(vendor.allowed_mechanisms)
    if not limited:
        raise TranscriptInvalid(
            f"the {key.role} key has not CKA_ALLOWED_MECHANISMS as its vendor profile says"
        )


def _check_signatures(transcript: Transcript) -> None:
    signers = transcript.statement.signers
    if [signed.fingerprint for signed in transcript.signatures] != [half.fingerprint for half in signers]:
        raise TranscriptInvalid("the signatures are not by the keys of the statement")
    signed_bytes = message(bytes.fromhex(transcript.sha256))
    for half, signed in zip(signers, transcript.signatures, strict=True):
        verify(read_key(half.public_key.encode()), bytes.fromhex(signed.signature), signed_bytes)


def _rsa(pem: str) -> rsa.RSAPublicKey:
    key = read_key(pem.encode())
    if not isinstance(key, rsa.RSAPublicKey):
        raise TranscriptInvalid("the institution's side has RSA keys alone")
    return key
