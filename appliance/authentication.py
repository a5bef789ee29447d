"""
One authentication, from card to token: the use case, and the only place that orders side effects.

    dialogue ──Exchange──────────────> Card      a terminal, one round trip each
             ──InstitutionSignature──> Ledger    reserved, durably, before the key is used
             ────────────────────────> Signer    the institution key in the HSM
    proof    ──trust.proof───────────> Holder    or a refusal
    holder   ──certificate────────────> Revocation   good, or an explicit absence of knowledge; or a refusal
    outcome  ─────────────────────────> Ledger   finished, durably
    result   ─────────────────────────> Tokens   the signed result, with the hash of the evidence

What it needs of the outside it declares here as Protocols; adapters fit them, and `daemon` joins them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final, Protocol, TypeAlias, TypeVar, assert_never

from appliance.card import jpki
from appliance.card.algorithm import as_cards_write
from appliance.card.apdu import Response
from appliance.card.cvc import Chain
from appliance.card.dialogue import Dialogue, Exchange, InstitutionSignature
from appliance.card.jpki import Mode
from appliance.card.nonce import Nonce
from appliance.card.profile import Profile
from appliance.chains import Chains
from appliance.errors import (
    ApplianceError,
    FrontMissing,
    IdentityCheckMissing,
    InstitutionChainRefused,
    LedgerError,
)
from appliance.trust import evidence, proof
from appliance.trust.certificates import Anchors, HolderCertificate
from appliance.trust.evidence import Facts
from appliance.trust.proof import Expectation, Holder
from appliance.trust.revocation import Standing

T = TypeVar("T")
Sign: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Returns the institution's signature over a card's challenge."""
Compare: TypeAlias = Callable[["Card"], Awaitable[None]]
"""Has the holder compared with the front of a card, for the check by the staff's eyes; raises where they differ."""
ENDS_SOON: Final = timedelta(days=90)
"""How long before its end a holder's certificate is worth a warning."""


class Card(Protocol):
    """A card on a terminal, for one power-up of it."""

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps until one answers what it should not, and return the answers; or raise CardError."""


class Signer(Protocol):
    """The institution's keys: one, or two in a rotation."""

    async def sign_challenge(self, challenge: bytes, key: str) -> bytes:
        """
        Return the signature over a card's *challenge* by the institution key of the fingerprint *key*.

        The fingerprint is the SHA-256 of its SubjectPublicKeyInfo, in hexadecimal. Raises HsmError.
        """


class Revocation(Protocol):
    """Who knows whether a certificate was revoked."""

    async def check(self, holder: HolderCertificate, now: datetime) -> Standing:
        """
        Return the standing of *holder* at *now* where it lets the holder in; raise where it does not.

        Raises CertificateRevoked, CertificateUnknown, RevocationStale, RevocationUnavailable and
        RevocationDataInvalid: five different results.
        """


class Tokens(Protocol):
    """Who makes result tokens."""

    async def issue(self, result: "Authentication") -> str:
        """Return the signed token that states *result*, or raise HsmError."""


class Ledger(Protocol):
    """Who remembers every use of a key."""

    @property
    def origin(self) -> str:
        """What the log is called."""

    async def reserve(self, reservation: "Reservation") -> int:
        """
        Make it durable that a key is about to be used, and return the entry's index.

        Raises LedgerError; then no key may be used.
        """

    async def finish(self, reserved: int, outcome: "Authentication | ApplianceError") -> int:
        """Make durable how the authentication that was *reserved* ended; return that entry's index, or raise."""

    def abandon(self, reserved: int) -> None:
        """Have what was *reserved* closed: the authentication ended without an outcome, it was cancelled."""


class CheckMethod(StrEnum):
    """How the holder was checked (本人確認の方法)."""

    FACE = "face"
    VISUAL = "visual"
    PIN = "pin"
    NONE_EMERGENCY = "none_emergency"
    """Nobody could: the patient is unconscious. Two operators have opened a window for that (`emergency`)."""


@dataclass(frozen=True, slots=True)
class IdentityCheck:
    """
    That somebody or something made sure the card is its holder's: *by* a device's or operator's alias.

    Where nobody could, *by* is the emergency window that lets this pass, and *reason* the one it was opened for.
    """

    method: CheckMethod
    by: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Receiver:
    """For whom a token is: an *audience*, None for the usual one, and the *nonce* by which they know it again."""

    audience: str | None = None
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for at a *terminal* (its alias)."""

    mode: Mode
    terminal: str
    identity_check: IdentityCheck | None = None
    last_pin_try: bool = False
    receiver: Receiver = Receiver()

    def require_identity_check(self) -> IdentityCheck:
        """Return how the holder is checked, or raise IdentityCheckMissing."""
        if self.mode is Mode.PIN:
            return IdentityCheck(CheckMethod.PIN, self.terminal)
        if self.identity_check is None or self.identity_check.method is CheckMethod.PIN:
            raise IdentityCheckMissing("a PIN-less authentication needs a face or visual check of the holder")
        return self.identity_check


@dataclass(frozen=True, slots=True)
class Authentication:
    """
    A successful authentication: who, how checked, where, when, and what is known of revocation.

    *evidence* is the document from which all that can be decided again. It is the caller's, and nobody keeps it.
    """

    holder: Holder
    identity_check: IdentityCheck
    terminal: str
    time: datetime
    standing: Standing
    evidence: bytes = field(repr=False)
    log: tuple[str, int] | None = None
    """Origin and index of the ledger entry that announced it."""
    receiver: Receiver = Receiver()

    @property
    def ends_soon(self) -> bool:
        """Whether the holder's certificate is close to its end, so that the holder may be told."""
        return self.holder.certificate.not_after - self.time < ENDS_SOON


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is remembered before a key is used; *challenge* and *key* are SHA-256, for the institution's signature."""

    mode: Mode
    terminal: str
    identity_check: IdentityCheck
    challenge: str | None = None
    key: str | None = None


def _ignore() -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Everything that all authentications of one institution share."""

    profile: Profile
    chains: Chains
    anchors: Anchors
    signer: Signer
    tokens: Tokens
    clock: Callable[[], datetime]
    random: Callable[[int], bytes]
    revocation: Revocation
    ledger: Ledger

    async def authenticate(
        self,
        request: Request,
        card: Card,
        answered: Callable[[], None] = _ignore,
        compare: Compare | None = None,
    ) -> tuple[Authentication, str]:
        """
        Return the result of *request* on *card*, and its token; or raise an ApplianceError.

        *answered* is told when the card has done its part, and may be taken away. A visual check is *compare*, and is made
        here: the front that was seen and the proof are of one card, because both come from one power-up of it.

        The order, each only if all before succeeded: identity check claimed, front compared, dialogue with the card, in which
        the ledger reserves before the institution key signs, proof and certificate at one given time, revocation,
        evidence, outcome in the ledger, token. With PIN the ledger reserves before the dialogue.
        """
        identity_check = request.require_identity_check()
        if identity_check.method is CheckMethod.VISUAL:
            if compare is None:
                raise FrontMissing("nobody has seen the front of this card in this session")
            await compare(card)
        entry = _Entry(self.ledger, request, identity_check)
        try:
            if request.mode is Mode.PIN:
                await entry.reserve()
            result = await self._prove(request, identity_check, card, entry, answered)
            await entry.finish(result)
        except ApplianceError as error:
            await entry.finish(error)
            raise
        finally:
            entry.close()
        return result, await self.tokens.issue(result)

    async def _prove(
        self,
        request: Request,
        identity_check: IdentityCheck,
        card: Card,
        entry: "_Entry",
        answered: Callable[[], None],
    ) -> Authentication:
        nonce = Nonce.from_random(self.random(self.profile.proof.nonce_length))
        chain, answer = await self._converse(request, nonce, card, entry)
        answered()
        expected = Expectation(request.mode, nonce, chain.institution_code, self.profile.proof.algorithm)
        now = self.clock()
        holder = proof.verify(answer, expected, self.anchors, now)
        if request.mode is Mode.PINLESS:
            # Only a genuine card's proof says that a card has taken the chain; a challenge anybody can make up.
            self.chains.taken(chain)
        standing = await self.revocation.check(holder.certificate, now)
        check = (str(identity_check.method), identity_check.by)
        facts = Facts(self.profile, chain, answer, holder, standing, check, request.terminal, now, entry.log)
        document = evidence.build(facts)
        return Authentication(
            holder,
            identity_check,
            request.terminal,
            now,
            standing,
            document,
            entry.log,
            request.receiver,
        )

    async def _converse(
        self, request: Request, nonce: Nonce, card: Card, entry: "_Entry"
    ) -> tuple[Chain, jpki.HolderProof]:
        """Return what *card* answered, and the chain that was used with it."""
        chain = self.chains.preferred
        while True:
            sign = _ChainSigner(self.signer, self.chains, chain, entry).sign
            try:
                return chain, await converse(self._dialogue(request, chain, nonce), card, sign)
            except InstitutionChainRefused:
                # The card refuses before it gives a challenge: nothing has been signed for it.
                offered = self.chains.after(chain)
                if offered is None:
                    raise
                chain = offered

    def _dialogue(self, request: Request, chain: Chain, nonce: Nonce) -> Dialogue[jpki.HolderProof]:
        match request.mode:
            case Mode.PINLESS:
                return jpki.pinless(self.profile, chain, nonce)
            case Mode.PIN:
                return jpki.with_pin(self.profile, nonce, last_try=request.last_pin_try)


@dataclass(frozen=True, slots=True)
class _ChainSigner:
    """The key of one *chain*. It is asked only where a card has taken the chain."""

    signer: Signer
    chains: Chains
    chain: Chain
    entry: "_Entry"

    async def sign(self, challenge: bytes) -> bytes:
        key = self.chains.key(self.chain)
        # Not durable, no signature.
        await self.entry.reserve(challenge, key)
        signature = await self.signer.sign_challenge(challenge, key)
        return as_cards_write(self.chain.leaf.body.shape.algorithm, signature)


@dataclass(slots=True)
class _Entry:
    """What the ledger has of one authentication."""

    ledger: Ledger
    request: Request
    identity_check: IdentityCheck
    log: tuple[str, int] | None = None
    """Where it was reserved."""
    is_open: bool = False

    async def reserve(self, challenge: bytes | None = None, key: str | None = None) -> None:
        reservation = Reservation(
            self.request.mode,
            self.request.terminal,
            self.identity_check,
            None if challenge is None else sha256(challenge).hexdigest(),
            key,
        )
        self.log = (self.ledger.origin, await self.ledger.reserve(reservation))
        self.is_open = True

    async def finish(self, outcome: Authentication | ApplianceError) -> None:
        # Where the ledger has just said that it cannot write, it is left to `close`.
        if self.log is not None and self.is_open and not isinstance(outcome, LedgerError):
            await self.ledger.finish(self.log[1], outcome)
            self.is_open = False

    def close(self) -> None:
        if self.log is not None and self.is_open:
            self.ledger.abandon(self.log[1])


async def converse(dialogue: Dialogue[T], card: Card, sign: Sign) -> T:
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
                answer = await sign(request.challenge)
            case _:
                assert_never(request)
