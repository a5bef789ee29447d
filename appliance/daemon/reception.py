"""Who asks, and what: the gateway's resources joined with the appliance behind them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from appliance.config import Configuration
from appliance.daemon.condition import Conditions
from appliance.daemon.desks import AllDesks
from appliance.daemon.generation import Generation
from appliance.daemon.remote import Remotes
from appliance.daemon.vigil import Vigil
from appliance.daemon.wiring import Appliance
from appliance.emergency import Emergency
from appliance.errors import ConfigInvalid
from appliance.front_reading import FrontReader
from appliance.gateway import http, resources
from appliance.gateway.authentications import Authentications
from appliance.gateway.emergency import EmergencyWindows
from appliance.gateway.jobs import Jobs
from appliance.gateway.keys import PublishedKeys
from appliance.gateway.live import Live
from appliance.gateway.peers import Directory, Role
from appliance.gateway.services import Services
from appliance.gateway.surface_readings import SurfaceReadings
from appliance.ledger import place as ledger_place
from appliance.ledger.emergency import EmergencyLedger
from appliance.ledger.publication import Publication
from appliance.policy import Policy
from appliance.trust.decision import Trust


@dataclass(frozen=True, slots=True)
class Reception:
    """The gateway of one appliance."""

    application: web.Application
    services: Services
    jobs: Jobs
    authentications: Authentications
    surface: SurfaceReadings
    remotes: Remotes
    conditions: Conditions
    emergency: Emergency

    def change(self, generation: Generation, directory: Directory) -> None:
        """Go by *generation*, and by the peers in *directory*, from the next request on."""
        self.services.keys = PublishedKeys.of(generation.configuration, generation.tokens.public_key)
        self.services.trust = Trust(generation.authenticator.anchors)
        self.surface.reader = _front_reader(generation)
        self.admit(generation, directory)

    def admit(self, generation: Generation, directory: Directory) -> None:
        """Go by the peers in *directory*, and by what *generation* lets them do; no file is read that could be gone."""
        settings = generation.configuration.settings
        self.services.directory = directory
        self.authentications.policy = Policy.of(settings)
        self.emergency.change(settings.policy.emergency_hours, operators_in(directory))
        self.remotes.change(generation)
        self.conditions.forget()

    async def drain(self, seconds: float) -> None:
        """Begin nothing new, tell terminals so, and give what is under way *seconds*."""
        self.services.is_draining = True
        await asyncio.gather(self.jobs.drain(seconds), self.remotes.drain(seconds))


@asynccontextmanager
async def reception(
    configuration: Configuration, appliance: Appliance, vigil: Vigil
) -> AsyncIterator[Reception]:
    """Give the gateway of *appliance*; raise ConfigInvalid."""
    settings = configuration.settings
    generation = appliance.now
    jobs = Jobs(at_once=settings.gateway.authentications, keep_seconds=settings.gateway.result_seconds)
    conditions = Conditions(
        appliance, vigil, lambda: jobs.under_way, lambda: services.shown.ends(services.directory)
    )
    remotes = Remotes(appliance)
    services = Services(
        directory=directory_of(configuration),
        desks=AllDesks(appliance.local, remotes, appliance.metrics, appliance.endings),
        condition=conditions.now,
        keys=PublishedKeys.of(configuration, generation.tokens.public_key),
        trust=Trust(generation.authenticator.anchors),
        log=Publication(ledger_place.store(configuration)),
        clock=_now,
        monotonic=time.monotonic,
    )
    surface = SurfaceReadings(jobs, _front_reader(generation))
    recorder = appliance.ledger.recorder
    emergency = Emergency(
        EmergencyLedger(recorder, _now),
        _now,
        settings.policy.emergency_hours,
        operators_in(services.directory),
        lambda windows: appliance.metrics.emergency(window.is_open for window in windows),
    )
    authentications = Authentications(
        jobs,
        appliance.generations.authenticate,
        appliance.generations,
        Policy.of(settings),
        surface,
        emergency,
    )
    services.offered = authentications
    live = Live(jobs, appliance.endings.day)
    routes = (
        *resources.routes(),
        *authentications.routes(),
        *surface.routes(),
        *remotes.routes(),
        *live.routes(),
        *EmergencyWindows(emergency, recorder.log.origin).routes(),
    )
    made = Reception(
        http.application(services, routes),
        services,
        jobs,
        authentications,
        surface,
        remotes,
        conditions,
        emergency,
    )
    try:
        yield made
    finally:
        await asyncio.gather(jobs.drain(0), remotes.drain(0))
        await emergency.end()
        surface.rendering.close()
        services.close()


def directory_of(configuration: Configuration) -> Directory:
    """Return the peers of *configuration*; raise ConfigInvalid for an account that does not exist."""
    return Directory(configuration.settings.peer, configuration.settings.result.audience)


def operators_in(directory: Directory) -> frozenset[str]:
    """Return who may open emergency windows."""
    return frozenset(peer.alias for peer in directory.peers.values() if peer.role is Role.OPERATOR)


def _now() -> datetime:
    return datetime.now(UTC)


def _front_reader(generation: Generation) -> FrontReader | None:
    try:
        return generation.front_reader
    except ConfigInvalid:
        return None
