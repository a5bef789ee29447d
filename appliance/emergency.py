"""
Windows in which nobody has to check holders (緊急運用): the patient is unconscious, and nobody can.

    proposed, by one operator ──confirmed, by another──> open ──> closed: by any operator, or at its end
             └──nobody confirms──> closed

A window has a reason and an end, which the configuration bounds. It is for some desks or for all. Each step is durable
in the ledger before it counts, but for the last: a window that is closed is closed, whatever the ledger says.

Windows are this process's alone. A restart ends them: who could write what is stored could otherwise open one. For
the same reason one node knows nothing of another node's.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from appliance.authentication import CheckMethod, IdentityCheck
from appliance.errors import (
    EmergencyClosed,
    EmergencyEndInvalid,
    EmergencyFull,
    EmergencyNotPermitted,
    EmergencySameOperator,
    LedgerError,
    ResourceAbsent,
)

_LOG = logging.getLogger(__name__)

MOST: Final = 16
"""Windows that may be proposed or open at once."""
CONFIRM_WITHIN: Final = timedelta(minutes=15)
"""After which a proposal that nobody has confirmed is over."""


class Reason(StrEnum):
    """Why a window is opened: a closed set, in which no name of a patient can stand."""

    UNCONSCIOUS = "unconscious"
    DISASTER = "disaster"
    DRILL = "drill"


class Cause(StrEnum):
    """Why a window is over."""

    CLOSED = "closed"
    """An operator has closed it."""
    EXPIRED = "expired"
    """Its end has come, or nobody has confirmed it."""
    POLICY = "policy"
    """The configuration that counts now does not permit it."""
    INTERRUPTED = "interrupted"
    """The process ends."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the operator *by* asks for, *until* when; for *desks*, all where none is named."""

    by: str
    reason: Reason
    until: datetime
    desks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Window:
    """A window that the ledger's *entry* has proposed; it is open once somebody has confirmed it."""

    entry: int
    proposal: Proposal
    proposed_at: datetime
    confirmed_by: str | None = None
    confirmed_at: datetime | None = None

    @property
    def id(self) -> str:
        """What it is called: whoever has the ledger finds it there."""
        return f"w-{self.entry}"

    @property
    def is_open(self) -> bool:
        """Whether two operators want it."""
        return self.confirmed_by is not None

    @property
    def ends_at(self) -> datetime:
        """When it is over by itself."""
        until = self.proposal.until
        return until if self.is_open else min(until, self.proposed_at + CONFIRM_WITHIN)

    def is_for(self, desk: str) -> bool:
        """Return whether it is open for *desk*."""
        return self.is_open and (not self.proposal.desks or desk in self.proposal.desks)


class Ledger(Protocol):
    """Who remembers windows. Nobody is let pass by it unchecked that it does not know an open window for."""

    async def propose(self, proposal: Proposal) -> int:
        """Make *proposal* durable and return the index of its entry, or raise LedgerError."""

    async def confirm(self, entry: int, by: str) -> None:
        """Make it durable that *by* has confirmed what *entry* has proposed, or raise LedgerError."""

    async def close(self, entry: int, cause: Cause, by: str | None) -> None:
        """End the window of *entry* at once, and make that durable; where it raises LedgerError, later."""


class Timer(Protocol):
    """What calls later, and can be told not to."""

    def cancel(self) -> None:
        """Do not call."""


Later: TypeAlias = Callable[[float, Callable[[], None]], Timer]
"""Calls a function after seconds, as the loop's `call_later` does."""


@dataclass(slots=True)
class _Kept:
    """A window, and what ends it at its time: by a clock that nobody sets, beside the one that its end is told by."""

    window: Window
    timer: Timer


def _ignore(_windows: tuple[Window, ...]) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Emergency:
    """
    The windows of this process, of *hours* at most, which the *operators* may open.

    *changed* is told what is left whenever a window begins, opens or ends. *later* is the loop's `call_later` where it
    is None.
    """

    ledger: Ledger
    clock: Callable[[], datetime]
    hours: float = 0.0
    operators: frozenset[str] = frozenset()
    changed: Callable[[tuple[Window, ...]], None] = _ignore
    later: Later | None = None
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def windows(self) -> tuple[Window, ...]:
        """All that are proposed or open, in the order in which they were proposed."""
        self._expire()
        return tuple(kept.window for kept in self._kept.values())

    def open_for(self, desk: str) -> Window | None:
        """Return the window that is open for *desk*, of several the one that lasts longest; None where none is."""
        found = [window for window in self.windows if window.is_for(desk)]
        return max(found, key=lambda window: window.ends_at, default=None)

    def check(self, desk: str) -> IdentityCheck:
        """Return what stands for a holder's check at *desk*, or raise EmergencyClosed."""
        window = self.open_for(desk)
        if window is None:
            raise EmergencyClosed("no emergency window is open for this desk")
        return IdentityCheck(CheckMethod.NONE_EMERGENCY, window.id, window.proposal.reason.value)

    def find(self, identity: str) -> Window:
        """Return the window *identity*, or raise ResourceAbsent."""
        self._expire()
        kept = self._kept.get(identity)
        if kept is None:
            raise ResourceAbsent("there is no such window, or not any more")
        return kept.window

    async def propose(self, proposal: Proposal) -> Window:
        """
        Have the window that *proposal* asks for wait to be confirmed, and return it.

        Raises EmergencyNotPermitted, EmergencyEndInvalid, EmergencyFull and LedgerError; then there is none.
        """
        async with self._turn:
            now = self.clock()
            self._require_permitted(proposal, now)
            if len(self.windows) >= MOST:
                raise EmergencyFull(f"{MOST} windows are proposed or open")
            window = Window(await self.ledger.propose(proposal), proposal, now)
            self._keep(window, now)
            self._require_still_permitted(window)
        _LOG.warning("emergency window proposed window=%s by=%s", window.id, proposal.by)
        return window

    async def confirm(self, identity: str, by: str) -> Window:
        """
        Open the window *identity* in the name of the operator *by*, and return it; one that is open stays as it is.

        Raises ResourceAbsent, EmergencySameOperator and LedgerError; then it is not opened.
        """
        async with self._turn:
            window = self.find(identity)
            if by == window.proposal.by:
                raise EmergencySameOperator("a window is confirmed by another operator than has proposed it")
            if window.is_open:
                return window
            await self.ledger.confirm(window.entry, by)
            # It may have ended meanwhile.
            now, proposed = self.clock(), self.find(identity)
            window = replace(proposed, confirmed_by=by, confirmed_at=now)
            self._kept[identity].timer.cancel()
            self._keep(window, now)
            self._require_still_permitted(window)
        _LOG.warning("emergency window open window=%s by=%s", window.id, by)
        return window

    async def close(self, identity: str, by: str) -> Window:
        """Close the window *identity* in the name of the operator *by*, and return it; or raise ResourceAbsent."""
        window = self.find(identity)
        await asyncio.shield(self._end(window, Cause.CLOSED, by))
        return window

    def change(self, hours: float, operators: Iterable[str]) -> None:
        """Go by another configuration: windows that it does not permit, or whose *operators* are none in it, end."""
        self.hours, self.operators = hours, frozenset(operators)
        for window in self.windows:
            if not self._is_permitted(window):
                self._end(window, Cause.POLICY)

    async def end(self) -> None:
        """Close all windows: the process ends."""
        for window in self.windows:
            self._end(window, Cause.INTERRUPTED)
        if self._closing:
            await asyncio.wait(self._closing)

    def _require_permitted(self, proposal: Proposal, now: datetime) -> None:
        if not self.hours:
            raise EmergencyNotPermitted("policy.emergency_hours is 0")
        if not now < proposal.until <= now + timedelta(hours=self.hours):
            raise EmergencyEndInvalid(f"a window ends after now, and within {self.hours:g} hours")

    def _is_permitted(self, window: Window) -> bool:
        who = {window.proposal.by} | ({window.confirmed_by} - {None})
        length = window.proposal.until - window.proposed_at
        return who <= self.operators and length <= timedelta(hours=self.hours)

    def _require_still_permitted(self, window: Window) -> None:
        """End *window* and raise, where the configuration has changed while the ledger wrote."""
        if not self._is_permitted(window):
            self._end(window, Cause.POLICY)
            raise EmergencyNotPermitted(
                "policy.emergency_hours, or who is an operator, has changed meanwhile"
            )

    def _keep(self, window: Window, now: datetime) -> None:
        later = self.later or asyncio.get_running_loop().call_later
        seconds = (window.ends_at - now).total_seconds()
        timer = later(max(seconds, 0.0), lambda: self._time_is_over(window))
        self._kept[window.id] = _Kept(window, timer)
        self._tell()

    def _tell(self) -> None:
        self.changed(tuple(kept.window for kept in self._kept.values()))

    def _time_is_over(self, window: Window) -> None:
        kept = self._kept.get(window.id)
        if kept is not None and kept.window is window:
            self._end(window, Cause.EXPIRED)

    def _expire(self) -> None:
        """End what has ended by the clock, which may have been set forward."""
        now = self.clock()
        for kept in list(self._kept.values()):
            if now >= kept.window.ends_at:
                self._end(kept.window, Cause.EXPIRED)

    def _end(self, window: Window, cause: Cause, by: str | None = None) -> asyncio.Task[None]:
        """Let *window* be used no longer, and return the task that has the ledger know of it."""
        self._kept.pop(window.id).timer.cancel()
        self._tell()
        _LOG.warning("emergency window closed window=%s cause=%s", window.id, cause.value)
        task = asyncio.create_task(self._told(window, cause, by), name=f"emergency-{window.id}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def _told(self, window: Window, cause: Cause, by: str | None) -> None:
        try:
            await self.ledger.close(window.entry, cause, by)
        except LedgerError as error:
            # It is closed, and the ledger will have that as soon as it can be written again.
            _LOG.warning("emergency window not closed in the ledger window=%s code=%s", window.id, error.code)
