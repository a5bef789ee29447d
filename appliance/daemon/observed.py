"""
The use case's adapters, each with a clock beside it: what they do is told to the metrics, and nothing is changed.

Thin on purpose: they stand between every authentication and its card, its ledger and its keys.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from appliance.authentication import Authentication, Card, Ledger, Reservation, Revocation, Signer, Tokens
from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange
from appliance.eligibility.asking import Eligibility
from appliance.eligibility.service import Answer, Question
from appliance.errors import ApplianceError, LedgerError
from appliance.ledger.keeper import CheckpointSigner
from appliance.metrics import ANSWERED, CANCELLED, OTHER, Metrics
from appliance.trust.certificates import HolderCertificate
from appliance.trust.revocation import Standing


@dataclass(frozen=True, slots=True)
class ObservedCard:
    """A *card* whose answers are counted (`authentication.Card`)."""

    card: Card
    metrics: Metrics

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps of *exchange*."""
        began = perf_counter()
        try:
            responses = await self.card.exchange(exchange)
        finally:
            self.metrics.phase("exchange", perf_counter() - began)
        for step, response in zip(exchange.steps, responses, strict=False):
            self.metrics.answered(step.name, response.status)
        return responses


@dataclass(frozen=True, slots=True)
class ObservedSigner:
    """A *signer* whose time is taken (`authentication.Signer`)."""

    signer: Signer
    metrics: Metrics

    async def sign_challenge(self, challenge: bytes, key: str) -> bytes:
        """Return the institution's signature over *challenge*."""
        began = perf_counter()
        try:
            return await self.signer.sign_challenge(challenge, key)
        finally:
            self.metrics.phase("institution-signature", perf_counter() - began)


@dataclass(frozen=True, slots=True)
class ObservedTokens:
    """A maker of *tokens* whose time is taken (`authentication.Tokens`)."""

    tokens: Tokens
    metrics: Metrics

    async def issue(self, result: Authentication) -> str:
        """Return the signed token that states *result*."""
        began = perf_counter()
        try:
            return await self.tokens.issue(result)
        finally:
            self.metrics.phase("token", perf_counter() - began)


@dataclass(frozen=True, slots=True)
class ObservedRevocation:
    """A source of *revocation* whose time is taken (`authentication.Revocation`). What it found, it tells itself."""

    revocation: Revocation
    metrics: Metrics

    async def check(self, holder: HolderCertificate, now: datetime) -> Standing:
        """Return the standing of *holder* at *now*."""
        self.metrics.holder_certificate(holder.not_after - now)
        began = perf_counter()
        try:
            return await self.revocation.check(holder, now)
        finally:
            self.metrics.phase("revocation", perf_counter() - began)


@dataclass(frozen=True, slots=True)
class ObservedEligibility:
    """An eligibility *service* of which it is counted what becomes of questions to it."""

    service: Eligibility
    metrics: Metrics

    async def ask(self, question: Question) -> Answer:
        """Return the answer to *question*."""
        began, outcome = perf_counter(), OTHER
        try:
            answer = await self.service.ask(question)
            outcome = ANSWERED
        except asyncio.CancelledError:
            outcome = CANCELLED
            raise
        except ApplianceError as error:
            outcome = error.code
            raise
        else:
            return answer
        finally:
            self.metrics.eligibility.asked(outcome, perf_counter() - began)


@dataclass(frozen=True, slots=True)
class ObservedLedger:
    """A *ledger* whose appends are timed, and whose failures are counted (`authentication.Ledger`)."""

    ledger: Ledger
    metrics: Metrics

    @property
    def origin(self) -> str:
        """What the log is called."""
        return self.ledger.origin

    async def reserve(self, reservation: Reservation) -> int:
        """Make it durable that a key is about to be used."""
        began = perf_counter()
        try:
            index = await self.ledger.reserve(reservation)
        except LedgerError:
            self.metrics.ledger_failed("store")
            raise
        self._appended("reserve", perf_counter() - began)
        return index

    async def finish(self, reserved: int, outcome: Authentication | ApplianceError) -> int:
        """Make durable how the authentication that was *reserved* ended."""
        began = perf_counter()
        try:
            index = await self.ledger.finish(reserved, outcome)
        except LedgerError:
            self.metrics.ledger_failed("store")
            raise
        self._appended("finish", perf_counter() - began)
        return index

    def abandon(self, reserved: int) -> None:
        """Have what was *reserved* closed."""
        self.ledger.abandon(reserved)

    def _appended(self, phase: str, seconds: float) -> None:
        self.metrics.phase(phase, seconds)
        self.metrics.appended(seconds)


@dataclass(frozen=True, slots=True)
class ObservedCheckpoints:
    """A *signer* of checkpoints, of which it is known when it last signed (`ledger.keeper.CheckpointSigner`)."""

    signer: CheckpointSigner
    metrics: Metrics

    async def sign_checkpoint(self, text: bytes) -> bytes:
        """Return the signature over a checkpoint's *text*."""
        signature = await self.signer.sign_checkpoint(text)
        self.metrics.covered(datetime.now(UTC))
        return signature
