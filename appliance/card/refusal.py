"""
What it means when a card answers what a step does not expect.

One table for the steps that prove the institution and the holder, one rule for credentials: PIN and 照合番号B are
queried first, tried once, and say how many tries are left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from appliance.card.apdu import SUCCESS, Response
from appliance.card.dialogue import Step, VerifyHolder
from appliance.card.profile import StatusWord
from appliance.errors import (
    CardError,
    CardNotJpki,
    CardRemoved,
    CardStatusUnexpected,
    CardWithoutFront,
    CardWithoutInstitutionMode,
    InstitutionChainRefused,
    InstitutionSignatureRefused,
    PinBlocked,
    PinLastTry,
    PinRejected,
    VerificationNumberBlocked,
    VerificationNumberLastTry,
    VerificationNumberRejected,
)

MEANINGS: Final[dict[str, dict[int, type[CardError]]]] = {
    "select-application": {0x6A82: CardNotJpki},
    "select-surface": {0x6A82: CardWithoutFront},
    "select-anchor": {0x6A82: CardWithoutInstitutionMode},
    "load-body": dict.fromkeys((0x6D00, 0x6E00, 0x6A86, 0x6700, 0x6985), CardWithoutInstitutionMode),
    "load-signature": dict.fromkeys((0x6700, 0x6985, 0x6A80, 0x6A88), InstitutionChainRefused),
    "present-signature": {
        0x6300: InstitutionSignatureRefused,
        # What a card says that was reset, or put in another's place, since it gave its challenge. One that does not know
        # the command (6D00, 6E00) is more likely to show that the profile is wrong: that step is UNVERIFIED.
        **dict.fromkeys((0x6985, 0x6986), CardRemoved),
    },
}
"""What a status word that a step does not expect means (ruling 6); anything else is unexpected."""

_TRIES: Final = 0x63C0
_MOST_TRIES: Final = 15


@dataclass(frozen=True, slots=True)
class Credential:
    """A PIN or 照合番号B: the names of its two steps, and what can become of it."""

    query: str
    verify: str
    rejected: type[PinRejected | VerificationNumberRejected]
    blocked: type[CardError]
    last_try: type[CardError]


PIN: Final = Credential("query-pin", "verify-holder", PinRejected, PinBlocked, PinLastTry)
VERIFICATION_NUMBER: Final = Credential(
    "query-number",
    "verify-number",
    VerificationNumberRejected,
    VerificationNumberBlocked,
    VerificationNumberLastTry,
)
_BY_STEP: Final = {
    step: credential
    for credential in (PIN, VERIFICATION_NUMBER)
    for step in (credential.query, credential.verify)
}


def enough_tries(*, last_try: bool) -> frozenset[int]:
    """Return what a query may answer for the credential to be tried: two tries left, or one on demand."""
    fewest = 1 if last_try else 2
    return frozenset({SUCCESS, *range(_TRIES + fewest, _TRIES + _MOST_TRIES + 1)})


def require(
    steps: Sequence[Step | VerifyHolder], responses: Sequence[Response], blocked: Sequence[StatusWord]
) -> None:
    """Raise what the first unexpected answer to *steps* means, where there is one; *blocked* as the profile says."""
    for step, response in zip(steps, responses, strict=False):
        if response.status not in step.expect:
            raise _meaning(step.name, response.status, [int(word) for word in blocked])


def _meaning(step: str, status: int, blocked: Sequence[int]) -> CardError:
    tries_left = status - _TRIES
    if (credential := _BY_STEP.get(step)) is not None:
        if status in blocked:
            return credential.blocked("no try is left")
        if step == credential.query and tries_left == 1:
            return credential.last_try("one try is left and was not used")
        if 1 <= tries_left <= _MOST_TRIES:
            return credential.rejected(tries_left)
    if step in MEANINGS and status in MEANINGS[step]:
        return MEANINGS[step][status](f"the card answered {status:04X} to '{step}'")
    return CardStatusUnexpected(step, status)
