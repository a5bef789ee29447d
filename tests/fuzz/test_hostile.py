"""Hostile cards that were found once stay harmless."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.hostile import play

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_the_corpus_is_there() -> None:
    """What the fuzzer found worth keeping is replayed by every run of the tests."""
    assert len(CORPUS) > 50


@pytest.mark.parametrize("card", CORPUS, ids=lambda path: path.name[:12])
def test_a_hostile_card_ends_in_our_error(card: Path) -> None:
    """Each kept card ends its dialogue with a result or an error of ours, in bounded commands."""
    play(card.read_bytes())


@given(st.binary(max_size=2_000))
def test_any_card_ends_in_our_error(octets: bytes) -> None:
    """So does any card at all."""
    play(octets)
