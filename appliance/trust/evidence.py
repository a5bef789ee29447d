"""
Evidence: one JSON document from which an authentication can be decided again, years later and offline.

Its one form is canonical: members in alphabetical order, no white space, bytes in padded base64, times in UTC to the
second. Anything else is refused before it is read. The document does not prove itself, except by its signatures:
*digest* shows that it is unchanged where no signature covers it, and the result token, or the ledger, names its
SHA-256. It is given to the caller and never kept. The schema is docs/evidence.schema.json.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.card.algorithm import Algorithm
from appliance.card.cvc import Chain
from appliance.card.jpki import HolderProof, Mode
from appliance.card.profile import Profile
from appliance.errors import EvidenceInvalid
from appliance.trust.proof import Holder
from appliance.trust.revocation import Assurance, Lists, Method, OcspAnswer, Revocation, Standing

LARGEST: Final = 256 << 10
"""Bytes. Usual evidence has about 9,000."""
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Position = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]
Moment = Annotated[str, msgspec.Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]


_ENCODER: Final = msgspec.json.Encoder(order="sorted")


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts have in common."""


class ProfilePart(_Part, frozen=True, kw_only=True):
    """Which card profile was followed, and what it assumes that nobody has confirmed."""

    name: Text
    version: Position
    institution_algorithm: Algorithm
    holder_algorithm: Algorithm
    message_pinless: Literal["nonce-institution-code"]
    unverified: tuple[Text, ...]


class InstitutionPart(_Part, frozen=True, kw_only=True):
    """Who asked: the chain that the card takes, and without a PIN the signature over the card's challenge."""

    code: Annotated[str, msgspec.Meta(pattern="^[0-9]{7}$")]
    intermediate: bytes
    leaf: bytes
    challenge: bytes | None
    signature: bytes | None


class HolderPart(_Part, frozen=True, kw_only=True):
    """Who answered, with the path of issuers up to the CA that was believed."""

    certificate: bytes
    signature: bytes
    path: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=1)]


class ListsPart(_Part, frozen=True, kw_only=True):
    """Which CRL was looked into; the list itself may not be passed on, and anyone entitled to it has it."""

    number: Annotated[str, msgspec.Meta(pattern="^[0-9]{1,49}$")]
    digests: tuple[Digest, ...]


class OcspPart(_Part, frozen=True, kw_only=True):
    """The responder's answer and the nonce of the request."""

    response: bytes
    nonce: bytes


class RevocationPart(_Part, frozen=True, kw_only=True):
    """What was known of revocation, when, and from what."""

    result: Revocation
    method: Method
    assurance: Assurance
    checked_at: Moment
    this_update: Moment | None
    next_update: Moment | None
    lists: ListsPart | None
    ocsp: OcspPart | None


class IdentityCheckPart(_Part, frozen=True, kw_only=True):
    """How the holder was checked, and by which device or operator; where nobody could, in which emergency window."""

    method: Text
    by: Text


class LogPosition(_Part, frozen=True, kw_only=True):
    """Where the ledger says that this was about to happen."""

    origin: Text
    index: Position


class Evidence(_Part, frozen=True, kw_only=True):
    """The whole document."""

    type: Literal["jpki-authentication-evidence"] = "jpki-authentication-evidence"
    version: Literal[1] = 1
    profile: ProfilePart
    mode: Mode
    nonce: bytes
    institution: InstitutionPart
    holder: HolderPart
    revocation: RevocationPart
    identity_check: IdentityCheckPart
    terminal: Text
    time: Moment
    log: LogPosition | None
    digest: Digest

    def to_bytes(self) -> bytes:
        """Return the document in its one form."""
        return _ENCODER.encode(self)

    @classmethod
    def from_bytes(cls, document: bytes) -> "Evidence":
        """Return the evidence that *document* is, or raise EvidenceInvalid at the step `form`."""
        if len(document) > LARGEST:
            raise EvidenceInvalid("form", f"evidence has at most {LARGEST} bytes")
        try:
            evidence = msgspec.json.decode(document, type=cls)
            moments = (evidence.time, evidence.revocation.checked_at)
            _ = [parse_moment(moment) for moment in moments]
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise EvidenceInvalid("form", f"the document is not one of ours: {error}") from error
        if evidence.to_bytes() != document:
            raise EvidenceInvalid(
                "form", "the document is not in its one form: a member is moved, doubled or spaced"
            )
        return evidence

    @property
    def sealed(self) -> str:
        """The SHA-256 of the document with an empty *digest*: what *digest* has to be."""
        return sha256(msgspec.structs.replace(self, digest="").to_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What is known at the end of an authentication, and forgotten with it.

    *identity_check* is method and by whom; *log* the origin and index of the ledger entry that announced it.
    """

    profile: Profile
    chain: Chain
    proof: HolderProof
    holder: Holder
    standing: Standing
    identity_check: tuple[str, str]
    terminal: str
    time: datetime
    log: tuple[str, int] | None = None


def build(facts: Facts) -> bytes:
    """Return the evidence of an authentication as the document that the caller gets."""
    profile, chain, proof, holder, standing = (
        facts.profile,
        facts.chain,
        facts.proof,
        facts.holder,
        facts.standing,
    )
    basis = standing.basis
    evidence = Evidence(
        profile=ProfilePart(
            name=profile.name,
            version=profile.version,
            institution_algorithm=profile.institution.algorithm,
            holder_algorithm=profile.proof.algorithm,
            message_pinless=profile.proof.message_pinless,
            unverified=profile.unverified if holder.proved.mode is Mode.PINLESS else (),
        ),
        mode=holder.proved.mode,
        nonce=proof.nonce.octets,
        institution=InstitutionPart(
            code=chain.institution_code,
            intermediate=chain.intermediate.to_bytes(),
            leaf=chain.leaf.to_bytes(),
            challenge=None if proof.institution is None else proof.institution.challenge,
            signature=None if proof.institution is None else proof.institution.signature,
        ),
        holder=HolderPart(
            certificate=proof.certificate,
            signature=proof.signature,
            path=(_der(holder.certificate.issuer),),
        ),
        revocation=RevocationPart(
            result=standing.result,
            method=standing.method,
            assurance=standing.assurance,
            checked_at=moment(standing.checked_at or facts.time),
            this_update=None if standing.this_update is None else moment(standing.this_update),
            next_update=None if standing.next_update is None else moment(standing.next_update),
            lists=ListsPart(number=str(basis.number), digests=basis.digests)
            if isinstance(basis, Lists)
            else None,
            ocsp=OcspPart(response=basis.response, nonce=basis.nonce)
            if isinstance(basis, OcspAnswer)
            else None,
        ),
        identity_check=IdentityCheckPart(method=facts.identity_check[0], by=facts.identity_check[1]),
        terminal=facts.terminal,
        time=moment(facts.time),
        log=None if facts.log is None else LogPosition(origin=facts.log[0], index=facts.log[1]),
        digest="",
    )
    return msgspec.structs.replace(evidence, digest=evidence.sealed).to_bytes()


def moment(time: datetime) -> str:
    """Return *time* as evidence writes it."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def parse_moment(text: str) -> datetime:
    """Return the time that *text* is; ValueError where there is no such time."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
