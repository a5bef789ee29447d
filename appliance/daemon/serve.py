"""
The daemon's life.

    begin ──▶ parts come up ──▶ sockets open ──▶ READY ──▶ HUP: read again ──▶ READY …
                                                       ──▶ TERM: nothing new begins, terminals are told, what is
                                                           under way ends, sockets close, parts end

Whoever is asked to end twice does not wait for what is under way.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from appliance import __version__, config
from appliance.config import Configuration, GatewaySettings
from appliance.daemon.check import require_sound
from appliance.daemon.condition import Conditions, configured
from appliance.daemon.desks import ended
from appliance.daemon.listeners import Front, Handed, UnixListener, handed_over, server_context, tcp
from appliance.daemon.memory import settle
from appliance.daemon.notify import Notifier
from appliance.daemon.reception import Reception, reception
from appliance.daemon.reload import Reload
from appliance.daemon.vigil import Pulse, Vigil
from appliance.daemon.wiring import Appliance, running
from appliance.errors import RootRefused
from appliance.gateway.connections import Limits, Runner
from appliance.gateway.doorstep import Patience
from appliance.metrics import Metrics

_LOG = logging.getLogger(__name__)
_CLOSING_SECONDS: Final = 5.0
"""What answers get that are being written when all else is over: long polls have ended by then."""


def refuse_root() -> None:
    """Raise RootRefused where this process could do everything."""
    if os.geteuid() == 0:
        raise RootRefused("the appliance runs under an account of its own, which needs no privilege")


class Daemon:
    """The appliance as a service, by the configuration in *file*; *environment* holds what systemd says, *metrics* count."""

    def __init__(
        self, file: Path, environment: MutableMapping[str, str], metrics: Metrics | None = None
    ) -> None:
        self._file = file
        self._metrics = Metrics() if metrics is None else metrics
        self._environment = environment
        self._notifier = Notifier.from_environment(environment)
        self._task: asyncio.Task[None] | None = None
        self._is_ready = False
        self._end, self._hurry, self._again = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """
        Serve until a signal ends it.

        Raises ConfigurationError, InstitutionError, LedgerError, and of HSM errors those that waiting does not heal.
        """
        configuration = config.load(self._file)
        require_sound(configuration)
        handed = handed_over(self._environment)
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number, heard in (
            (signal.SIGTERM, self._stop),
            (signal.SIGINT, self._stop),
            (signal.SIGHUP, self._again.set),
        ):
            loop.add_signal_handler(number, heard)
        try:
            await self._live(configuration, handed)
        except asyncio.CancelledError:
            if self._is_ready or not self._end.is_set():
                raise
            _LOG.info("ended before it was ready")

    def _stop(self) -> None:
        """Begin to end; asked again, hurry."""
        if self._end.is_set():
            self._hurry.set()
        self._end.set()
        if not self._is_ready and self._task is not None and not self._hurry.is_set():
            self._task.cancel()

    async def _live(self, configuration: Configuration, handed: Handed) -> None:
        settings = configuration.settings
        metrics = self._metrics
        know(metrics, configuration)
        pulse = Pulse(metrics)
        self._notifier.status("starting")
        async with running(configuration, metrics=metrics, observer=pulse, patient=True) as appliance:
            vigil = Vigil(
                appliance.pool,
                pulse,
                appliance.ledger,
                appliance.keeping,
                self._notifier,
                settings.hsm.canary_seconds,
                settings.hsm.sign_seconds,
            )
            async with reception(configuration, appliance, vigil) as desk:
                # Here, because as soon as the sockets are open somebody may wait.
                settle()
                async with (
                    counted(configuration, desk.conditions, metrics, handed),
                    opened(configuration, desk, metrics, handed) as front,
                ):
                    watching = asyncio.create_task(vigil.run(), name="vigil")
                    self._is_ready = True
                    try:
                        self._notifier.ready(_status(appliance))
                        _LOG.info("ready version=%s", __version__)
                        await self._serve(Reload(self._file, appliance, desk, front, self._again), appliance)
                        await self._drain(desk, appliance.configuration.settings.gateway)
                    finally:
                        await ended(watching)

    async def _serve(self, reload: Reload, appliance: Appliance) -> None:
        """Read the configuration again as often as that is asked for, until the end begins."""
        ending = asyncio.create_task(self._end.wait())
        try:
            while not self._end.is_set():
                asked = asyncio.create_task(self._again.wait())
                await asyncio.wait((ending, asked), return_when=asyncio.FIRST_COMPLETED)
                await ended(asked)
                if self._end.is_set():
                    return
                self._again.clear()
                self._notifier.reloading()
                reading = asyncio.create_task(reload.run())
                await asyncio.wait((ending, reading), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    await ended(reading)  # the end comes first
                    return
                if reading.result():
                    settle()
                self._notifier.ready(_status(appliance))
        finally:
            await reload.end()
            await ended(ending)

    async def _drain(self, desk: Reception, settings: GatewaySettings) -> None:
        self._notifier.stopping(f"ending; {desk.jobs.under_way} under way")
        _LOG.info("ending under_way=%d", desk.jobs.under_way)
        draining = asyncio.create_task(_drained(desk, settings))
        hurrying = asyncio.create_task(self._hurry.wait())
        await asyncio.wait((draining, hurrying), return_when=asyncio.FIRST_COMPLETED)
        await ended(hurrying)
        if not draining.done():
            await ended(draining)
            # Who waits for a result hears that there will be none.
            await desk.drain(0)
        else:
            draining.result()


async def _drained(desk: Reception, settings: GatewaySettings) -> None:
    """Let what is under way end, and go on answering that there is nothing more until load balancers have noticed."""
    await asyncio.gather(desk.drain(settings.drain_seconds), asyncio.sleep(settings.notice_seconds))


def know(metrics: Metrics, configuration: Configuration) -> None:
    """Make the labels that *metrics* have by *configuration*, so that their series begin at 0."""
    settings = configuration.settings
    configured(configuration, metrics)
    places = [
        *(("directory",) if settings.ledger.copies else ()),
        *(("syslog",) if settings.ledger.syslog else ()),
    ]
    metrics.know_sinks([*places, *(one.key.split("+")[0] for one in settings.ledger.witness)])
    for reader in settings.reader:
        metrics.reader_up.labels(reader.alias)


@asynccontextmanager
async def opened(
    configuration: Configuration, desk: Reception, metrics: Metrics, handed: Handed
) -> AsyncIterator[Front]:
    """Give the gateway's sockets, open; they close at the end, when answers that are being written are."""
    settings = configuration.settings.gateway
    limits = Limits(connections=settings.connections, patience=Patience.for_room(settings.connections))
    runner = Runner(desk.application, limits, seconds=_CLOSING_SECONDS, tell=metrics.connections.refused)
    await runner.setup()
    own: UnixListener | None = None
    try:
        front = Front(runner)
        metrics.connections.look_up(lambda: runner.door.inside, lambda: front.waiting)
        if not handed.local:
            own = UnixListener.open(configuration.path(settings.socket))
        await front.open_local([*handed.local, *(() if own is None else (own.socket,))])
        if settings.tls is not None:
            context, authorities = server_context(configuration, settings.tls)
            listening = handed.network or [
                tcp(settings.tls.address, settings.tls.port, "gateway.tls.address")
            ]
            await front.open_network(listening, context, authorities)
            _LOG.info("listening ports=%s", ",".join(map(str, front.ports)))
        yield front
    finally:
        await runner.cleanup()
        if own is not None:
            own.remove()


@asynccontextmanager
async def counted(
    configuration: Configuration, conditions: Conditions, metrics: Metrics, handed: Handed
) -> AsyncIterator[None]:
    """Answer Prometheus, where that is configured."""
    settings = configuration.settings.metrics
    if settings is None and not handed.metrics:
        yield
        return

    async def scrape(request: web.Request) -> web.Response:
        await conditions.count()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # Writing a thousand lines takes milliseconds, which a signature should not wait for.
        body = await asyncio.to_thread(encode, metrics.registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    application = web.Application()
    application.router.add_get("/metrics", scrape)
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        listening = handed.metrics
        if not listening and settings is not None:
            listening = [tcp(settings.address, settings.port, "metrics.address")]
        for one in listening:
            await web.SockSite(runner, one).start()
            _LOG.info("metrics port=%d", one.getsockname()[1])
        yield
    finally:
        await runner.cleanup()


def _status(appliance: Appliance) -> str:
    health = appliance.pool.health()
    hsm = f"HSM {health.serving}" if health.serving else "no HSM"
    return f"serving; {hsm}; {appliance.ledger.log.size} entries"
