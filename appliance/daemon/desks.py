"""
All desks as the gateway needs them (`gateway.desks.Desks`): readers of this machine, and those of remote terminals.

A local desk is called as its reader, `desk-1`; a remote one TERMINAL.READER. An alias has no dot, so none is both.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from appliance.authentication import Card, CheckMethod
from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange, VerifyHolder
from appliance.card.jpki import Mode
from appliance.config import ReaderSettings
from appliance.daemon.endings import Endings
from appliance.daemon.observed import ObservedCard
from appliance.errors import ApplianceError, DeskUnknown
from appliance.gateway.desks import SEPARATOR, DeskState, DeskStatus, Progress, Purpose, Stage, Work
from appliance.metrics import CANCELLED, Metrics
from appliance.terminals.readers import Readers, ReaderStatus
from appliance.terminals.transport import Extended
from appliance.terminals.view import Desk

T = TypeVar("T")


class Remote(Protocol):
    """The desks of remote terminals."""

    def status(self) -> Sequence[DeskStatus]:
        """Return how they are."""

    def state(self, desk: str) -> DeskState | None:
        """Return how *desk* is; None where there is none."""

    def card(self, desk: str, work: Work, progress: Progress) -> AbstractAsyncContextManager[Card]:
        """Give the card at *desk*."""


def watched(readers: Sequence[ReaderSettings]) -> dict[str, Desk]:
    """Return the desks of *readers* as `terminals` wants them."""
    return {
        one.alias: Desk(
            one.name,
            extended=Extended(one.extended),
            delay_seconds=one.delay_seconds,
            pin_pad=one.pin_pad,
            pin_seconds=one.pin_seconds,
        )
        for one in readers
    }


class LocalDesks:
    """The desks of *readers*, which are configured as *settings* say. `follow` keeps note of since when they are so."""

    def __init__(
        self,
        readers: Readers,
        settings: Sequence[ReaderSettings],
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._readers, self._metrics, self._clock = readers, metrics, clock
        self._settings: Mapping[str, ReaderSettings] = {one.alias: one for one in settings}
        self._since: dict[str, tuple[DeskState, float]] = {}
        self._asked: Counter[str] = Counter()
        """How many ask for a desk's card, or have it. A card that is just being let go of keeps nobody away."""

    def status(self) -> tuple[DeskStatus, ...]:
        """Return how the desks are."""
        return tuple(self._status(one) for one in self._readers.status())

    def state(self, desk: str) -> DeskState | None:
        """Return how *desk* is; None where there is none."""
        is_asked = self._asked[desk] > 0
        return next(
            (_state(one, asked=is_asked) for one in self._readers.status() if one.reader == desk), None
        )

    async def follow(self) -> None:
        """Look whenever something happens at a reader, until cancelled."""
        async for _event in self._readers.events():
            self.status()

    @asynccontextmanager
    async def card(self, desk: str, work: Work, progress: Progress) -> AsyncIterator[Card]:  # noqa: ARG002 - every desk's shape
        """Give the card at *desk* (`Readers.card`), or raise DeskUnknown."""
        settings = self._settings.get(desk)
        if settings is None:
            raise DeskUnknown("no reader has this name")
        if not any(one.reader == desk and one.card_present for one in self._readers.status()):
            progress(Stage.WAITING_FOR_CARD)
        opened = self._readers.card(
            desk,
            wait=settings.card_seconds,
            seconds=settings.exchange_seconds,
            observe=lambda step, _status, seconds: self._metrics.step(step, "local", seconds),
        )
        self._asked[desk] += 1
        try:
            self.status()
            async with opened as card:
                yield _ToldCard(card, progress)
        finally:
            self._asked[desk] -= 1
            self.status()

    def _status(self, one: ReaderStatus) -> DeskStatus:
        state = _state(one, asked=self._asked[one.reader] > 0)
        known = self._since.get(one.reader)
        if known is None or known[0] is not state:
            known = self._since[one.reader] = (state, self._clock())
        return DeskStatus(one.reader, "local", *known)


class AllDesks:
    """Desks of this machine, and of *remote* terminals (`gateway.desks.Desks`)."""

    def __init__(self, local: LocalDesks, remote: Remote, metrics: Metrics, endings: Endings) -> None:
        self._local, self._remote, self._metrics, self._endings = local, remote, metrics, endings

    def status(self) -> tuple[DeskStatus, ...]:
        """Return how the desks are, in the order of their names."""
        return tuple(sorted((*self._local.status(), *self._remote.status()), key=lambda one: one.desk))

    def state(self, desk: str) -> DeskState | None:
        """Return how *desk* is; None where there is none."""
        return self._there(desk).state(desk)

    @asynccontextmanager
    async def card(self, desk: str, work: Work, progress: Progress) -> AsyncIterator[Card]:
        """Give the card at *desk*, for one power-up of it."""
        has_card = False
        try:
            async with self._there(desk).card(desk, work, progress) as card:
                has_card = True
                yield ObservedCard(card, self._metrics)
        except (ApplianceError, asyncio.CancelledError) as error:
            if not has_card:
                self._missed(desk, work, error)
            raise

    def _there(self, desk: str) -> Remote:
        return self._remote if SEPARATOR in desk else self._local

    def _missed(self, desk: str, work: Work, error: BaseException) -> None:
        """Count what ended before there was a card. What comes after is counted where it is done."""
        if work.purpose is Purpose.FRONT:
            return
        outcome = error.code if isinstance(error, ApplianceError) else CANCELLED
        mode = Mode.PIN if work.purpose is Purpose.PIN else Mode.PINLESS
        check = {Purpose.PIN: CheckMethod.PIN, Purpose.VISUAL: CheckMethod.VISUAL}.get(work.purpose)
        self._endings.ended(desk, mode, check, outcome, None)


@dataclass(frozen=True, slots=True)
class _ToldCard:
    """A *card* that tells its *progress*."""

    card: Card
    progress: Progress

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps of *exchange*."""
        asks = any(isinstance(step, VerifyHolder) for step in exchange.steps)
        self.progress(Stage.WAITING_FOR_PIN if asks else Stage.TALKING)
        return await self.card.exchange(exchange)


def _state(one: ReaderStatus, *, asked: bool) -> DeskState:
    if not one.up:
        return DeskState.ABSENT
    if one.stuck_since is not None:
        return DeskState.STUCK
    if asked:
        return DeskState.BUSY
    return DeskState.CARD if one.card_present else DeskState.EMPTY


async def ended(task: asyncio.Task[T]) -> None:
    """Cancel *task*, wait for its end, and raise what it failed with, if it did."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.result()
