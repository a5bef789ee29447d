"""Pauses between attempts to reach the appliance."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.terminals.agent.backoff import Backoff

fractions = st.floats(0, 1, exclude_max=True)


def test_pauses_grow_to_a_bound_and_begin_anew_after_success() -> None:
    """Each pause may be twice the one before, none is over the longest, and a useful connection resets them."""
    backoff = Backoff(1.0, 10.0, lambda: 1.0)
    assert [backoff.pause() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    backoff.succeeded()
    assert backoff.pause() == 1.0


@given(st.lists(fractions, min_size=1, max_size=30), st.floats(allow_nan=False))
def test_no_pause_is_too_short_or_too_long(drawn: list[float], asked: float) -> None:
    """Whatever chance and appliance say, a pause is neither a tight loop nor an end."""
    numbers = iter(drawn)
    backoff = Backoff(1.0, 60.0, lambda: next(numbers))
    for _ in drawn:
        assert 0.5 <= backoff.pause(asked) <= 150.0


def test_terminals_that_lost_the_appliance_together_do_not_come_back_together() -> None:
    """The first pauses already differ by chance, and so does what the appliance asks of all of them alike."""
    early, late = Backoff(1.0, 60.0, lambda: 0.1), Backoff(1.0, 60.0, lambda: 0.9)
    assert early.pause() < late.pause()
    assert late.pause(10.0) - early.pause(10.0) > 5
