"""Which check of the holder may be claimed where."""

import pytest

from appliance.authentication import CheckMethod, IdentityCheck, Request
from appliance.card.jpki import Mode
from appliance.config import Settings, load
from appliance.errors import (
    ApplianceError,
    FaceDeviceUnknown,
    FrontMissing,
    IdentityCheckMissing,
    OperatorUnknown,
)
from appliance.hsm.shipped import shipped
from appliance.policy import Policy
from tests.test_config import written

POLICY = Policy(frozenset({"yamada", "sato"}), {"desk-1": "face-1", "ward-3.": "face-2"})


def request(method: CheckMethod | None, by: str = "", desk: str = "desk-1") -> Request:
    """Return a request for authentication without a PIN."""
    return Request(Mode.PINLESS, desk, None if method is None else IdentityCheck(method, by))


FACE, VISUAL, PIN = CheckMethod.FACE, CheckMethod.VISUAL, CheckMethod.PIN


@pytest.mark.parametrize(
    ("asked", "reads_front"),
    [
        (request(FACE, "face-1"), False),
        (request(FACE, "face-2", "ward-3.left"), False),
        (request(FACE, "face-2", "ward-3.right"), False),
        (request(VISUAL, "yamada"), True),
        (request(VISUAL, "sato", "ward-4.left"), True),
        (Request(Mode.PIN, "desk-9"), False),
    ],
)
def test_what_is_registered_may_be_claimed(asked: Request, reads_front: bool) -> None:  # noqa: FBT001 - a table's column
    """A desk's own device, an operator who sees the front, and the PIN, which the card checks, everywhere."""
    POLICY.require(asked, reads_front=reads_front)


@pytest.mark.parametrize(
    ("asked", "reads_front", "error"),
    [
        (request(None), True, IdentityCheckMissing),
        (request(PIN, "desk-1"), True, IdentityCheckMissing),
        (request(FACE, "face-2"), False, FaceDeviceUnknown),
        (request(FACE, "face-1", "desk-2"), False, FaceDeviceUnknown),
        (request(FACE, "face-1", "ward-3.left"), False, FaceDeviceUnknown),
        (request(FACE, "face-2", "ward-3"), False, FaceDeviceUnknown),
        (request(FACE, "face-1", "desk-1.left"), False, FaceDeviceUnknown),
        (request(VISUAL, "suzuki"), True, OperatorUnknown),
        (request(VISUAL, "suzuki"), False, OperatorUnknown),
        (request(VISUAL, "yamada"), False, FrontMissing),
    ],
)
def test_each_refusal_has_its_own_cause(
    asked: Request,
    reads_front: bool,  # noqa: FBT001 - a table's column
    error: type[ApplianceError],
) -> None:
    """Another desk's device, no device, somebody unknown, and a check by eye without the front: never the wrong reason."""
    with pytest.raises(error):
        POLICY.require(asked, reads_front=reads_front)


@pytest.mark.parametrize("asked", [request(FACE, "face-1"), request(VISUAL, "yamada")])
def test_without_settings_the_pin_alone_counts(asked: Request) -> None:
    """An appliance that was not told of devices and operators believes nobody."""
    with pytest.raises((FaceDeviceUnknown, OperatorUnknown)):
        Policy().require(asked, reads_front=True)
    Policy().require(Request(Mode.PIN, "desk-1"), reads_front=False)


def settings(folder: object, *changes: tuple[str, str]) -> Settings:
    """Return the settings of the annotated example, changed."""
    text = shipped("appliance.toml").read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return load(written(folder, text)).settings  # type: ignore[arg-type]  # a path, as the fixture gives it


def test_policy_is_what_the_configuration_says(tmp_path: object) -> None:
    """Readers' and terminals' devices, operators and seconds; peers of other roles have no desks."""
    terminal = (
        '\n[[peer]]\nalias = "ward-3"\nrole = "terminal"\nuser = "x"\nface_device = "face-2"\n[terminals]\n'
    )
    made = Policy.of(settings(tmp_path, ("\n[terminals]\n", terminal)))
    assert (made.face_device("desk-1"), made.face_device("ward-3.left")) == ("kiosk-1", "face-2")
    assert (made.face_device("ward-3"), made.face_device("desk-1.left")) == (None, None)
    assert (made.operators, made.decision_seconds) == (frozenset({"operator-1", "operator-2"}), 120.0)


def test_a_configuration_that_names_nobody_permits_nobody(tmp_path: object) -> None:
    """Absent settings mean no, not anybody."""
    made = Policy.of(
        settings(
            tmp_path,
            ('operators = ["operator-1", "operator-2"]\n', ""),
            ("[policy]\n", ""),
            ("decision_seconds = 120.0\n", ""),
            ("emergency_hours = 0.0\n", ""),
            ('face_device = "kiosk-1"\n', ""),
        )
    )
    assert made == Policy()
