"""
Deciding again: whether evidence shows what it says, step by step, with nothing but the CA files.

A decision is repeated for the time at which it was made, or for another that is asked for: then it tells whether the
same answer of the card would have been accepted at that time.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from appliance.card import algorithm, cvc
from appliance.card.algorithm import PublicKey
from appliance.card.cvc import Chain
from appliance.card.jpki import HolderProof, Mode
from appliance.card.nonce import Nonce
from appliance.errors import ApplianceError, EvidenceInvalid
from appliance.trust import crl, ocsp, proof
from appliance.trust.certificates import Anchors
from appliance.trust.evidence import Evidence, RevocationPart, parse_moment
from appliance.trust.ocsp import Status
from appliance.trust.proof import Expectation, Holder
from appliance.trust.revocation import Assurance, Method, Revocation, Scope, distribution_point

STEPS: Final = (
    *("form", "institution-chain", "institution-signature", "holder-path", "holder-proof"),
    *("revocation", "identity-check", "digest"),
)
"""What is checked, in this order."""
_NOBODY: Final = "none_emergency"
_CHECK_METHODS: Final = {
    Mode.PIN: frozenset({"pin"}),
    Mode.PINLESS: frozenset({"face", "visual", _NOBODY}),
}
_WINDOW: Final = re.compile(r"w-(0|[1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Step:
    """One check that the evidence passed, and what was found."""

    name: str
    finding: str


@dataclass(frozen=True, slots=True)
class Trust:
    """
    What the verifier believes, and may add.

    *institution_root* is the public key of the institutions' root, where it is known. *lists* are the CRLs that the
    verifier holds and is entitled to: with those that the evidence names an answer by CRL is repeated, too.
    """

    anchors: Anchors
    institution_root: PublicKey | None = None
    lists: tuple[bytes, ...] = ()


def decide(document: bytes, trust: Trust, at: datetime | None = None) -> Iterator[Step]:
    """
    Repeat the decision that *document* is evidence of, *at* another time where that is given, and yield each check that it passes.

    Raises EvidenceInvalid, naming the step, at the first check that it fails:
      1. form: it is one of our documents, in the one form;
      2. institution-chain: the card-verifiable certificates certify each other and the code;
      3. institution-signature: without a PIN, the institution's key signed the challenge; with one, there is none;
      4. holder-path: the certificate leads to a CA that is believed, the one that is named, at the time;
      5. holder-proof: the card signed nonce and code, or the nonce alone, as the mode says;
      6. revocation: the answer is what it is based on, as far as that may be passed on, at the time it was given;
      7. identity-check: the holder was checked in a way that goes with the mode, or an emergency window is named;
      8. digest: nothing that no signature covers was changed.
    """
    evidence = Evidence.from_bytes(document)
    made = parse_moment(evidence.time)
    now = at or made
    yield Step(
        "form", f"evidence of {evidence.time}, mode {evidence.mode}, SHA-256 {sha256(document).hexdigest()}"
    )
    with _step("institution-chain"):
        chain = _chain(evidence, trust)
    root = "up to the root given" if trust.institution_root else "its root not given, so not checked"
    yield Step("institution-chain", f"institution {chain.institution_code}, {root}")
    yield Step("institution-signature", _institution_signature(evidence, chain))
    with _step("holder-proof"):
        expected = _expectation(evidence)
    holder = _holder(evidence, expected, trust, now)
    issued = holder.certificate.issuer.not_valid_before_utc
    yield Step("holder-path", f"believed at {now:%Y-%m-%d %H:%M:%S} UTC, by the CA of {issued:%Y-%m-%d}")
    yield Step(
        "holder-proof", f"the card signed our nonce ({evidence.profile.holder_algorithm}), {evidence.mode}"
    )
    with _step("revocation"):
        finding = _revocation(evidence.revocation, holder, trust, made)
    yield Step("revocation", finding)
    yield Step("identity-check", _identity_check(evidence))
    if evidence.digest != evidence.sealed:
        raise EvidenceInvalid("digest", "the document was changed after it was made")
    where = (
        "not in a ledger"
        if evidence.log is None
        else f"ledger {evidence.log.origin}, entry {evidence.log.index}"
    )
    yield Step("digest", f"unchanged; {where}")


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Turn every failure of ours into one of the step *name*."""
    try:
        yield
    except EvidenceInvalid:
        raise
    except (ApplianceError, ValueError) as error:
        raise EvidenceInvalid(name, str(error)) from error


def _chain(evidence: Evidence, trust: Trust) -> Chain:
    part = evidence.institution
    chain = cvc.check_chain(
        cvc.Certificate.from_bytes(part.intermediate),
        cvc.Certificate.from_bytes(part.leaf),
        trust.institution_root,
    )
    if chain.institution_code != part.code:
        raise EvidenceInvalid("institution-chain", "the code is not the certificate's")
    if not algorithm.fits(evidence.profile.institution_algorithm, chain.public_key):
        raise EvidenceInvalid("institution-chain", "the key is not one for the profile's algorithm")
    return chain


def _institution_signature(evidence: Evidence, chain: Chain) -> str:
    part, name = evidence.institution, "institution-signature"
    if evidence.mode is Mode.PIN:
        if part.challenge is not None or part.signature is not None:
            raise EvidenceInvalid(name, "with a PIN the institution signs nothing")
        return "none: with a PIN the institution does not prove itself"
    if part.challenge is None or part.signature is None:
        raise EvidenceInvalid(name, "there is no signature over a challenge")
    if not algorithm.verified(
        evidence.profile.institution_algorithm, chain.public_key, part.signature, part.challenge
    ):
        raise EvidenceInvalid(name, "the institution's key did not sign this challenge")
    return f"the institution's key signed the card's challenge ({evidence.profile.institution_algorithm})"


def _expectation(evidence: Evidence) -> Expectation:
    return Expectation(
        evidence.mode, Nonce(evidence.nonce), evidence.institution.code, evidence.profile.holder_algorithm
    )


def _holder(evidence: Evidence, expected: Expectation, trust: Trust, now: datetime) -> Holder:
    part = evidence.holder
    with _step("holder-path"):
        certificate = proof.believe(part.certificate, trust.anchors, now)
        if certificate.issuer.public_bytes(Encoding.DER) != part.path[0]:
            raise EvidenceInvalid("holder-path", "the path names another issuer than the one that signed")
    with _step("holder-proof"):
        answer = HolderProof(expected.nonce, part.signature, part.certificate)
        return proof.proved(answer, expected, certificate)


def _revocation(part: RevocationPart, holder: Holder, trust: Trust, made: datetime) -> str:
    checked = parse_moment(part.checked_at)
    if checked != made:
        raise EvidenceInvalid("revocation", "it was not checked when the decision was made")
    match part.result, part.method:
        case Revocation.UNCHECKED, Method.NONE:
            if (part.assurance, part.this_update, part.lists, part.ocsp) != (
                Assurance.UNCHECKED,
                None,
                None,
                None,
            ):
                raise EvidenceInvalid("revocation", "it was not checked, and yet says more")
            return "not checked, and the evidence says so"
        case Revocation.GOOD, Method.OCSP if part.ocsp is not None and part.lists is None:
            return _by_ocsp(part, part.ocsp.response, part.ocsp.nonce, holder, made)
        case Revocation.GOOD, Method.CRL if part.lists is not None and part.ocsp is None:
            return _by_lists(part, part.lists.digests, holder, trust, made)
        case _:
            raise EvidenceInvalid("revocation", "result, method and basis do not go together")


def _by_ocsp(part: RevocationPart, response: bytes, nonce: bytes, holder: Holder, made: datetime) -> str:
    answer = ocsp.verify(response, holder.certificate, nonce, made)
    if answer.status is not Status.GOOD or part.assurance not in {Assurance.ONLINE, Assurance.CACHED}:
        raise EvidenceInvalid("revocation", f"the responder said {answer.status}")
    _require_times(part, answer.this_update, answer.next_update)
    return f"good: the responder's answer of {part.this_update} is signed by one that the CA authorised"


def _by_lists(
    part: RevocationPart, digests: tuple[str, ...], holder: Holder, trust: Trust, made: datetime
) -> str:
    if part.this_update is None or part.next_update is None or part.assurance is not Assurance.CACHED:
        raise EvidenceInvalid("revocation", "a list has its times")
    if made > parse_moment(part.next_update):
        raise EvidenceInvalid("revocation", "the list was over when it was used")
    told = f"good by the municipality's list of {part.this_update}"
    held = {sha256(der).hexdigest(): der for der in trust.lists}
    if not digests or any(digest not in held for digest in digests):
        return f"{told}; the list was not given, so this rests on the appliance's word"
    wanted = Scope.of(holder.certificate.issuer, distribution_point(holder.certificate.certificate))
    revoked = False
    for digest in digests:
        # A list that a delta brought up to date may be over by itself; its own time is when it has to be genuine.
        found = crl.verify(held[digest], trust.anchors, crl.begin(held[digest]))
        if found.heading.scope != wanted:
            raise EvidenceInvalid("revocation", "the list is for another municipality or another issuer")
        if (found.heading.base is None) is not (digest == digests[0]):
            raise EvidenceInvalid("revocation", "a complete list comes first, and deltas after it")
        added, removed = found.changes()
        serial = holder.certificate.certificate.serial_number
        revoked = serial in added or (revoked and serial not in removed and found.heading.base is not None)
    if revoked:
        raise EvidenceInvalid("revocation", "the list names the certificate")
    _require_times(part, found.heading.this_update, found.heading.next_update)
    return f"{told}; the list given is that list, genuine, and does not name the certificate"


def _identity_check(evidence: Evidence) -> str:
    method, by, log = evidence.identity_check.method, evidence.identity_check.by, evidence.log
    if method not in _CHECK_METHODS[evidence.mode]:
        raise EvidenceInvalid("identity-check", f"'{method}' does not go with the mode")
    if method != _NOBODY:
        return f"{method}, by {by}"
    window = _WINDOW.fullmatch(by)
    # A window is called after the entry that has proposed it, in the log that later announced this.
    if window is None or log is None or int(window[1]) >= log.index:
        raise EvidenceInvalid("identity-check", "nobody checked the holder, and no emergency window is named")
    return f"{method}: NOBODY checked the holder; emergency window {by} of ledger {log.origin}"


def _require_times(part: RevocationPart, this_update: datetime, next_update: datetime | None) -> None:
    told = [None if text is None else parse_moment(text) for text in (part.this_update, part.next_update)]
    if told != [this_update, next_update]:
        raise EvidenceInvalid("revocation", "the times are not those of the answer")
