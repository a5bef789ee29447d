"""The day that the console draws: counted in stretches, bounded, and about nobody."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.authentication import CheckMethod
from appliance.errors import BY_CODE
from appliance.gateway.day import AUTHENTICATED, CANCELLED, SCALE, STRETCH_SECONDS, STRETCHES, Day
from appliance.gateway.problems import INTERNAL

NOON = 1_767_268_800.0
DAY = STRETCHES * STRETCH_SECONDS


@dataclass(slots=True)
class Clock:
    """A clock that is set by hand."""

    now: float = NOON

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at noon."""
    return Clock()


@pytest.fixture
def day(clock: Clock) -> Day:
    """A day in which nothing has happened."""
    return Day(clock)


def test_a_day_without_anything_is_empty(day: Day) -> None:
    """It says since when it counts, and no more."""
    view = day.view()
    assert (view.now, view.since, view.stretches, view.refusals) == (NOON, NOON, (), ())


def test_endings_are_counted_where_they_fall(day: Day, clock: Clock) -> None:
    """Each stretch has its own numbers, by how it ended and by how the holder was checked."""
    day.ended("desk-1", AUTHENTICATED, CheckMethod.FACE, 1.0)
    day.ended("desk-1", AUTHENTICATED, CheckMethod.PIN, None)
    day.ended("desk-1", CANCELLED, None, None)
    clock.now += STRETCH_SECONDS
    day.ended("desk-2", "card_removed", CheckMethod.VISUAL, None)
    first, second = day.view().stretches
    assert (first.begin, second.begin) == (NOON, NOON + STRETCH_SECONDS)
    assert (first.authenticated, first.refused, first.cancelled) == (2, 0, 1)
    assert first.checks == {"face": 1, "pin": 1, "none": 1}
    assert (second.authenticated, second.refused, second.cancelled) == (0, 1, 0)
    assert second.median_seconds is None


def test_causes_are_told_with_times_and_desks(day: Day, clock: Clock) -> None:
    """What happened last comes first; of many desks the last four are named, each once."""
    for number in (1, 2, 3, 4, 5, 4):
        clock.now += 1
        day.ended(f"desk-{number}", "card_removed", None, None)
    clock.now += 1
    day.ended("desk-9", "pin_rejected", CheckMethod.PIN, None)
    latest, before = day.view().refusals
    assert (latest.code, latest.times, latest.at, latest.desks) == (
        "pin_rejected",
        1,
        clock.now,
        ("desk-9",),
    )
    assert (before.code, before.times) == ("card_removed", 6)
    assert before.desks == ("desk-4", "desk-5", "desk-3", "desk-2")


def test_after_a_day_it_is_forgotten(day: Day, clock: Clock) -> None:
    """Neither its stretch nor its cause is told any more, also where nothing has happened since."""
    day.ended("desk-1", "card_removed", None, None)
    clock.now += DAY - STRETCH_SECONDS
    assert len(day.view().stretches) == 1
    clock.now += STRETCH_SECONDS
    view = day.view()
    assert (view.stretches, view.refusals) == ((), ())


def test_a_clock_that_is_set_back_leaves_no_future(day: Day, clock: Clock) -> None:
    """What would lie in the future is forgotten, and counting goes on."""
    day.ended("desk-1", AUTHENTICATED, None, None)
    clock.now -= 3_600
    assert day.view().stretches == ()
    assert day.view().since <= clock.now
    day.ended("desk-1", AUTHENTICATED, None, None)
    assert len(day.view().stretches) == 1


def test_what_is_no_code_of_ours_is_a_bug(day: Day) -> None:
    """Nobody outside can make a new cause."""
    day.ended("desk-1", "something else", None, None)
    assert [one.code for one in day.view().refusals] == [INTERNAL]


@given(st.lists(st.floats(SCALE[0], SCALE[-1], exclude_min=True), min_size=1, max_size=200))
def test_seconds_are_told_within_a_fifth(measured: list[float]) -> None:
    """Median and slow ones lie in the step of the scale that the measured ones of that rank lie in."""
    day = Day(lambda: NOON)
    for seconds in measured:
        day.ended("desk-1", AUTHENTICATED, CheckMethod.FACE, seconds)
    (stretch,) = day.view().stretches
    ordered = sorted(measured)
    for told, percent in ((stretch.median_seconds, 50), (stretch.slow_seconds, 95)):
        assert told is not None
        measure = ordered[-(-percent * len(ordered) // 100) - 1]
        assert measure / 1.21 <= told <= measure * 1.21


@given(
    st.lists(
        st.tuples(
            st.floats(0, 4 * DAY),
            st.sampled_from([AUTHENTICATED, CANCELLED, *BY_CODE, "nonsense"]),
            st.floats(0, 1e9),
            st.text(max_size=3),
        ),
        max_size=400,
    )
)
def test_it_stays_small_whatever_comes(endings: list[tuple[float, str, float, str]]) -> None:
    """However the clock jumps, and whatever ends, a day's stretches are kept, and causes that exist."""
    clock = Clock()
    day = Day(clock)
    for at, outcome, seconds, desk in endings:
        clock.now = at
        day.ended(desk, outcome, None, seconds)
        view = day.view()
        assert len(view.stretches) <= STRETCHES
        assert all(at - DAY < one.begin <= at for one in view.stretches)
        assert {one.code for one in view.refusals} <= {*BY_CODE, INTERNAL}
        assert sum(one.refused for one in view.stretches) == sum(one.times for one in view.refusals)
