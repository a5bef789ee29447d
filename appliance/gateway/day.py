"""
How authentications have ended in the last day, in stretches of five minutes: what the console draws.

Kept in memory alone, and bounded whatever comes: 288 stretches, each with a number for each outcome (a closed set:
our codes), each way of checking, and each step of a fixed scale of seconds. Nothing of it is about a person: a refusal
leaves its code, its time and its desk. A restart forgets it, which the console says by `since`.

The times are the clock's. Where it is set back, what then lies in the future is forgotten.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

import msgspec

from appliance.authentication import CheckMethod
from appliance.errors import BY_CODE
from appliance.gateway.problems import INTERNAL

STRETCH_SECONDS: Final = 300
STRETCHES: Final = 288
AUTHENTICATED: Final = "authenticated"
CANCELLED: Final = "cancelled"
NO_CHECK: Final = "none"
"""Of an authentication that ended before anybody asked how its holder was checked."""
_LEAST, _GROWTH, _STEPS = 0.01, 1.2, 46
SCALE: Final = tuple(_LEAST * _GROWTH**step for step in range(_STEPS))
"""Upper ends of the steps, to 36 seconds: what is told lies within a fifth of what was."""
_MOST_DESKS: Final = 4


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """What ended in the five minutes from *begin* (Unix time) on. Seconds are of those authenticated without a PIN."""

    begin: int
    authenticated: int
    refused: int
    cancelled: int
    checks: dict[str, int]
    """All of them, by how the holder was checked."""
    median_seconds: float | None
    slow_seconds: float | None
    """Nineteen of twenty were faster."""


class Refusals(msgspec.Struct, frozen=True, kw_only=True):
    """How often one *code* was the cause, *at* which time last (Unix), and at which *desks* lately, the last one first."""

    code: str
    times: int
    at: float
    desks: tuple[str, ...]


class DayView(msgspec.Struct, frozen=True, kw_only=True):
    """The last day until *now*, as far as it is known: *since* a start. Stretches in which nothing ended are left out."""

    now: float
    since: float
    stretch_seconds: int
    stretches: tuple[Stretch, ...]
    refusals: tuple[Refusals, ...]
    """By their causes, what happened last first."""


@dataclass(slots=True)
class _Counted:
    """One stretch as it is counted."""

    outcomes: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    seconds: Counter[int] = field(default_factory=Counter)
    """By the step of `SCALE`."""

    def view(self, begin: int) -> Stretch:
        """Return what is shown of it."""
        authenticated, cancelled = self.outcomes[AUTHENTICATED], self.outcomes[CANCELLED]
        return Stretch(
            begin=begin,
            authenticated=authenticated,
            refused=self.outcomes.total() - authenticated - cancelled,
            cancelled=cancelled,
            checks=dict(self.checks),
            median_seconds=_quantile(self.seconds, 50),
            slow_seconds=_quantile(self.seconds, 95),
        )


class Day:
    """Counts how authentications end. *clock* tells the Unix time."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._since = clock()
        self.number = 0
        """How many have ended since the start."""
        self._stretches: dict[int, _Counted] = {}
        self._last: dict[str, tuple[float, tuple[str, ...]]] = {}
        """By code: when, and at which desks lately."""

    def ended(self, desk: str, outcome: str, check: CheckMethod | None, seconds: float | None) -> None:
        """
        Count an authentication at *desk* that ended as *outcome*: AUTHENTICATED, CANCELLED, or a code of ours; what is
        none of them is a bug, and counts as `internal`.

        *seconds* is how long it took, None where that says nothing of the appliance.
        """
        now = self._clock()
        number = int(now // STRETCH_SECONDS)
        counted = self._stretches.get(number)
        if counted is None:
            self._forget(number)
            counted = self._stretches[number] = _Counted()
        is_refusal = outcome not in {AUTHENTICATED, CANCELLED}
        outcome = INTERNAL if is_refusal and outcome not in BY_CODE else outcome
        self.number += 1
        counted.outcomes[outcome] += 1
        counted.checks[NO_CHECK if check is None else check.value] += 1
        if seconds is not None:
            counted.seconds[min(bisect_left(SCALE, seconds), _STEPS - 1)] += 1
        if is_refusal:
            before = self._last.get(outcome, (0.0, ()))[1]
            desks = (desk, *(one for one in before if one != desk))
            self._last[outcome] = (now, desks[:_MOST_DESKS])

    def view(self) -> DayView:
        """Return the last day."""
        now = self._clock()
        self._forget(int(now // STRETCH_SECONDS))
        return DayView(
            now=now,
            since=min(self._since, now),
            stretch_seconds=STRETCH_SECONDS,
            stretches=tuple(
                counted.view(number * STRETCH_SECONDS) for number, counted in sorted(self._stretches.items())
            ),
            refusals=tuple(sorted(self._refusals(), key=lambda one: one.at, reverse=True)),
        )

    def _refusals(self) -> Iterator[Refusals]:
        times: Counter[str] = Counter()
        for counted in self._stretches.values():
            times.update(counted.outcomes)
        for code, (at, desks) in self._last.items():
            if times[code]:
                yield Refusals(code=code, times=times[code], at=at, desks=desks)

    def _forget(self, newest: int) -> None:
        """Forget what is not of the day that ends with the stretch *newest*."""
        first = newest - STRETCHES + 1
        for number in [one for one in self._stretches if not first <= one <= newest]:
            del self._stretches[number]


def _quantile(counted: Counter[int], percent: int) -> float | None:
    """Return a value that *percent* of what was *counted* is not above, as if spread within its step; None of nothing."""
    if not counted:
        return None
    rank = -(-percent * counted.total() // 100)
    steps = sorted(counted)
    reached = list(accumulate(counted[one] for one in steps))
    at = bisect_left(reached, rank)
    step, count = steps[at], counted[steps[at]]
    low = 0.0 if step == 0 else SCALE[step - 1]
    return round(low + (SCALE[step] - low) * (rank - reached[at] + count) / count, 4)
