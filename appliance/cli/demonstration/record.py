"""What happens in a demonstration, as data: the same for the person's story and for the program's JSON."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from appliance.authentication import Card, Signer
from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange, Step, VerifyHolder

RESTS_ON = {
    "load-body": "institution-certificate-chain",
    "load-signature": "institution-certificate-chain",
    "get-challenge": "challenge-length",
    "present-signature": "present-signature",
    "sign": "holder-proof",
}
"""Which assumption about real cards a step without PIN rests on, by the profile's name for it."""
_SIGNING_RESTS_ON = "institution-signature"


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One part that was made ready."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step with the card: the *command* in hexadecimal, but never a credential; the *status* word."""

    name: str
    command: str
    status: str
    seconds: float
    unverified: bool


@dataclass(frozen=True, slots=True)
class ExchangeRecord:
    """One round trip to the terminal."""

    seconds: float
    steps: tuple[StepRecord, ...]


@dataclass(frozen=True, slots=True)
class SignatureRecord:
    """One signature by the institution key, over a *challenge* of so many bytes."""

    challenge_bytes: int
    seconds: float
    unverified: bool


class Audience(Protocol):
    """Who is told of things as they happen."""

    def part_done(self, part: PartRecord) -> None:
        """Hear that a part is ready."""

    def exchange_done(self, exchange: ExchangeRecord) -> None:
        """Hear that an exchange with the card is over."""

    def signature_done(self, signature: SignatureRecord) -> None:
        """Hear that the institution key has signed."""


class Silence:
    """An audience that does not listen."""

    def part_done(self, part: PartRecord) -> None:
        """Ignore."""

    def exchange_done(self, exchange: ExchangeRecord) -> None:
        """Ignore."""

    def signature_done(self, signature: SignatureRecord) -> None:
        """Ignore."""


@dataclass(slots=True)
class Recorder:
    """
    Writes down what passes between the appliance, its card and its HSM, and tells the *audience*.

    *unverified* are the profile's assumptions that the mode in hand rests on.
    """

    audience: Audience
    unverified: frozenset[str] = frozenset()
    parts: list[PartRecord] = field(default_factory=list)
    exchanges: list[ExchangeRecord] = field(default_factory=list)
    signatures: list[SignatureRecord] = field(default_factory=list)
    _answered: list[tuple[int, float]] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Record the part called *name*, which the block makes ready."""
        began = perf_counter()
        yield
        self.parts.append(PartRecord(name, perf_counter() - began))
        self.audience.part_done(self.parts[-1])

    def observe(self, _step: str, status: int, seconds: float) -> None:
        """Note the answer to a step (`terminals.steps.Observe`); called in the reader's thread."""
        self._answered.append((status, seconds))

    async def exchange(self, card: Card, exchange: Exchange) -> tuple[Response, ...]:
        """Have *card* do *exchange*, and record it as far as it came."""
        began = perf_counter()
        self._answered.clear()
        try:
            return await card.exchange(exchange)
        finally:
            steps = tuple(
                StepRecord(
                    step.name,
                    _shown(step),
                    f"{status:04X}",
                    seconds,
                    RESTS_ON.get(step.name) in self.unverified,
                )
                for step, (status, seconds) in zip(exchange.steps, self._answered, strict=False)
            )
            self.exchanges.append(ExchangeRecord(perf_counter() - began, steps))
            self.audience.exchange_done(self.exchanges[-1])

    async def sign(self, signer: Signer, challenge: bytes, key: str) -> bytes:
        """Have *signer* sign *challenge*, and record that it did."""
        began = perf_counter()
        signature = await signer.sign_challenge(challenge, key)
        done = SignatureRecord(len(challenge), perf_counter() - began, _SIGNING_RESTS_ON in self.unverified)
        self.signatures.append(done)
        self.audience.signature_done(done)
        return signature


@dataclass(frozen=True, slots=True)
class RecordedCard:
    """A *card* whose exchanges are recorded."""

    card: Card
    recorder: Recorder

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps of *exchange* (`authentication.Card`)."""
        return await self.recorder.exchange(self.card, exchange)


@dataclass(frozen=True, slots=True)
class RecordedSigner:
    """A *signer* whose signatures are recorded."""

    signer: Signer
    recorder: Recorder

    async def sign_challenge(self, challenge: bytes, key: str) -> bytes:
        """Return the institution's signature (`authentication.Signer`)."""
        return await self.recorder.sign(self.signer, challenge, key)


_VERIFY = 0x20


def _shown(step: Step | VerifyHolder) -> str:
    """Return the command as it may be seen: of VERIFY, what opens the card is left out."""
    match step:
        case VerifyHolder():
            return step.header.hex().upper()
        case Step() if step.command.ins == _VERIFY:
            return step.command.to_bytes()[:4].hex().upper()
        case Step():
            return step.command.to_bytes().hex().upper()
