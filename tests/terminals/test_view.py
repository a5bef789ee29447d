"""Which reader a desk means, and what happened between two looks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import CardError, PcscRefused, PcscUnavailable, ReaderAbsent, ReaderAmbiguous
from appliance.terminals.scard import ReaderState
from appliance.terminals.view import (
    NOTHING,
    CardInserted,
    CardTaken,
    Desk,
    ReaderDown,
    ReaderUp,
    View,
    events,
)

EMPTY, CARD = ReaderState(card_present=False, insertions=0), ReaderState(card_present=True, insertions=1)
OTHER_CARD = ReaderState(card_present=True, insertions=3)
DESKS = {"desk-1": Desk("Reader (1)"), "desk-2": Desk("Reader (2)")}
ONE = {"desk-1": DESKS["desk-1"]}


def view(**readers: ReaderState) -> View:
    """Return what is seen when the readers of these numbers are connected."""
    return View(
        1.0, 0.5, {f"Some Reader ({number.strip('_')}) 00 00": state for number, state in readers.items()}
    )


def test_a_desk_means_the_one_reader_with_the_part_in_its_name() -> None:
    """Each alias finds its own reader, whatever stands before and after the part."""
    seen = view(_1=EMPTY, _2=CARD)
    assert seen.reader(DESKS, "desk-1") == "Some Reader (1) 00 00"
    assert seen.state(DESKS, "desk-2") == CARD


@pytest.mark.parametrize(
    ("seen", "desks", "error"),
    [
        (NOTHING, DESKS, PcscUnavailable),
        (replace(NOTHING, is_refused=True), DESKS, PcscRefused),
        (view(_2=EMPTY), DESKS, ReaderAbsent),
        (view(_1=EMPTY, _2=CARD), {"desk-1": Desk("Reader")}, ReaderAmbiguous),
        (view(_1=EMPTY), {"desk-1": Desk("(1)"), "desk-2": Desk("Some Reader")}, ReaderAmbiguous),
    ],
)
def test_what_is_not_exactly_one_reader_is_told(
    seen: View, desks: dict[str, Desk], error: type[CardError]
) -> None:
    """No service, no reader, several, or one for two desks: a card is never taken from the wrong desk."""
    with pytest.raises(error):
        seen.reader(desks, "desk-1")
    assert seen.state(desks, "desk-1") is None


@pytest.mark.parametrize(
    ("before", "after", "happened"),
    [
        (NOTHING, view(_1=EMPTY), [ReaderUp("desk-1")]),
        (NOTHING, view(_1=CARD), [ReaderUp("desk-1"), CardInserted("desk-1")]),
        (view(_1=EMPTY), view(_1=CARD), [CardInserted("desk-1")]),
        (view(_1=CARD), view(_1=EMPTY), [CardTaken("desk-1")]),
        (view(_1=CARD), view(_1=OTHER_CARD), [CardTaken("desk-1"), CardInserted("desk-1")]),
        (view(_1=CARD), view(), [CardTaken("desk-1"), ReaderDown("desk-1")]),
        (view(_1=CARD), NOTHING, [CardTaken("desk-1"), ReaderDown("desk-1")]),
        (view(_1=CARD), view(_1=CARD), []),
        (view(_1=EMPTY), view(_1=replace(EMPTY, insertions=2)), []),
        (view(_1=CARD), replace(view(_1=CARD), up_since=0.7), [CardTaken("desk-1"), CardInserted("desk-1")]),
    ],
)
def test_events_are_what_differs_between_two_views(before: View, after: View, happened: list[object]) -> None:
    """Readers and cards coming and going are told in an order in which they can have happened."""
    assert list(events(before, after, ONE)) == happened


states = st.builds(ReaderState, st.booleans(), st.integers(0, 5))
views = st.builds(
    View,
    st.just(1.0),
    st.sampled_from((None, 0.5, 0.7)),
    st.dictionaries(st.sampled_from(("Reader (1)", "Reader (2)", "Reader (12)")), states),
)


@given(st.lists(views, max_size=6))
def test_events_alternate_for_every_reader(seen: list[View]) -> None:
    """However views follow one another: no card is inserted twice in a row, none is on a reader that is not there."""
    up, card = dict.fromkeys(DESKS, False), dict.fromkeys(DESKS, False)
    for before, after in zip([NOTHING, *seen], seen, strict=False):
        for event in events(before, after, DESKS):
            match event:
                case ReaderUp(alias):
                    assert not up[alias]
                    up[alias] = True
                case ReaderDown(alias):
                    assert up[alias]
                    assert not card[alias]
                    up[alias] = False
                case CardInserted(alias):
                    assert up[alias]
                    assert not card[alias]
                    card[alias] = True
                case CardTaken(alias):
                    assert card[alias]
                    card[alias] = False
        for alias in DESKS:
            state = after.state(DESKS, alias)
            assert up[alias] is (state is not None)
            assert card[alias] is (state is not None and state.card_present)
