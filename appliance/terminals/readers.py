"""
The local readers of the appliance, at their desks.

    Watch ──View──> Readers ──events──> whoever follows them
                       │
                       └── card(alias) ── Attendant ── PcscCard      one thread, one card, one session per desk

The loop's side decides everything; threads only look (`watch`) and make the calls that block (`attendant`). A frozen card
keeps its own desk's thread, and the desk is free again when the call comes back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Self

from appliance.errors import (
    CardAbsent,
    CardError,
    CardRemoved,
    CardUnreadable,
    PcscRefused,
    PcscUnavailable,
    ReaderAbsent,
    ReaderBusy,
    ReaderStuck,
)
from appliance.terminals import scard, view
from appliance.terminals.attendant import Attendant
from appliance.terminals.session import Abilities, Manner, PcscCard, abilities
from appliance.terminals.steps import EnterPin, Observe, ignore, no_pin_entry
from appliance.terminals.view import Desk, Event, View
from appliance.terminals.watch import Watch

GRACE_SECONDS: Final = 2.0
"""How long a reader may be away, or not be let go of, before that is told: what a restarted service needs."""
_AGAIN_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class ReaderStatus:
    """What is known of one desk's reader. Times are seconds since the epoch."""

    reader: str
    """Its alias."""
    up: bool
    card_present: bool
    engaged: bool
    """Whether an authentication is under way."""
    stuck_since: float | None
    """Since when a frozen card has not let go of it."""
    extended: bool | None
    """Whether it transmits extended APDUs; None until it was asked, or where it does not say."""


@dataclass(slots=True)
class _Place:
    """A desk while the readers are watched."""

    alias: str
    desk: Desk
    attendant: Attendant
    engaged: bool = False
    closing_since: float | None = None
    able: dict[str, Abilities] = field(default_factory=dict)
    """By the reader's name: another device at the same desk is asked again."""
    seen_with_card: scard.ReaderState | None = None
    empty_since: float | None = None

    def is_unseen(self, state: scard.ReaderState | None, now: float) -> bool:
        """
        Whether the service has called the reader empty for longer than a look takes, and without having looked.

        `terminals.scard` says how that comes about. True once.
        """
        if state is None or state.card_present:
            self.seen_with_card, self.empty_since = state, None
        elif self.seen_with_card is not None and state.insertions == self.seen_with_card.insertions:
            self.empty_since = self.empty_since or now
            if now - self.empty_since >= scard.LOOK_SECONDS:
                self.seen_with_card = None
                return True
        else:
            self.seen_with_card = None
        return False


class Readers:
    """
    The readers at *desks* (by alias); an asynchronous context manager.

    They are watched, whatever becomes of the PC/SC service, until the block ends.
    """

    def __init__(self, desks: Mapping[str, Desk], *, clock: Callable[[], float] = time.time) -> None:
        self._desks, self._clock = dict(desks), clock
        self._places = {alias: _Place(alias, desk, Attendant(alias)) for alias, desk in desks.items()}
        self._view = view.NOTHING
        self._changed = asyncio.Event()
        self._watch = Watch(self._report, clock)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._watch.start()
        await self._change(GRACE_SECONDS)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await asyncio.to_thread(self._watch.stop)
        deadline = self._loop.time() + scard.LOOK_SECONDS
        while any(place.engaged for place in self._places.values()) and self._loop.time() < deadline:
            await self._change(deadline - self._loop.time())
        for place in self._places.values():
            place.attendant.end()

    @property
    def view(self) -> View:
        """What was seen last; `polled_at` says when, `up_since` how long the service has been there."""
        return self._view

    def status(self) -> tuple[ReaderStatus, ...]:
        """Return what is known of each desk's reader."""
        return tuple(self._status(place) for place in self._places.values())

    async def events(self) -> AsyncIterator[Event]:
        """
        Yield what happens at the desks, beginning with what is there already.

        A follower that is slow misses what came and went meanwhile, and never how things stand.
        """
        before = view.NOTHING
        while True:
            changed, after = self._changed, self._view
            for event in view.events(before, after, self._desks):
                yield event
            before = after
            await changed.wait()

    @asynccontextmanager
    async def card(
        self,
        alias: str,
        *,
        wait: float,
        seconds: float,
        enter_pin: EnterPin = no_pin_entry,
        observe: Observe = ignore,
    ) -> AsyncIterator[PcscCard]:
        """
        Give the card on the reader *alias* for ourselves alone, and power it down afterwards.

        Waits *wait* seconds for a card; every exchange may take *seconds*. Raises PcscUnavailable, ReaderAbsent,
        ReaderAmbiguous, ReaderBusy, ReaderStuck, CardAbsent, CardBusy, CardTimeout, and what connecting can raise.
        """
        place, stack = self._places[alias], ExitStack()
        await self._engage(place)
        card: PcscCard | None = None
        try:
            connection, able = await self._connect(place, stack, wait, seconds)
            card = PcscCard(
                place.attendant, connection, place.desk, able, Manner(seconds, enter_pin, observe)
            )
            yield card
        finally:
            if card is not None:
                card.leave()
            place.closing_since = self._clock()
            place.attendant.submit(stack.close).add_done_callback(lambda _: self._tell(self._release, place))

    async def _engage(self, place: _Place) -> None:
        """Take *place*; a session that is just ending is waited for."""
        deadline = self._loop.time() + GRACE_SECONDS
        while place.engaged:
            if place.closing_since is None:
                raise ReaderBusy(f"an authentication is under way at '{place.alias}'")
            left = deadline - self._loop.time()
            if left <= 0:
                raise ReaderStuck(f"the card before has not let go of '{place.alias}'")
            await self._change(left)
        place.engaged, place.closing_since = True, None

    def _release(self, place: _Place) -> None:
        place.engaged, place.closing_since = False, None
        self._signal()

    async def _connect(
        self, place: _Place, stack: ExitStack, wait: float, seconds: float
    ) -> tuple[scard.Connection, Abilities]:
        """
        Connect to the card that lies on the reader, or is put on it within *wait* seconds.

        For a moment after a card or the service was changed, connecting fails. Connecting, and nothing else, is
        therefore tried again until the grace is over; a card that is put on again has a grace of its own.
        """
        deadline = self._loop.time() + wait
        again_until: float | None = None
        insertions: int | None = None
        while True:
            name = await self._reader_with_card(place.alias, deadline, min(wait, GRACE_SECONDS))
            before, insertions = insertions, self._view.readers[name].insertions
            if insertions != before and self._loop.time() < deadline:
                again_until = None
            try:
                return await place.attendant.call(lambda name=name: _open(place, stack, name), seconds)  # type: ignore[misc]  # mypy infers no type for a bound default
            except PcscRefused:
                raise
            except (CardRemoved, CardUnreadable, CardAbsent, PcscUnavailable, ReaderAbsent):
                again_until = again_until or self._loop.time() + GRACE_SECONDS
                if self._loop.time() >= again_until:
                    raise
                await self._change(_AGAIN_SECONDS)

    async def _reader_with_card(self, alias: str, deadline: float, grace: float) -> str:
        """Return the name of the reader *alias* when a card is on it; raise what is missing in the end."""
        away_until: float | None = None
        while True:
            missing: CardError
            try:
                name = self._view.reader(self._desks, alias)
            except (PcscUnavailable, ReaderAbsent) as error:
                until = away_until = away_until or self._loop.time() + grace
                missing = error
            else:
                if self._view.readers[name].card_present:
                    return name
                until, away_until, missing = (
                    deadline,
                    None,
                    CardAbsent("no card was put on the reader in time"),
                )
            left = until - self._loop.time()
            if left <= 0:
                raise missing
            await self._change(left)

    async def _change(self, seconds: float) -> None:
        """Wait until something is different, but at most *seconds*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _signal(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _report(self, seen: View) -> None:
        """Take *seen* from the watch's thread."""
        self._tell(self._see, seen)

    def _see(self, seen: View) -> None:
        self._view = seen
        for place in self._places.values():
            state = seen.state(self._desks, place.alias)
            if place.is_unseen(state, seen.polled_at):
                # Where a session holds the reader after all, its exclusive connection keeps this one out.
                name = seen.reader(self._desks, place.alias)
                place.attendant.submit(lambda name=name: _wake(name))  # type: ignore[misc]  # mypy infers no type for a bound default
        self._signal()

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        """Have *function* called by the loop, from any thread; a loop that has ended needs to know nothing."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _status(self, place: _Place) -> ReaderStatus:
        state = self._view.state(self._desks, place.alias)
        closing = place.closing_since
        stuck = closing is not None and self._clock() - closing >= GRACE_SECONDS
        able = list(place.able.values())
        return ReaderStatus(
            reader=place.alias,
            up=state is not None,
            card_present=state is not None and state.card_present,
            engaged=place.engaged,
            stuck_since=closing if stuck else None,
            extended=able[-1].extended if able else None,
        )


def _open(place: _Place, stack: ExitStack, name: str) -> tuple[scard.Connection, Abilities]:
    """Connect to the card on the reader *name*, in the attendant's thread."""
    connection = stack.enter_context(scard.connected(name))
    if name not in place.able:
        place.able = {name: abilities(connection)}
    return connection, place.able[name]


def _wake(name: str) -> None:
    with suppress(CardError), scard.context() as context:
        context.wake(name)
