"""
Everything that one reading of the configuration has made, and that the next one replaces as a whole.

An authentication that is under way ends with what it began with. The old generation is given up when its last user
has left, so that a reload drops nobody.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from time import perf_counter
from typing import Final
from uuid import uuid4

from appliance.authentication import Authentication, Authenticator, Card, CheckMethod, Compare, Request
from appliance.card.jpki import Mode
from appliance.chains import Chains
from appliance.config import Configuration, ReaderSettings, RemoteSettings, Settings
from appliance.daemon.endings import Endings
from appliance.daemon.keys import load_chains, load_front_root, load_profile, load_token_key, spki
from appliance.daemon.observed import (
    ObservedEligibility,
    ObservedLedger,
    ObservedRevocation,
    ObservedSigner,
    ObservedTokens,
)
from appliance.eligibility.asking import Eligibility
from appliance.eligibility.place import eligibility
from appliance.eligibility.service import Answer, Question
from appliance.errors import ApplianceError, ConfigInvalid, EligibilityNotConfigured
from appliance.front_reading import FrontReader
from appliance.gateway.token import ResultTokens, claims_of
from appliance.hsm.messages import Terms, fingerprint
from appliance.hsm.pool import Pool
from appliance.ledger.authentications import AuthenticationLedger
from appliance.ledger.recorder import Recorder
from appliance.metrics import AUTHENTICATED, CANCELLED, OTHER, Metrics
from appliance.revocation.knowledge import knowledge
from appliance.revocation.policy import Sources
from appliance.trust.certificates import Anchors
from appliance.trust.pseudonym import PseudonymKey

_EXCHANGES: Final = 4
"""With a card, at most: two for its front, two for the proof without PIN."""
_UNASKED_SECONDS: Final = 120.0
"""For all that waits for no person and no card: signatures, revocation, the ledger, and the wire to a terminal."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """What no reload replaces, and every generation uses."""

    pool: Pool
    recorder: Recorder
    metrics: Metrics
    endings: Endings


@dataclass(frozen=True, slots=True)
class _Signer:
    """The institution key in the *pool*, by the *terms* of one generation (`authentication.Signer`)."""

    pool: Pool
    terms: Terms

    async def sign_challenge(self, challenge: bytes, key: str) -> bytes:
        """Return the signature over *challenge* by the key of the fingerprint *key*."""
        return await self.pool.sign_challenge(challenge, key, self.terms)


@dataclass(frozen=True, slots=True)
class Generation:
    """What was made of one *configuration*."""

    configuration: Configuration
    authenticator: Authenticator
    tokens: ResultTokens
    terms: Terms
    revocation: Sources
    eligibility: Eligibility | None = None

    @property
    def front_reader(self) -> FrontReader:
        """What reads fronts; raise ConfigInvalid where the configuration names no root for them."""
        root_key = load_front_root(self.configuration)
        if root_key is None:
            raise ConfigInvalid("trust.front_root is not set, so no front can be read")
        return FrontReader(self.authenticator.profile, root_key, self.authenticator.random)


@asynccontextmanager
async def generation(configuration: Configuration, lasting: Lasting) -> AsyncIterator[Generation]:
    """Give the generation that *configuration* describes; raise ConfigurationError, InstitutionError."""
    settings, metrics = configuration.settings, lasting.metrics
    anchors = Anchors.from_pem(configuration.read(name) for name in settings.trust.authorities)
    pseudonym_key = PseudonymKey(configuration.read_secret(settings.result.pseudonym_key_file))
    token_key = load_token_key(configuration)
    profile, chains = load_profile(configuration), load_chains(configuration)
    terms = Terms(
        settings.result.issuer, settings.result.lifetime_seconds, profile.institution.challenge_length
    )
    tokens = ResultTokens(
        issuer=settings.result.issuer,
        audience=settings.result.audience,
        lifetime=timedelta(seconds=settings.result.lifetime_seconds),
        public_key=token_key,
        pseudonym_key=pseudonym_key,
        sign=partial(lasting.pool.sign_token, key=fingerprint(spki(token_key)), terms=terms),
        new_id=uuid4,
    )
    async with (
        knowledge(configuration, anchors, metrics.trust.revocation_checked) as revocation,
        eligibility(configuration) as service,
    ):
        authenticator = Authenticator(
            profile,
            Chains(*chains),
            anchors,
            ObservedSigner(_Signer(lasting.pool, terms), metrics),
            ObservedTokens(tokens, metrics),
            _now,
            secrets.token_bytes,
            ObservedRevocation(revocation, metrics),
            ObservedLedger(AuthenticationLedger(lasting.recorder, pseudonym_key, _now), metrics),
        )
        yield Generation(configuration, authenticator, tokens, terms, revocation, service)


@dataclass(slots=True)
class _Held:
    """A generation, how to give it up, and how many use it."""

    generation: Generation
    stack: AsyncExitStack
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)


class Generations:
    """The generation in use, and those before that have users. Use `begin`, `replace` and `close`."""

    def __init__(self, lasting: Lasting) -> None:
        self._lasting = lasting
        self._held: _Held | None = None
        self._leaving: dict[asyncio.Task[None], float] = {}
        """What gives those up that were in use before, and how long their settings let an authentication take."""

    @property
    def now(self) -> Generation:
        """The generation in use."""
        if self._held is None:
            raise ValueError("no generation has begun")
        return self._held.generation

    async def begin(self, configuration: Configuration) -> None:
        """Use the generation that *configuration* describes, or raise."""
        async with self.prepared(configuration) as take_over:
            take_over()

    @asynccontextmanager
    async def prepared(self, configuration: Configuration) -> AsyncIterator[Callable[[], None]]:
        """
        Have the generation that *configuration* describes ready, or raise; give what makes it the one in use.

        Where that is not called in the block, all stays as it was.
        """
        stack = AsyncExitStack()
        made: _Held | None = _Held(
            await stack.enter_async_context(generation(configuration, self._lasting)), stack
        )

        def take_over() -> None:
            nonlocal made
            old, self._held, made = self._held, made, None
            if old is not None:
                self._retire(old)

        try:
            yield take_over
        finally:
            if made is not None:
                await stack.aclose()

    def rename(self, configuration: Configuration) -> None:
        """Have the generation in use be that of *configuration*, which differs in nothing that a generation is made of."""
        if self._held is None:
            raise ValueError("no generation has begun")
        self._held.generation = replace(self._held.generation, configuration=configuration)

    async def left(self) -> None:
        """Wait until nobody uses a generation before the present one: as long as an authentication with it may take."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=max(self._leaving.values()))

    @contextmanager
    def use(self) -> Iterator[Generation]:
        """Give the generation in use, which lasts until the block ends."""
        held = self._held
        if held is None:
            raise ValueError("no generation has begun")
        held.users += 1
        try:
            yield held.generation
        finally:
            held.users -= 1
            if not held.users:
                held.unused.set()

    async def authenticate(
        self, request: Request, card: Card, answered: Callable[[], None], compare: Compare | None = None
    ) -> tuple[Authentication, str]:
        """Return the result of *request* on *card*, and its token (`gateway.authentications.Authenticate`)."""
        began, outcome = perf_counter(), OTHER

        async def compared(card: Card) -> None:
            nonlocal began
            if compare is not None:
                await compare(card)
            # How long a person looks at a front says nothing of the appliance.
            began = perf_counter()

        try:
            with self.use() as used:
                done = await used.authenticator.authenticate(
                    request, card, answered, None if compare is None else compared
                )
            outcome = AUTHENTICATED
        except ApplianceError as error:
            outcome = error.code
            raise
        except asyncio.CancelledError:
            outcome = CANCELLED
            raise
        else:
            return done
        finally:
            check = CheckMethod.PIN if request.mode is Mode.PIN else None
            if request.identity_check is not None:
                check = request.identity_check.method
            self._lasting.endings.ended(
                request.terminal, request.mode, check, outcome, perf_counter() - began
            )

    @property
    def is_configured(self) -> bool:
        """Whether there is an eligibility service (`gateway.eligibility.Eligibility`)."""
        return self.now.eligibility is not None

    async def ask(self, token: str, desk: str, request_id: str) -> Answer:
        """Return what the eligibility service says of the holder of *token*, which is ours; raise EligibilityError."""
        with self.use() as used:
            if used.eligibility is None:
                raise EligibilityNotConfigured("there is no eligibility service any more")
            said = claims_of(token)
            question = Question(
                token,
                said["sub"],
                desk,
                request_id,
                said["institution_code"],
                said["identity_check"]["method"],
            )
            return await ObservedEligibility(used.eligibility, self._lasting.metrics).ask(question)

    async def close(self) -> None:
        """Give everything up, whoever uses it."""
        for task in self._leaving:
            task.cancel()
        if self._leaving:
            await asyncio.wait(self._leaving)
        if self._held is not None:
            await self._held.stack.aclose()
            self._held = None

    def _retire(self, held: _Held) -> None:
        task = asyncio.create_task(_given_up(held), name="generation-leaving")
        self._leaving[task] = longest_authentication(held.generation.configuration.settings)
        task.add_done_callback(self._leaving.__delitem__)


def longest_authentication(settings: Settings) -> float:
    """Return how many seconds an authentication may take by *settings*, wherever it is and whatever is checked."""
    places: tuple[ReaderSettings | RemoteSettings, ...] = (settings.terminals, *settings.reader)
    card_and_holder = max(
        one.card_seconds + _EXCHANGES * one.exchange_seconds + one.pin_seconds for one in places
    )
    return card_and_holder + settings.policy.decision_seconds + _UNASKED_SECONDS


async def _given_up(held: _Held) -> None:
    try:
        while held.users:
            held.unused.clear()
            await held.unused.wait()
    finally:
        await held.stack.aclose()


def _now() -> datetime:
    return datetime.now(UTC)
