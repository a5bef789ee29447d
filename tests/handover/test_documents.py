"""Requests and results as bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import HandoverRequestInvalid
from appliance.handover.request import is_complete, parse, wishes
from appliance.handover.result import Result, encoded
from tests.handover.desk import REQUEST


def result(encoding: str, echo: dict[str, str], eligibility: dict[str, object] | None = None) -> Result:
    """Return a result that echoes."""
    return Result(
        version=1,
        request="r",
        outcome="refused",
        finished_at="2026-01-01T00:00:00Z",
        encoding=encoding,
        eligibility=eligibility,
        echo=echo,
    )


@given(st.one_of(st.binary(), st.recursive(st.text(), st.lists).map(lambda one: json.dumps(one).encode())))
def test_any_bytes_are_a_request_or_refused(content: bytes) -> None:
    """And nothing else; what they ask for in words is looked at as carefully."""
    is_complete(content)
    wishes(content)
    with pytest.raises(HandoverRequestInvalid) as caught:
        parse(content)
    assert caught.value.detail.isascii()
    assert len(caught.value.detail) <= 300


def test_a_patient_whom_nobody_can_check_is_asked_for_plainly() -> None:
    """The check that nobody makes is written as it is, and nothing beside it; whether it counts, the appliance knows."""
    asked = REQUEST | {"identity_check": {"method": "none_emergency"}}
    check = parse(json.dumps(asked).encode()).check()
    assert check is not None
    assert check.ordered == {"identity_check": {"method": "none_emergency"}}
    for more in ({"window": "w-0"}, {"reason": "drill"}, {"device": "kiosk-1"}):
        wrong = asked | {"identity_check": {"method": "none_emergency", **more}}
        with pytest.raises(HandoverRequestInvalid):
            parse(json.dumps(wrong).encode())


def test_a_byte_order_mark_is_no_harm() -> None:
    """Much software writes one."""
    content = b"\xef\xbb\xbf" + json.dumps(REQUEST).encode()
    assert (is_complete(content), parse(content).desk) == (True, "desk-1")


@given(st.integers(0, len(json.dumps(REQUEST)) - 1))
def test_half_a_request_is_never_whole(length: int) -> None:
    """However much of it was written, what is there does not look complete."""
    assert not is_complete(json.dumps(REQUEST).encode()[:length])


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_character_is_lost_in_either_encoding(text: str) -> None:
    """What is read back is what was written, and what Shift_JIS lacks is named."""
    for encoding, codec in (("utf-8", "utf-8"), ("shift_jis", "cp932")):
        read = json.loads(encoded(result(encoding, {"name": text}, {"list": [{"name": text}]})).decode(codec))
        assert read["echo"]["name"] == read["eligibility"]["list"][0]["name"] == text
        if encoding == "shift_jis":
            named = {
                point for one in read["unencodable"] for each in one["characters"] for point in each.split()
            }
            lacking = {one for one in text if not _survives(one)}
            assert {f"U+{ord(one):04X}" for one in lacking} <= named


def _survives(one: str) -> bool:
    try:
        return one.encode("cp932").decode("cp932") == one
    except UnicodeError:
        return False


def test_where_a_character_does_not_fit_is_said() -> None:
    """By the path of the member, also inside of what the eligibility service has said."""
    document = encoded(result("shift_jis", {}, {"names": ["山田", "𠮷田"]})).decode("cp932")
    assert json.loads(document)["unencodable"] == [{"at": "eligibility.names.1", "characters": ["U+20BB7"]}]
