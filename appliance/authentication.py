"""
One authentication, from card to token: the use case, and the only place that orders side effects.

    dialogue ──Exchange──────────────> Card      a terminal, one round trip each
             ──InstitutionSignature──> Signer    the institution key in the HSM
    proof    ──trust.proof───────────> Holder    or a refusal
    holder   ─────────────────────────> Tokens   the signed result

What it needs of the outside it declares here as Protocols; adapters fit them, and `daemon` joins them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar, assert_never

from appliance.card import jpki
from appliance.card.apdu import Response
from appliance.card.cvc import Chain
from appliance.card.dialogue import Dialogue, Exchange, InstitutionSignature
from appliance.card.jpki import Mode
from appliance.card.nonce import Nonce
from appliance.card.profile import Profile
from appliance.errors import IdentityCheckMissing
from appliance.trust import proof, revocation
from appliance.trust.certificates import Anchors
from appliance.trust.proof import Expectation, Holder
from appliance.trust.revocation import Standing

T = TypeVar("T")


class Card(Protocol):
    """A card on a terminal, for one power-up of it."""

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps until one answers what it should not, and return the answers; or raise CardError."""


class Signer(Protocol):
    """The institution key."""

    async def sign_challenge(self, challenge: bytes) -> bytes:
        """Return the institution's signature over a card's *challenge*, or raise HsmError."""


class Tokens(Protocol):
    """Who makes result tokens."""

    async def issue(self, result: "Authentication") -> str:
        """Return the signed token that states *result*, or raise HsmError."""


class CheckMethod(StrEnum):
    """How the holder was checked (本人確認の方法)."""

    FACE = "face"
    VISUAL = "visual"
    PIN = "pin"


@dataclass(frozen=True, slots=True)
class IdentityCheck:
    """That somebody or something made sure the card is its holder's: *by* a device's or operator's alias."""

    method: CheckMethod
    by: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for at a *terminal* (its alias)."""

    mode: Mode
    terminal: str
    identity_check: IdentityCheck | None = None
    last_pin_try: bool = False

    def require_identity_check(self) -> IdentityCheck:
        """Return how the holder is checked, or raise IdentityCheckMissing."""
        if self.mode is Mode.PIN:
            return IdentityCheck(CheckMethod.PIN, self.terminal)
        if self.identity_check is None or self.identity_check.method is CheckMethod.PIN:
            raise IdentityCheckMissing("a PIN-less authentication needs a face or visual check of the holder")
        return self.identity_check


@dataclass(frozen=True, slots=True)
class Authentication:
    """A successful authentication: who, how checked, where, when, and what is known of revocation."""

    holder: Holder
    identity_check: IdentityCheck
    terminal: str
    time: datetime
    standing: Standing


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Everything that all authentications of one institution share."""

    profile: Profile
    chain: Chain
    anchors: Anchors
    signer: Signer
    tokens: Tokens
    clock: Callable[[], datetime]
    random: Callable[[int], bytes]

    async def authenticate(self, request: Request, card: Card) -> tuple[Authentication, str]:
        """
        Return the result of *request* on *card*, and its token; or raise an ApplianceError.

        The order, each only if all before succeeded: identity check claimed, dialogue with the card,
        proof and certificate at one given time, token.
        """
        identity_check = request.require_identity_check()
        nonce = Nonce.from_random(self.random(self.profile.proof.nonce_length))
        expected = Expectation(request.mode, nonce, self.chain.institution_code, self.profile.proof.algorithm)
        answer = await converse(self._dialogue(request, nonce), card, self.signer)
        now = self.clock()
        holder = proof.verify(answer, expected, self.anchors, now)
        result = Authentication(holder, identity_check, request.terminal, now, revocation.UNCHECKED)
        return result, await self.tokens.issue(result)

    def _dialogue(self, request: Request, nonce: Nonce) -> Dialogue[jpki.HolderProof]:
        match request.mode:
            case Mode.PINLESS:
                return jpki.pinless(self.profile, self.chain, nonce)
            case Mode.PIN:
                return jpki.with_pin(self.profile, nonce, last_try=request.last_pin_try)


async def converse(dialogue: Dialogue[T], card: Card, signer: Signer) -> T:
    """
    Drive *dialogue* to its end and return its result.

    Only `next` and `send` stand inside `try`: a StopIteration out of a card or signer must not look like the
    dialogue's success.
    """
    answer: tuple[Response, ...] | bytes | None = None
    while True:
        try:
            request = next(dialogue) if answer is None else dialogue.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        match request:
            case Exchange():
                answer = await card.exchange(request)
            case InstitutionSignature():
                answer = await signer.sign_challenge(request.challenge)
            case _:
                assert_never(request)
