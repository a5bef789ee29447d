"""Requests that are sent again under one key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import IdempotencyConflict, RequestMalformed
from appliance.gateway.idempotency import Repeats, Withdrawn, parse_key


@pytest.mark.parametrize("header", ["8e03978e-40d5", '"8e03978e-40d5"'])
def test_a_key_is_the_same_with_and_without_quotation_marks(header: str) -> None:
    """The draft quotes keys, and most clients do not: both mean the same key."""
    assert parse_key(header) == "8e03978e-40d5"


@pytest.mark.parametrize("header", ["", '""', "a b", '"a', 'a"', "ä", "a" * 129, "a\n", "a\\b"])
def test_what_is_no_key_is_refused(header: str) -> None:
    """An empty key, a space, half a quotation, a long one."""
    with pytest.raises(RequestMalformed):
        parse_key(header)


@given(st.text(max_size=140))
def test_any_header_is_a_key_or_refused(header: str) -> None:
    """Any text gives a bounded key of printable characters, or our error."""
    try:
        key = parse_key(header)
    except RequestMalformed:
        return
    assert 1 <= len(key) <= 128
    assert key.isascii()
    assert key.isprintable()


def test_the_same_request_finds_what_it_has_begun() -> None:
    """As often as it comes, until that is forgotten."""
    repeats: Repeats[str] = Repeats()
    assert repeats.find("reception-1", "key", ("desk-1",)) is None
    repeats.remember("reception-1", "key", ("desk-1",), "job")
    assert [repeats.find("reception-1", "key", ("desk-1",)) for _ in range(2)] == ["job", "job"]
    repeats.forget("reception-1", "key")
    repeats.forget("reception-1", "key")
    assert repeats.find("reception-1", "key", ("desk-1",)) is None
    assert len(repeats) == 0


def test_another_request_under_the_key_is_refused() -> None:
    """A key stands for one request."""
    repeats: Repeats[str] = Repeats()
    repeats.remember("reception-1", "key", ("desk-1",), "job")
    with pytest.raises(IdempotencyConflict):
        repeats.find("reception-1", "key", ("desk-2",))
    assert repeats.begun("reception-1", "key") == "job"
    assert repeats.begun("reception-2", "key") is None


def test_keys_are_each_peers_own() -> None:
    """Two peers with one key do not meet."""
    repeats: Repeats[str] = Repeats()
    repeats.remember("reception-1", "key", ("desk-1",), "job")
    assert repeats.find("reception-2", "key", ("desk-2",)) is None


def test_a_withdrawn_key_is_known_for_a_while() -> None:
    """As long as was said since it was last withdrawn, and to its own peer alone."""
    now = 100.0
    withdrawn = Withdrawn(300.0, lambda: now, kept=8)
    withdrawn.add("reception-1", "key")
    now = 350.0
    withdrawn.add("reception-1", "key")
    now = 649.0
    assert withdrawn.has("reception-1", "key")
    assert not withdrawn.has("reception-2", "key")
    now = 650.0
    assert not withdrawn.has("reception-1", "key")
    withdrawn.add("reception-1", "other")
    assert len(withdrawn) == 1


def test_one_peer_withdraws_so_many_keys_and_takes_nobody_elses_place() -> None:
    """The oldest gives way to the latest."""
    withdrawn = Withdrawn(300.0, lambda: 0.0, kept=8)
    withdrawn.add("reception-2", "key")
    for number in range(100):
        withdrawn.add("reception-1", f"key-{number}")
    assert len(withdrawn) == 8 + 1
    assert withdrawn.has("reception-2", "key")
    assert [withdrawn.has("reception-1", f"key-{number}") for number in (91, 92, 99)] == [False, True, True]
