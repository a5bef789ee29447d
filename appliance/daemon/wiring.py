"""
Wiring: settings in, one appliance out, with its adapters joined to the use case.

What is wrong with the configuration shows here, before a card is touched; what is wrong with the HSM shows when
its workers start.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from appliance.authentication import Authenticator
from appliance.config import Configuration
from appliance.daemon.desks import LocalDesks, ended, watched
from appliance.daemon.endings import Endings
from appliance.daemon.generation import Generation, Generations, Lasting
from appliance.daemon.observed import ObservedCheckpoints
from appliance.daemon.places import hsms
from appliance.errors import EX_CONFIG, ConfigInvalid, HsmError
from appliance.front_reading import FrontReader
from appliance.gateway.day import Day
from appliance.gateway.token import ResultTokens
from appliance.hsm.observer import Observer
from appliance.hsm.pool import Pool
from appliance.ledger import place as ledger_place
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.metrics import Metrics
from appliance.terminals.pcsc import PcscCard
from appliance.terminals.readers import Readers
from appliance.terminals.steps import EnterPin, Observe, ignore, no_pin_entry

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Appliance:
    """One appliance, its workers running. Made by `running`."""

    generations: Generations
    pool: Pool
    ledger: Keeper
    keeping: asyncio.Task[None] = field(repr=False)
    """What keeps the ledger's checkpoints; it ends with the appliance and not before."""
    readers: Readers
    local: LocalDesks
    metrics: Metrics
    endings: Endings

    @property
    def now(self) -> Generation:
        """What the configuration that counts now has made."""
        return self.generations.now

    @property
    def configuration(self) -> Configuration:
        """The configuration that counts now."""
        return self.now.configuration

    @property
    def authenticator(self) -> Authenticator:
        """What authenticates."""
        return self.now.authenticator

    @property
    def tokens(self) -> ResultTokens:
        """What makes result tokens."""
        return self.now.tokens

    @property
    def front_reader(self) -> FrontReader:
        """What reads fronts; raise ConfigInvalid where the configuration names no root for them."""
        return self.now.front_reader

    def card(
        self, enter_pin: EnterPin = no_pin_entry, observe: Observe = ignore
    ) -> AbstractAsyncContextManager[PcscCard]:
        """Give the card on the first local reader (`Readers.card`); raise ConfigInvalid if there is none."""
        if not self.configuration.settings.reader:
            raise ConfigInvalid("no [[reader]] is configured")
        reader = self.configuration.settings.reader[0]
        return self.readers.card(
            reader.alias,
            wait=reader.card_seconds,
            seconds=reader.exchange_seconds,
            enter_pin=enter_pin,
            observe=observe,
        )


@asynccontextmanager
async def running(
    configuration: Configuration,
    *,
    metrics: Metrics | None = None,
    observer: Observer | None = None,
    patient: bool = False,
) -> AsyncIterator[Appliance]:
    """
    Give the appliance that *configuration* describes; what happens is told to *metrics*, and of the HSM to *observer*.

    A *patient* one begins without its HSM, and goes on looking for it: what waiting heals does not keep it down.

    Raises ConfigurationError, InstitutionError, HsmError, LedgerError.
    """
    metrics = metrics or Metrics()
    settings = configuration.settings
    pool = Pool(
        hsms(configuration),
        state=configuration.path(settings.hsm.state),
        start_seconds=settings.hsm.start_seconds,
        sign_seconds=settings.hsm.sign_seconds,
        queue_limit=settings.hsm.queue_limit,
        canary_seconds=settings.hsm.canary_seconds,
        observer=observer or metrics,
    )
    readers, endings = Readers(watched(settings.reader)), Endings(metrics, Day())
    async with (
        _started(pool, patient=patient),
        remembering(configuration, pool, metrics) as (ledger, keeping),
        _begun(configuration, Lasting(pool, ledger.recorder, metrics, endings)) as generations,
        readers,
    ):
        local = LocalDesks(readers, settings.reader, metrics)
        following = asyncio.create_task(local.follow(), name="desks")
        try:
            yield Appliance(generations, pool, ledger, keeping, readers, local, metrics, endings)
        finally:
            await ended(following)


@asynccontextmanager
async def _started(pool: Pool, *, patient: bool) -> AsyncIterator[None]:
    try:
        try:
            await pool.start()
        except HsmError as error:
            # A refused PIN, or none to be had, is nothing that waiting heals.
            if not patient or error.exit_status == EX_CONFIG:
                raise
            _LOG.error("hsm down at start code=%s", error.code)  # no bug: the code says it all
        yield
    finally:
        await pool.close()


@asynccontextmanager
async def _begun(configuration: Configuration, lasting: Lasting) -> AsyncIterator[Generations]:
    generations = Generations(lasting)
    await generations.begin(configuration)
    try:
        yield generations
    finally:
        await generations.close()


@asynccontextmanager
async def remembering(
    configuration: Configuration, pool: Pool, metrics: Metrics
) -> AsyncIterator[tuple[Keeper, "asyncio.Task[None]"]]:
    """Give the ledger, checked against its checkpoints, whose last one is signed at the end; and what keeps them."""
    log = Log(ledger_place.store(configuration), seconds=configuration.settings.ledger.append_seconds)
    keeper = ledger_place.keeper(configuration, log, ObservedCheckpoints(pool, metrics), time.monotonic)
    async with log:
        await keeper.start()
        keeping = asyncio.create_task(keeper.run(), name="ledger")
        try:
            yield keeper, keeping
        finally:
            keeping.cancel()
            await asyncio.wait((keeping,))
            await keeper.end()
        if not keeping.cancelled():
            # It ended by itself: a bug, which must not pass unheard.
            keeping.result()
