"""Entries: one spelling each, and no room for a person in them."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BY_CODE, LedgerDamaged
from appliance.ledger.entries import (
    Continued,
    Entry,
    Finished,
    Pruned,
    Reserved,
    checked,
    decode,
    encode,
    schema,
)

RESERVED = Reserved(time=1, mode="pinless", terminal="desk-1", check="visual", checked_by="operator-3")
FINISHED = Finished(time=2, reserved=0, outcome="authenticated", holder="ab" * 32)
SCHEMA = Path(__file__).parents[2] / "docs" / "ledger-entry.schema.json"


@pytest.mark.parametrize(
    "entry",
    [
        RESERVED,
        FINISHED,
        Continued(time=3, origin="example.com/old", size=7, root="00" * 32),
        Pruned(time=4, before=9),
        msgspec.structs.replace(RESERVED, terminal="ward-3.desk-1", check="pin", checked_by="ward-3.desk-1"),
        *(Finished(time=5, reserved=0, outcome="refused", code=code) for code in BY_CODE),
    ],
)
def test_an_entry_is_canonical_json(entry: Entry) -> None:
    """It is sorted, compact ASCII, as any other implementation of RFC 8785 would write it."""
    content = checked(entry)
    assert decode(content) == entry
    assert content == json.dumps(json.loads(content), sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (b"", "shape"),
        (b"[]", "shape"),
        (b'{"kind":"other"}', "shape"),
        (encode(FINISHED).replace(b"authenticated", b"admitted"), "shape"),
        (encode(FINISHED).replace(b'"time":2', b'"time": 2'), "spelling"),
        (encode(FINISHED).replace(b'"time":2', b'"time":2.0'), "spelling|shape"),
        (encode(FINISHED).replace(b'"reserved":0,', b"")[:-1] + b',"reserved":0}', "spelling"),
        (encode(RESERVED).replace(b"desk-1", b"desk\\u002d1"), "spelling"),
        (encode(RESERVED)[:-1] + b',"zz":1}', "shape"),
        (encode(RESERVED).replace(b'"version":1', b'"version":2'), "shape"),
    ],
)
def test_another_spelling_is_refused(wrong: bytes, why: str) -> None:
    """What means the same but is written otherwise, or means something else, is no entry."""
    with pytest.raises(LedgerDamaged, match=why):
        decode(wrong)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_entry_or_refused(content: bytes) -> None:
    """The parser gives entries or our own refusal."""
    with pytest.raises(LedgerDamaged):
        decode(content)


@pytest.mark.parametrize(
    "entry",
    [
        msgspec.structs.replace(RESERVED, terminal="Virtual PCD 00 00"),
        msgspec.structs.replace(RESERVED, checked_by="山田太郎"),
        msgspec.structs.replace(RESERVED, checked_by="Taro Yamada"),
        msgspec.structs.replace(FINISHED, holder="Taro Yamada"),
        msgspec.structs.replace(FINISHED, evidence="3082"),
        msgspec.structs.replace(FINISHED, code="PIN was 1234"),
    ],
)
def test_names_fit_nowhere(entry: Entry) -> None:
    """A raw reader name, a person's name or a piece of a certificate cannot be put into an entry."""
    with pytest.raises(ValueError, match="cannot hold"):
        checked(entry)


def test_the_published_schema_is_the_one_in_force() -> None:
    """`docs/` holds the schema of the entries that are written."""
    assert json.loads(SCHEMA.read_text()) == schema()
