"""Requests that are sent again under one key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import IdempotencyConflict, RequestMalformed
from appliance.gateway.idempotency import Repeats, parse_key


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


def test_keys_are_each_peers_own() -> None:
    """Two peers with one key do not meet."""
    repeats: Repeats[str] = Repeats()
    repeats.remember("reception-1", "key", ("desk-1",), "job")
    assert repeats.find("reception-2", "key", ("desk-2",)) is None
