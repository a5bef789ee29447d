"""Remote terminals: the relay in `terminals`, joined with the gateway's peers, desks and words."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

from aiohttp import web

from appliance.authentication import Card
from appliance.config import Configuration
from appliance.daemon.generation import Generation
from appliance.daemon.keys import spki
from appliance.daemon.wiring import Appliance
from appliance.errors import TerminalAbsent
from appliance.gateway import desks, http
from appliance.gateway.desks import DeskState, DeskStatus, Progress, Stage
from appliance.gateway.peers import Certificate, credentials
from appliance.gateway.services import PEER
from appliance.hsm.messages import fingerprint
from appliance.hsm.pool import Pool
from appliance.metrics import EXCHANGE, Metrics
from appliance.terminals.desks import Times, Work
from appliance.terminals.messages import Mode
from appliance.terminals.places import Terms
from appliance.terminals.relay import Relay
from appliance.terminals.signing import ScenarioSigner

PATH = "/v1/terminal"
_LONGEST_CONNECTION: Final = 30 * 24 * 3600.0
"""Seconds after which a terminal connects again anyway: timers do not reach for ever."""


class Remotes:
    """The desks of remote terminals (`daemon.desks.Remote`), and the resource at `PATH` where terminals connect."""

    def __init__(self, appliance: Appliance) -> None:
        self._pool, self._generations = appliance.pool, appliance.generations
        now = appliance.now
        self._terms = _terms(now.configuration)
        self._signer = _signer(now, appliance.pool)
        self._issuer = now.tokens.issuer
        self._known_by = _known_by(now.configuration)
        self._relay = Relay(self._terms, self._issuer, self._signer, _Counted(appliance.metrics))

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        return [http.get(PATH, self._serve)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        shown, transport = credentials(request.transport), request.transport
        ending: asyncio.TimerHandle | None = None
        if isinstance(shown, Certificate) and transport is not None:
            # A terminal asks once and stays: its certificate's end has to be waited for.
            seconds = (shown.not_after - datetime.now(UTC)).total_seconds()
            ending = asyncio.get_running_loop().call_later(min(seconds, _LONGEST_CONNECTION), transport.abort)
        try:
            return await self._relay.handler(request, request[PEER].alias)
        finally:
            if ending is not None:
                ending.cancel()

    def status(self) -> Sequence[DeskStatus]:
        """Return how the desks are, those of terminals among them that are away."""
        return [
            DeskStatus(one.desk, "remote", DeskState(one.state.value), one.since)
            for one in self._relay.register.desks()
        ]

    def state(self, desk: str) -> DeskState | None:
        """Return how *desk* is; None where no terminal has it. What a terminal has that has not come yet, nobody knows."""
        if self._is_awaited(desk):
            return DeskState.ABSENT
        state = self._relay.register.state(desk)
        return None if state is None else DeskState(state.value)

    @asynccontextmanager
    async def card(self, desk: str, work: desks.Work, progress: Progress) -> AsyncIterator[Card]:
        """Give the card at *desk* (`Relay.card`)."""
        if self._is_awaited(desk):
            raise TerminalAbsent("that terminal has not come since the appliance was started")
        told = Work(work.session, Mode(work.purpose.value))
        # Its terminal is told what the present generation's key signs, from the beginning on: that has to last.
        with self._generations.use():
            async with self._relay.card(desk, told, lambda stage: progress(Stage(stage.value))) as card:
                yield card

    def _is_awaited(self, desk: str) -> bool:
        """Whether *desk* is of a terminal that is configured and has not said since the start which readers it has."""
        alias = desk.partition(desks.SEPARATOR)[0]
        return alias in self._known_by and not self._relay.register.has_come(alias)

    def change(self, generation: Generation) -> None:
        """Let go of terminals that are not the peers they were, and have all connect again where terms have changed."""
        known_by = _known_by(generation.configuration)
        # A connection shows its certificate once: who is known by another one now has to connect again.
        self._relay.retain([alias for alias, by in known_by.items() if self._known_by.get(alias) == by])
        self._known_by = known_by
        terms, issuer = _terms(generation.configuration), generation.tokens.issuer
        signer = _signer(generation, self._pool)
        if (terms, issuer, _key(signer)) != (self._terms, self._issuer, _key(self._signer)):
            self._terms, self._issuer, self._signer = terms, issuer, signer
            self._relay.renew(terms, issuer, signer)

    async def drain(self, seconds: float) -> None:
        """Send terminals to another node, those with a card after that has ended, within *seconds*."""
        await self._relay.drain(seconds)


class _Counted:
    """What the relay tells, in *metrics* (`terminals.desks.RelayObserver`)."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def connected(self, terminal: str) -> None:
        """Note that *terminal* is there."""
        self._metrics.terminal(terminal, is_connected=True)

    def disconnected(self, terminal: str, code: str | None) -> None:  # noqa: ARG002 - the relay has logged it
        """Note that *terminal* is gone."""
        self._metrics.terminal(terminal, is_connected=False)

    def refused(self, terminal: str, code: str) -> None:
        """Ignore: who is refused is not connected, and the gateway logs it."""

    def exchanged(self, terminal: str, mode: Mode, answers: Sequence[tuple[str, int]], times: Times) -> None:  # noqa: ARG002
        """Note how long it took; the answers are counted where both kinds of cards come by."""
        self._metrics.step(EXCHANGE, "remote", times.seconds)
        if times.waited is not None:
            self._metrics.card_waited(mode, times.waited)


def _terms(configuration: Configuration) -> Terms:
    settings = configuration.settings.terminals
    return Terms(
        heartbeat=settings.heartbeat_seconds,
        exchange=settings.exchange_seconds,
        card=settings.card_seconds,
        pin=settings.pin_seconds,
        most=configuration.settings.gateway.connections,
    )


def _known_by(configuration: Configuration) -> dict[str, tuple[str | None, ...]]:
    """Return by what each terminal is known, by its alias."""
    return {
        one.alias: (one.certificate_sha256, one.certificate_name, one.user, one.group)
        for one in configuration.settings.peer
        if one.role == "terminal"
    }


def _signer(generation: Generation, pool: Pool) -> ScenarioSigner | None:
    if not generation.configuration.settings.terminals.sign_scenarios:
        return None
    tokens = generation.tokens
    sign = partial(pool.sign_scenario, key=fingerprint(spki(tokens.public_key)), terms=generation.terms)
    return ScenarioSigner(tokens.issuer, tokens.public_key, sign, lambda: datetime.now(UTC))


def _key(signer: ScenarioSigner | None) -> object:
    return None if signer is None else signer.key
