"""
The JPKI application's two ways to prove its holder (利用者証明), as dialogues.

    pinless     the institution proves itself first, and the card signs nonce ‖ institution code  2 exchanges
    with_pin    the holder enters the PIN, and the card signs the nonce                          1 exchange

What an unexpected status word means stands in one table, MEANINGS. A card that cannot do one mode is never
asked for the other: that is another request (ruling 6).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from appliance.card import tlv
from appliance.card.algorithm import digest
from appliance.card.apdu import SUCCESS, Command, Response
from appliance.card.cvc import Certificate, Chain
from appliance.card.dialogue import Dialogue, Step, VerifyHolder, exchange, institution_signature
from appliance.card.nonce import Nonce
from appliance.card.profile import FileId, Profile
from appliance.errors import (
    CardAnswerMalformed,
    CardError,
    CardNotJpki,
    CardRemoved,
    CardStatusUnexpected,
    CardWithoutInstitutionMode,
    CertificateTooLong,
    InstitutionChainRefused,
    InstitutionSignatureRefused,
    PinBlocked,
    PinLastTry,
    PinRejected,
)

LONGEST_CERTIFICATE: Final = 2_048
"""Bytes. Holder certificates have about 1,600."""
DIGEST_INFO_SHA256: Final = bytes.fromhex("3031300D060960864801650304020105000420")
"""What stands before a SHA-256 digest in an RSA PKCS#1 v1.5 signature, RFC 8017 §9.2."""

_READ: Final = 256
"""Bytes that one READ BINARY brings, so that the piece's number is the offset's high byte."""
_CERTIFICATE_TAG: Final = 0x30
_TRIES: Final = 0x63C0

_Steps: TypeAlias = tuple[Step | VerifyHolder, ...]


class Mode(StrEnum):
    """How presence was proved."""

    PINLESS = "pinless"
    PIN = "pin"


@dataclass(frozen=True, slots=True)
class HolderProof:
    """
    What the card answered, believed by nobody yet: `trust.proof.verify` makes a `Holder` of it.

    *signature* is the card's, *certificate* the DER of the holder's certificate.
    """

    nonce: Nonce
    signature: bytes
    certificate: bytes


MEANINGS: Final[dict[str, dict[int, type[CardError]]]] = {
    "select-application": {0x6A82: CardNotJpki},
    "select-anchor": {0x6A82: CardWithoutInstitutionMode},
    "load-body": dict.fromkeys((0x6D00, 0x6E00, 0x6A86, 0x6700, 0x6985), CardWithoutInstitutionMode),
    "load-signature": dict.fromkeys((0x6700, 0x6985, 0x6A80, 0x6A88), InstitutionChainRefused),
    "present-signature": {
        0x6300: InstitutionSignatureRefused,
        # What a card says that was reset, or put in another's place, since it gave its challenge.
        **dict.fromkeys((0x6985, 0x6986, 0x6D00, 0x6E00), CardRemoved),
    },
}
"""What a status word that a step does not expect means (ruling 6); anything else is unexpected."""


def pinless(profile: Profile, chain: Chain, nonce: Nonce) -> Dialogue[HolderProof]:
    """
    Have the card sign *nonce* together with the institution code, without a PIN (特定機関認証).

    Two exchanges with one institution signature between them. Raises what MEANINGS says, CardAnswerMalformed
    for answers of the wrong shape, CertificateTooLong.
    """
    institution = profile.institution
    introducing = (
        _select_application(profile),
        _select("select-anchor", profile.files.anchor),
        *_load(profile, chain.intermediate),
        *_load(profile, chain.leaf),
        Step("get-challenge", institution.get_challenge.command(le=institution.challenge_length)),
    )
    responses = yield from exchange(*introducing)
    _require(introducing, responses, profile)
    challenge = responses[-1].data
    if len(challenge) != institution.challenge_length:
        raise CardAnswerMalformed(
            f"the challenge has {len(challenge)} bytes, not {institution.challenge_length}"
        )
    signature = yield from institution_signature(challenge)
    return (
        yield from _prove(
            profile,
            nonce,
            Step("present-signature", institution.present_signature.command(signature, extended=True)),
            _select("select-key", profile.files.key),
            Step("sign", profile.proof.sign_pinless.command(nonce.octets, le=_READ)),
        )
    )


def with_pin(profile: Profile, nonce: Nonce, *, last_try: bool = False) -> Dialogue[HolderProof]:
    """
    Have the card sign *nonce* after its holder entered the PIN. One exchange; no institution key.

    The tries left are queried first, and a single one is not used unless *last_try* allows it. Raises
    PinRejected, PinBlocked, PinLastTry, and what `pinless` raises for the steps they share.
    """
    hashed = digest(profile.proof.algorithm, nonce.octets)
    if profile.proof.input_with_pin == "digest-info":
        hashed = DIGEST_INFO_SHA256 + hashed
    pin = profile.pin
    enough_tries = range(_TRIES + (1 if last_try else 2), _TRIES + 16)
    return (
        yield from _prove(
            profile,
            nonce,
            _select_application(profile),
            _select("select-pin", profile.files.pin),
            Step("query-pin", pin.verify.command(), frozenset({SUCCESS, *enough_tries})),
            VerifyHolder("verify-holder", pin.verify, pin.digits),
            _select("select-key", profile.files.key),
            Step("sign", profile.proof.sign_with_pin.command(hashed, le=_READ)),
        )
    )


def _prove(profile: Profile, nonce: Nonce, *until_signed: Step | VerifyHolder) -> Dialogue[HolderProof]:
    """Do the steps that end with the holder's signature, and read the certificate in the same exchange."""
    proving = (*until_signed, _select("select-certificate", profile.files.certificate))
    responses = yield from exchange(*proving, *_read_certificate())
    _require(proving, responses, profile)
    signature = responses[len(until_signed) - 1].data
    if len(signature) != profile.proof_length:
        raise CardAnswerMalformed(
            f"the holder's signature has {len(signature)} bytes, not {profile.proof_length}"
        )
    return HolderProof(nonce, signature, _certificate(responses[len(proving) :]))


def _select_application(profile: Profile) -> Step:
    return Step("select-application", Command(0x00, 0xA4, 0x04, 0x0C, profile.application.aid))


def _select(name: str, file: FileId) -> Step:
    return Step(name, Command(0x00, 0xA4, 0x02, 0x0C, file))


def _load(profile: Profile, certificate: Certificate) -> tuple[Step, Step]:
    body, signature = certificate.blocks
    return (
        Step("load-body", profile.institution.load_body.command(body, extended=True)),
        Step("load-signature", profile.institution.load_signature.command(signature, extended=True)),
    )


def _read_certificate() -> tuple[Step, ...]:
    """
    Read from the start in pieces of 256 bytes, as many as the longest certificate has.

    Only 9000 is expected, so the far end stops by itself where the file ends (ruling 17).
    """
    return tuple(
        Step("read-certificate", Command(0x00, 0xB0, piece, 0x00, le=_READ))
        for piece in range(LONGEST_CERTIFICATE // _READ)
    )


def _certificate(reads: tuple[Response, ...]) -> bytes:
    """Return the first object of the file that *reads* brought; what follows it is filler."""
    if not reads or reads[0].status != SUCCESS:
        raise CardStatusUnexpected("read-certificate", reads[0].status if reads else 0)
    content = bytearray()
    for read in reads:
        content += read.data
        if len(read.data) != _READ:
            break
    if content[:1] != bytes([_CERTIFICATE_TAG]):
        raise CardAnswerMalformed("the certificate file does not begin with a certificate")
    length = tlv.total_length(bytes(content[:8]))
    if length > LONGEST_CERTIFICATE:
        raise CertificateTooLong(f"the certificate has {length} bytes, more than {LONGEST_CERTIFICATE}")
    if length > len(content):
        raise CardAnswerMalformed(f"the certificate has {length} bytes, {len(content)} could be read")
    return bytes(content[:length])


def _require(steps: _Steps, responses: tuple[Response, ...], profile: Profile) -> None:
    """Raise what the first unexpected answer to *steps* means, where there is one."""
    for step, response in zip(steps, responses, strict=False):
        if response.status not in step.expect:
            raise _meaning(step.name, response.status, profile)


def _meaning(step: str, status: int, profile: Profile) -> CardError:
    if step in {"query-pin", "verify-holder"}:
        tries_left = status - _TRIES
        if status in map(int, profile.pin.blocked):
            return PinBlocked("no try of the PIN is left")
        if step == "query-pin" and tries_left == 1:
            return PinLastTry("one try of the PIN is left and was not used")
        if tries_left in range(1, 16):
            return PinRejected(tries_left)
    if step in MEANINGS and status in MEANINGS[step]:
        return MEANINGS[step][status](f"the card answered {status:04X} to '{step}'")
    return CardStatusUnexpected(step, status)
