import json
import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import HsmRequestRefused
from appliance.hsm.worker.admission import (
    LARGEST_SIGNING_INPUT,
    ChallengeAdmission,
    ScenarioAdmission,
    TokenAdmission,
)
from tests.hsm.conftest import ISSUER
from tests.hsm.jwt_parts import encoded, header, part, payload, scenario, scenario_input, signing_input

KID = "kid-of-the-pinned-key"
TOKENS = TokenAdmission(ISSUER, KID, 300, time.time)
SCENARIOS = ScenarioAdmission(ISSUER, KID, time.time)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time it was set to."""
        return self.now


@pytest.mark.parametrize("length", [0, 1, 15, 17, 32, 64])
def test_challenge_of_another_length_is_refused(length: int) -> None:
    """Only strings of exactly the profile's length reach the institution key."""
    with pytest.raises(HsmRequestRefused, match="16 bytes"):
        ChallengeAdmission(16, 10, Clock()).admit(bytes(length))


def test_challenges_are_limited_in_any_minute() -> None:
    """The limit holds for every window of a minute, and room comes back as the oldest leave it."""
    clock = Clock()
    admission = ChallengeAdmission(16, 2, clock)
    admission.admit(bytes(16))
    clock.now += 30
    admission.admit(bytes(16))
    clock.now += 29.9
    with pytest.raises(HsmRequestRefused, match="more than 2"):
        admission.admit(bytes(16))
    clock.now += 0.1
    admission.admit(bytes(16))
    with pytest.raises(HsmRequestRefused, match="more than 2"):
        admission.admit(bytes(16))


@given(st.lists(st.floats(0, 50), max_size=60), st.integers(1, 5))
def test_no_minute_has_more_than_the_limit(pauses: list[float], limit: int) -> None:
    """Whatever the pauses between requests, no window of a minute lets more through than allowed."""
    clock = Clock()
    admission = ChallengeAdmission(8, limit, clock)
    admitted: list[float] = []
    for pause in pauses:
        clock.now += pause
        try:
            admission.admit(bytes(8))
        except HsmRequestRefused:
            continue
        admitted.append(clock.now)
    assert all(sum(1 for other in admitted if 0 <= other - moment < 60) <= limit for moment in admitted)


def test_refused_challenge_does_not_count() -> None:
    """A string of the wrong length takes nothing from the rate."""
    admission = ChallengeAdmission(16, 1, Clock())
    with pytest.raises(HsmRequestRefused):
        admission.admit(b"")
    admission.admit(bytes(16))


def test_result_token_is_let_through() -> None:
    """A token of ours passes, with whatever other claims, with the longest lifetime."""
    TOKENS.admit(signing_input(KID, sub="x", identity_check={"method": "face"}))


@pytest.mark.parametrize("iat", [9_940, 10_000, 10_060])
def test_what_is_issued_now_is_let_through(iat: int) -> None:
    """A minute to either side: a statement may have waited, and clocks are set."""
    TokenAdmission(ISSUER, KID, 300, lambda: 10_000.0).admit(signing_input(KID, iat=iat, exp=iat + 300))
    ScenarioAdmission(ISSUER, KID, lambda: 10_000.0).admit(scenario_input(KID, iat=iat, exp=iat + 60))


@pytest.mark.parametrize("iat", [0, 9_939, 10_061, 10**12])
def test_another_time_is_refused(iat: int) -> None:
    """Nobody gets a token of yesterday, or one that begins to count next year; nor a scenario."""
    with pytest.raises(HsmRequestRefused, match="another time"):
        TokenAdmission(ISSUER, KID, 300, lambda: 10_000.0).admit(signing_input(KID, iat=iat, exp=iat + 300))
    with pytest.raises(HsmRequestRefused, match="another time"):
        ScenarioAdmission(ISSUER, KID, lambda: 10_000.0).admit(scenario_input(KID, iat=iat, exp=iat + 60))


@pytest.mark.parametrize("seconds", [61, 0, -1])
def test_a_scenario_lives_for_a_minute_at_most(seconds: int) -> None:
    """And for more than nothing."""
    now = int(time.time())
    with pytest.raises(HsmRequestRefused, match="lives"):
        SCENARIOS.admit(scenario_input(KID, iat=now, exp=now + seconds))


@pytest.mark.parametrize(
    "changed",
    [
        {"typ": "JWT"},
        {"alg": "none"},
        {"alg": "RS256"},
        {"kid": "other"},
        {"jku": "https://elsewhere.test"},
        {"typ": None},
    ],
)
def test_other_header_is_refused(changed: dict[str, object]) -> None:
    """The header has exactly three members with exactly our values."""
    with pytest.raises(HsmRequestRefused, match="header"):
        TOKENS.admit(part({**header(KID), **changed}) + b"." + part(payload()))


def test_header_without_kid_is_refused() -> None:
    """A header that says less is refused as well."""
    short = {"typ": "jpki-authentication+jwt", "alg": "ES256"}
    with pytest.raises(HsmRequestRefused, match="header"):
        TOKENS.admit(part(short) + b"." + part(payload()))


@pytest.mark.parametrize("issuer", ["https://other.test", "", None, [ISSUER]])
def test_other_issuer_is_refused(issuer: object) -> None:
    """A token by anyone else is none of ours."""
    with pytest.raises(HsmRequestRefused, match="issuer"):
        TOKENS.admit(signing_input(KID, iss=issuer))


@pytest.mark.parametrize(
    ("iat", "exp"), [(1.0, 2), (1, 2.5), (False, True), (True, 200), ("1", "2"), (None, 5), (1, None)]
)
def test_times_are_integers(iat: object, exp: object) -> None:
    """Times of any other type are refused, truth values among them."""
    with pytest.raises(HsmRequestRefused, match="integers"):
        TOKENS.admit(signing_input(KID, iat=iat, exp=exp))


@pytest.mark.parametrize(("iat", "exp"), [(1, 302), (5, 5), (5, 4), (0, 10**30)])
def test_lifetime_is_bounded(iat: int, exp: int) -> None:
    """A token lives for more than nothing and at most as long as allowed."""
    with pytest.raises(HsmRequestRefused, match="lives"):
        TOKENS.admit(signing_input(KID, iat=iat, exp=exp))


def test_large_signing_input_is_refused() -> None:
    """16 KiB is the most that is signed, even of a token of ours."""
    rest = LARGEST_SIGNING_INPUT - len(signing_input(KID, sub=""))
    TOKENS.admit(signing_input(KID, sub="x" * (rest * 3 // 4 - 2)))
    with pytest.raises(HsmRequestRefused, match="bytes"):
        TOKENS.admit(signing_input(KID, sub="x" * (rest * 3 // 4 + 4)))


def _tampered() -> list[bytes]:
    good_header, good_payload = part(header(KID)), part(payload())
    return [
        b"",
        b".",
        good_header,
        good_header + b".",
        good_header + b"." + good_payload + b".",
        good_header + b"." + good_payload + b"=",
        good_header + b"\n." + good_payload,
        good_header + b"." + encoded(json.dumps([payload()]).encode()),
        good_header + b"." + encoded(json.dumps(payload()).encode()[:-1] + b',"iss":"https://other.test"}'),
        good_header + b"." + encoded(json.dumps(payload()).encode()[:-1] + b',"x":NaN}'),
        good_header + b"." + encoded(json.dumps(payload()).encode()[:-1] + b',"x":' + b"[" * 6000),
        good_header + b"." + encoded(b"\xff\xfe" + json.dumps(payload()).encode("utf-16-le")),
        good_header + b"." + encoded(json.dumps(payload(sub="?" * 3 + ">" * 3)).encode()).replace(b"_", b"/"),
        good_header + b"." + encoded(b"1" * 5000),
    ]


@pytest.mark.parametrize("text", _tampered())
def test_what_is_no_token_is_refused(text: bytes) -> None:
    """What could be read in two ways, or in none, is refused: parts, padding, repeated members, NaN, nesting."""
    with pytest.raises(HsmRequestRefused):
        TOKENS.admit(text)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(text: bytes) -> None:
    """No other string gets a signature: each is refused with our error."""
    with pytest.raises(HsmRequestRefused):
        TOKENS.admit(text)


@given(st.recursive(st.none() | st.integers() | st.text() | st.floats(), st.lists, max_leaves=10))
def test_any_json_is_refused(value: object) -> None:
    """No JSON value but an object of ours is a payload."""
    with pytest.raises(HsmRequestRefused):
        TOKENS.admit(part(header(KID)) + b"." + part(value))


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_still_a_token(position: int, byte: int) -> None:
    """A token with one byte changed is refused, or is one that a strict reader finds to be ours."""
    text = bytearray(signing_input(KID, sub="someone"))
    text[position % len(text)] = byte
    try:
        TOKENS.admit(bytes(text))
    except HsmRequestRefused:
        return
    claims = jwt.decode(bytes(text).decode() + ".AA", options={"verify_signature": False})
    assert claims["iss"] == ISSUER
    assert 0 < claims["exp"] - claims["iat"] <= 300


PIN_INSTRUCTIONS = ("21", "24", "25", "26", "27", "28", "29", "2C", "2D")
VERIFY_NUMBER = "002000820E" + "31" * 14


def command(text: object) -> dict[str, object]:
    """Return a step with this command."""
    return {"name": "a", "expect": ["9000"], "command": text}


def test_scenario_is_let_through() -> None:
    """A scenario of ours passes: commands, the word to verify the holder, and 照合番号B for the card's front."""
    SCENARIOS.admit(scenario_input(KID))
    asked = {"name": "verify", "expect": ["9000"], "verify_holder": {"header": "00200080", "digits": 4}}
    SCENARIOS.admit(scenario_input(KID, mode="pin", steps=[command("00200080"), asked]))
    SCENARIOS.admit(scenario_input(KID, mode="front", steps=[command(VERIFY_NUMBER)]))
    SCENARIOS.admit(scenario_input(KID, mode="visual", steps=[command(VERIFY_NUMBER)]))
    SCENARIOS.admit(scenario_input(KID, steps=[command("00840000")] * 128))


def test_tokens_and_scenarios_are_not_taken_for_one_another() -> None:
    """Neither verb signs what the other is for, whichever of the two types the header names."""
    with pytest.raises(HsmRequestRefused, match="header"):
        SCENARIOS.admit(signing_input(KID))
    with pytest.raises(HsmRequestRefused, match="header"):
        TOKENS.admit(scenario_input(KID))
    typed = part({**header(KID), "typ": "jpki-scenario+jwt"})
    with pytest.raises(HsmRequestRefused, match="claims"):
        SCENARIOS.admit(typed + b"." + part(payload(exp=payload()["iat"] + 60)))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://other.test"},
        {"iat": 1_700_000_000.0},
        {"sub": "a token"},
        {"terminal": "A"},
        {"terminal": None},
        {"reader": "../x"},
        {"nonce": "00"},
        {"session": "1" * 31 + "\n"},
        {"mode": "verify"},
        {"steps": []},
        {"steps": {}},
        {"steps": [command("00840000")] * 129},
        {"steps": ["0084000010"]},
        {"steps": [command("008400")]},
        {"steps": [command("00 84 00 00")]},
        {"steps": [command("0084000g")]},
        {"steps": [command(None)]},
        {"steps": [{**command("00840000"), "verify_holder": None}]},
        {"steps": [{"name": "a", "expect": ["9000"]}]},
        {"steps": [command("002000800431323334")]},
        {"mode": "pin", "steps": [command("002000800431323334")]},
        {"mode": "front", "steps": [command("002000800431323334")]},
        {"mode": "pinless", "steps": [command(VERIFY_NUMBER)]},
        {"mode": "front", "steps": [command(VERIFY_NUMBER + "00")]},
        *({"mode": "pin", "steps": [command(f"00{ins}008004313233")]} for ins in PIN_INSTRUCTIONS),
        {"mode": "front", "steps": [command("00200082000004" + "31" * 4)]},
    ],
)
def test_what_is_no_scenario_of_ours_is_refused(changed: dict[str, object]) -> None:
    """Another issuer, a longer life, other claims or forms, and above all VERIFY with a PIN: nothing is signed."""
    with pytest.raises(HsmRequestRefused):
        SCENARIOS.admit(scenario_input(KID, **changed))


@pytest.mark.parametrize("claim", sorted(scenario()))
def test_a_scenario_says_everything(claim: str) -> None:
    """A scenario from which a claim is missing is refused."""
    claims = scenario()
    del claims[claim]
    with pytest.raises(HsmRequestRefused):
        SCENARIOS.admit(part({**header(KID), "typ": "jpki-scenario+jwt"}) + b"." + part(claims))


@given(st.binary(max_size=400))
def test_any_bytes_are_no_scenario(text: bytes) -> None:
    """No other string gets a signature: each is refused with our error."""
    with pytest.raises(HsmRequestRefused):
        SCENARIOS.admit(text)
