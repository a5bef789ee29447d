"""Budgets: what a peer may ask for in a minute, at once, in a day."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import BudgetSettings
from appliance.errors import BudgetSpent
from appliance.gateway.budgets import LOOKS_PER_WORK, Budgets
from appliance.gateway.peers import Peer, Role

DAY = 86_400.0


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now


def made(alias: str = "reception-1", **budget: int) -> Peer:
    """Return a peer with this budget."""
    return Peer(alias, Role.RECEPTION, "audience", budget=BudgetSettings(**budget))


def granted(budgets: Budgets, peer: Peer, times: int) -> int:
    """Ask *times* times, and return how often it was granted."""
    count = 0
    for _ in range(times):
        try:
            budgets.work(peer)
        except BudgetSpent:
            continue
        count += 1
    return count


def test_a_minutes_budget_may_be_taken_at_once_and_comes_back_evenly() -> None:
    """A burst takes all; then one comes back every sixtieth of a minute's budget."""
    time, peer = Time(), made(per_minute=60)
    budgets = Budgets(time)
    assert granted(budgets, peer, 100) == 60
    time.now += 1.0
    assert granted(budgets, peer, 100) == 1
    time.now += 30.0
    assert granted(budgets, peer, 100) == 30


def test_a_refusal_says_when_to_come_again_and_that_is_enough() -> None:
    """Who comes again after the seconds that are told is served."""
    time, peer = Time(), made(per_minute=1)
    budgets = Budgets(time)
    budgets.work(peer)
    with pytest.raises(BudgetSpent) as refused:
        budgets.work(peer)
    assert 59.0 < refused.value.seconds <= 60.0
    time.now += refused.value.seconds + 0.001
    budgets.work(peer)


def test_a_day_has_its_own_budget() -> None:
    """When the day's budget is used up, the minute's does not help; the next day it is there again."""
    time, peer = Time(), made(per_minute=100, per_day=3)
    budgets = Budgets(time)
    assert granted(budgets, peer, 10) == 3
    time.now += 120.0
    with pytest.raises(BudgetSpent) as refused:
        budgets.work(peer)
    assert refused.value.seconds == DAY - 120.0
    time.now = DAY
    assert granted(budgets, peer, 10) == 3


def test_looking_does_not_use_up_what_results_are_made_with() -> None:
    """Who waits for results by asking often can still make new ones, and the other way round; both have an end."""
    budgets, peer = Budgets(Time()), made(per_minute=5)
    for _ in range(5 * LOOKS_PER_WORK):
        budgets.look(peer)
    with pytest.raises(BudgetSpent):
        budgets.look(peer)
    assert granted(budgets, peer, 10) == 5


def test_only_so_many_are_under_way() -> None:
    """What has ended makes room, once, however often that is said."""
    budgets, peer = Budgets(Time()), made(at_once=2)
    ends = [budgets.begin(peer), budgets.begin(peer)]
    with pytest.raises(BudgetSpent):
        budgets.begin(peer)
    ends[0]()
    ends[0]()
    budgets.begin(peer)
    with pytest.raises(BudgetSpent):
        budgets.begin(peer)
    assert budgets.under_way(peer.alias) == 2


def test_peers_do_not_share() -> None:
    """One that has used up its budget takes nothing from another."""
    budgets = Budgets(Time())
    assert granted(budgets, made("a", per_minute=1), 5) == 1
    assert granted(budgets, made("b", per_minute=1), 5) == 1


def test_another_budget_counts_at_once_and_forgives_nothing() -> None:
    """After a reload the new numbers hold; what was used of the day stays used, and what is under way counts."""
    budgets = Budgets(Time())
    old, new = made(per_minute=10, per_day=10, at_once=2), made(per_minute=10, per_day=4, at_once=1)
    assert granted(budgets, old, 3) == 3
    budgets.begin(old)
    assert granted(budgets, new, 10) == 1
    with pytest.raises(BudgetSpent):
        budgets.begin(new)


@given(
    per_minute=st.integers(1, 50),
    steps=st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=200),
)
def test_never_more_than_the_budget_in_any_minute(per_minute: int, steps: list[float]) -> None:
    """Whenever requests come: in no sixty seconds more than a full bucket and what flows into it are granted."""
    time, peer = Time(), made(per_minute=per_minute)
    budgets, served = Budgets(time), []
    for step in steps:
        time.now += step
        served += [time.now] * granted(budgets, peer, 1)
    assert all(earlier <= later for earlier, later in pairwise(served))
    for start in served:
        assert sum(start <= moment < start + 60 for moment in served) <= 2 * per_minute


@given(steps=st.lists(st.floats(-1000, 1000, allow_nan=False), max_size=50))
def test_a_clock_that_jumps_back_gives_nothing(steps: list[float]) -> None:
    """Time that has been counted is not counted twice."""
    time, peer = Time(), made(per_minute=3)
    budgets, latest, count = Budgets(time), 0.0, 0
    budgets.look(peer)
    for step in steps:
        time.now += step
        latest = max(latest, time.now)
        count += granted(budgets, peer, 1)
    assert count <= 3 + latest * 3 / 60 + 1
