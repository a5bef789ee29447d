"""
The JPKI application's two ways to prove its holder (利用者証明), as dialogues.

    pinless     the institution proves itself first, and the card signs nonce ‖ institution code  2 exchanges
    with_pin    the holder enters the PIN, and the card signs the nonce                          1 exchange

What an unexpected status word means is in `refusal`. A card that cannot do one mode is never asked for the other:
that is another request (ruling 6).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from appliance.card import token_info
from appliance.card.algorithm import digest
from appliance.card.apdu import Command, Response
from appliance.card.cvc import Certificate, Chain
from appliance.card.dialogue import Dialogue, Step, VerifyHolder, exchange, institution_signature
from appliance.card.file import (
    READ,
    ObjectTooLong,
    first_object,
    read_pieces,
    select_application,
    select_file,
)
from appliance.card.nonce import Nonce
from appliance.card.profile import Profile
from appliance.card.refusal import PIN, enough_tries, require
from appliance.card.token_info import Kind, Presence, TokenInfo
from appliance.errors import CardAnswerMalformed, CardStatusUnexpected, CardWithoutPin, CertificateTooLong

LONGEST_CERTIFICATE: Final = 2_048
"""Bytes. Holder certificates have about 1,600."""
DIGEST_INFO_SHA256: Final = bytes.fromhex("3031300D060960864801650304020105000420")
"""What stands before a SHA-256 digest in an RSA PKCS#1 v1.5 signature, RFC 8017 §9.2."""

_CERTIFICATE: Final = 0x30


class Mode(StrEnum):
    """How presence was proved."""

    PINLESS = "pinless"
    PIN = "pin"


@dataclass(frozen=True, slots=True)
class InstitutionProof:
    """How the institution proved itself to the card: its *signature* over the card's *challenge*."""

    challenge: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class HolderProof:
    """
    What the card answered, believed by nobody yet: `trust.proof.verify` makes a `Holder` of it.

    *signature* is the card's, *certificate* the DER of the holder's certificate. *institution*, without a PIN, is what
    came before; evidence keeps it.
    """

    nonce: Nonce
    signature: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    institution: InstitutionProof | None = None


@dataclass(frozen=True, slots=True)
class CardInspection:
    """What kind of token is on the reader, and which certificates it holds."""

    token: TokenInfo
    certificates: Presence


def pinless(profile: Profile, chain: Chain, nonce: Nonce) -> Dialogue[HolderProof]:
    """
    Have the card sign *nonce* together with the institution code, without a PIN (特定機関認証).

    Two exchanges with one institution signature between them. Raises what `refusal` says, CardAnswerMalformed
    for answers of the wrong shape, CertificateTooLong.
    """
    institution = profile.institution
    introducing = (
        select_application("select-application", profile.application.aid),
        select_file("select-anchor", profile.files.anchor),
        *_load(profile, chain.intermediate),
        *_load(profile, chain.leaf),
        Step("get-challenge", institution.get_challenge.command(le=institution.challenge_length)),
    )
    responses = yield from exchange(*introducing)
    require(introducing, responses, profile.pin.blocked)
    challenge = responses[-1].data
    if len(challenge) != institution.challenge_length:
        raise CardAnswerMalformed(
            f"the challenge has {len(challenge)} bytes, not {institution.challenge_length}"
        )
    signature = yield from institution_signature(challenge)
    proof = yield from _prove(
        profile,
        nonce,
        Step("present-signature", institution.present_signature.command(signature, extended=True)),
        select_file("select-key", profile.files.key),
        Step("sign", profile.proof.sign_pinless.command(nonce.octets, le=READ)),
    )
    return replace(proof, institution=InstitutionProof(challenge, signature))


def with_pin(profile: Profile, nonce: Nonce, *, last_try: bool = False) -> Dialogue[HolderProof]:
    """
    Have the card sign *nonce* after its holder entered the PIN. One exchange; no institution key.

    The tries left are queried first, and a single one is not used unless *last_try* allows it. Where none is left, a
    second exchange looks at what kind of card that is. Raises PinRejected, PinBlocked, CardWithoutPin, PinLastTry, and
    what `pinless` raises for the steps they share.
    """
    hashed = digest(profile.proof.algorithm, nonce.octets)
    if profile.proof.input_with_pin == "digest-info":
        hashed = DIGEST_INFO_SHA256 + hashed
    pin = profile.pin
    return (
        yield from _prove(
            profile,
            nonce,
            select_application("select-application", profile.application.aid),
            select_file("select-pin", profile.files.pin),
            Step("query-pin", pin.verify.command(), enough_tries(last_try=last_try)),
            VerifyHolder("verify-holder", pin.verify, pin.digits),
            select_file("select-key", profile.files.key),
            Step("sign", profile.proof.sign_with_pin.command(hashed, le=READ)),
        )
    )


def _prove(profile: Profile, nonce: Nonce, *until_signed: Step | VerifyHolder) -> Dialogue[HolderProof]:
    """Do the steps that end with the holder's signature, and read the certificate in the same exchange."""
    proving = (*until_signed, select_file("select-certificate", profile.files.certificate))
    responses = yield from exchange(
        *proving, *read_pieces("read-certificate", range(LONGEST_CERTIFICATE // READ))
    )
    if _has_no_tries(profile, proving, responses):
        yield from _require_pin(profile)
    require(proving, responses, profile.pin.blocked)
    signature = responses[len(until_signed) - 1].data
    if len(signature) != profile.proof_length:
        raise CardAnswerMalformed(
            f"the holder's signature has {len(signature)} bytes, not {profile.proof_length}"
        )
    try:
        certificate = first_object(
            "read-certificate", _CERTIFICATE, responses[len(proving) :], LONGEST_CERTIFICATE
        )
    except ObjectTooLong as error:
        raise CertificateTooLong(error.detail) from error
    return HolderProof(nonce, signature, certificate)


def _has_no_tries(
    profile: Profile, steps: Sequence[Step | VerifyHolder], responses: Sequence[Response]
) -> bool:
    """Whether the PIN had no try left before anything was tried."""
    if len(responses) > len(steps) or steps[len(responses) - 1].name != PIN.query:
        return False
    return responses[-1].status in {int(word) for word in profile.pin.blocked}


def _require_pin(profile: Profile) -> Dialogue[None]:
    """
    Raise CardWithoutPin where the card, whose PIN has no try left, is as one without PINs (card facts 5).

    Such a card holds a certificate for user authentication and none for signing. A card whose holder wanted no signing
    certificate and has locked the PIN looks the same; what helps is the same, too.
    """
    try:
        found = yield from inspect(profile)
    except (CardAnswerMalformed, CardStatusUnexpected):
        return
    if found.token.kind is Kind.MY_NUMBER_CARD and found.certificates == Presence(
        signing=False, authentication=True
    ):
        raise CardWithoutPin("the PIN has no try, and there is no signing certificate")


def inspect(profile: Profile) -> Dialogue[CardInspection]:
    """Ask what kind of token this is, and which certificates are on it. One exchange, no credential."""
    steps = (
        select_application("select-application", profile.application.aid),
        select_file("select-token-info", profile.files.token_info),
        Step("read-token-info", Command(0x00, 0xB0, 0x00, 0x00, le=token_info.LENGTH)),
        select_file("select-presence", profile.files.presence),
        Step("read-presence", Command(0x00, 0xB0, 0x00, 0x00, le=3)),
    )
    responses = yield from exchange(*steps)
    require(steps, responses, profile.pin.blocked)
    return CardInspection(TokenInfo.from_bytes(responses[2].data), Presence.from_bytes(responses[4].data))


def _load(profile: Profile, certificate: Certificate) -> tuple[Step, Step]:
    body, signature = certificate.blocks
    return (
        Step("load-body", profile.institution.load_body.command(body, extended=True)),
        Step("load-signature", profile.institution.load_signature.command(signature, extended=True)),
    )
