import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.errors import HsmUnavailable
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.messages import (
    HEADER_BYTES,
    LARGEST_FRAME,
    Canary,
    CanaryResult,
    Climbed,
    Climbing,
    KeyLabel,
    Loaded,
    LoggedIn,
    LogIn,
    LoginNeeded,
    NotBegun,
    Ready,
    Refusal,
    Reply,
    Request,
    Signature,
    SignChallenge,
    SignScenario,
    SignToken,
    Status,
    StatusReport,
    TokenSetup,
    Withdraw,
    body_length,
    frame,
    read_reply,
    read_request,
)
from appliance.hsm.vendor import SOFTHSM

SETUP = TokenSetup(
    vendor=SOFTHSM,
    module="/m.so",
    token="t",  # noqa: S106 - a label
    pin_file="/p",
    institution_keys=(b"i", b"j"),
    token_key=b"t",
    challenge_bytes=16,
    challenges_per_minute=1,
    issuer="us",
    token_lifetime_seconds=1,
)
REPORT = StatusReport(
    pid=1,
    library="l",
    token="t",  # noqa: S106 - a label
    manufacturer="m",
    model="m",
    firmware="1.0",
    serial="s",
    signatures=0,
)
VERBS = (
    SETUP,
    LogIn(),
    Withdraw(3),
    SignChallenge(b"c", "k"),
    SignToken(b"t"),
    SignScenario(b"s"),
    Canary("k"),
    Status(),
)
ANSWERS = (
    Loaded(),
    LoggedIn(),
    Ready((0.5, 0.25)),
    Signature(b"s"),
    CanaryResult(0.5),
    REPORT,
    Climbing(Rung.FIND_KEY, "CKR_KEY_HANDLE_INVALID", ErrorClass.TRANSIENT),
    LoginNeeded(),
    Climbed(Rung.REINITIALISE, healed=True),
    NotBegun(),
    Refusal(code="hsm_timeout", detail="late", ckr="CKR_DEVICE_ERROR", unsigned=True),
)


@pytest.mark.parametrize("verb", VERBS)
def test_request_survives_its_frame(verb: object) -> None:
    """Every request reads back as it was sent, and its header tells its length."""
    framed = frame(Request(7, verb))  # type: ignore[arg-type]  # parametrize loses the type
    assert body_length(framed[:HEADER_BYTES]) == len(framed) - HEADER_BYTES
    assert read_request(framed[HEADER_BYTES:]) == Request(7, verb)  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("answer", ANSWERS)
def test_reply_survives_its_frame(answer: object) -> None:
    """Every answer reads back as it was sent."""
    framed = frame(Reply(7, answer))  # type: ignore[arg-type]  # parametrize loses the type
    assert read_reply(framed[HEADER_BYTES:]) == Reply(7, answer)  # type: ignore[arg-type]  # as above


def test_request_is_no_reply() -> None:
    """What one side says is not understood by the same side."""
    with pytest.raises(HsmUnavailable):
        read_reply(frame(Request(1, Status()))[HEADER_BYTES:])


def test_setup_out_of_bounds_is_refused() -> None:
    """A worker takes no set-up with a challenge longer than any profile may have."""
    body = frame(Request(0, SETUP))[HEADER_BYTES:].replace(b"challenge_bytes\x10", b"challenge_bytes\x21")
    with pytest.raises(HsmUnavailable):
        read_request(body)


@given(st.binary(max_size=2000))
def test_any_bytes_decode_or_are_refused(body: bytes) -> None:
    """Whatever comes over the channel is a message or raises our error."""
    for read in (read_request, read_reply):
        try:
            message = read(body)
        except HsmUnavailable:
            continue
        assert isinstance(message, Request | Reply)


@given(st.sampled_from(VERBS), st.data())
def test_damaged_frames_decode_or_are_refused(verb: TokenSetup, data: st.DataObject) -> None:
    """A frame with a flipped byte, or cut short, is a message or raises our error."""
    body = bytearray(frame(Request(1, verb))[HEADER_BYTES:])
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_request(bytes(body[: data.draw(st.integers(0, len(body)))]))
    except HsmUnavailable as error:
        assert error.code == "hsm_unavailable"  # noqa: PT017 - either way is right


@given(st.binary(max_size=6))
def test_any_header_is_a_bounded_length_or_refused(header: bytes) -> None:
    """No header makes the reader wait for more than the largest frame."""
    try:
        assert 1 <= body_length(header) <= LARGEST_FRAME
    except HsmUnavailable:
        assert len(header) != HEADER_BYTES or not 1 <= int.from_bytes(header) <= LARGEST_FRAME


def test_nesting_is_refused() -> None:
    """Deeply nested arrays raise our error and not RecursionError."""
    with pytest.raises(HsmUnavailable):
        read_request(b"\x91" * 60_000)


def test_too_long_message_is_a_bug() -> None:
    """A message that fits no frame is refused where it is made."""
    with pytest.raises(ValueError, match="does not fit"):
        frame(Request(1, SignToken(bytes(LARGEST_FRAME))))


def test_labels_of_keys_are_a_closed_set() -> None:
    """Of two institution keys the preferred one is the next; one alone is the institution's."""
    labels = [KeyLabel.INSTITUTION_NEXT, KeyLabel.INSTITUTION, KeyLabel.TOKEN]
    assert [pinned.label for pinned in SETUP.pinned] == labels
    alone = replace(SETUP, institution_keys=(b"i",), token_key=None)
    assert [pinned.label for pinned in alone.pinned] == [KeyLabel.INSTITUTION]
