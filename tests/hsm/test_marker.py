"""What a rejected PIN leaves behind."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.errors import ConfigInvalid
from appliance.hsm.marker import Marker, Rejection
from tests.hsm.test_breaker import HSM

REJECTION = Rejection(
    hsm="hsm-1",
    token="t",  # noqa: S106 - a label
    module="/m.so",
    pin_file="/p",
    time=datetime(2026, 11, 22, tzinfo=UTC),
    detail="logging in: CKR_PIN_INCORRECT",
)


def test_marker_says_what_was_written(tmp_path: Path) -> None:
    """A marker is there once it is set, says when and why, and is gone when it was removed."""
    marker = Marker.of(HSM, tmp_path / "state")
    marker.prepare()
    assert not marker.is_set()
    assert marker.read() is None
    marker.set(REJECTION)
    assert marker.is_set()
    assert marker.read() == REJECTION
    assert list(marker.path.parent.iterdir()) == [marker.path]
    marker.remove()
    marker.remove()
    assert not marker.is_set()


def test_marker_belongs_to_the_token(tmp_path: Path) -> None:
    """Another alias is the same token; another label, module or environment is another one."""
    mine = Marker.of(HSM, tmp_path).path
    assert Marker.of(replace(HSM, alias="other"), tmp_path).path == mine
    assert Marker.of(replace(HSM, environment={"A": "b"}), tmp_path).path != mine


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"hsm": 1}'])
def test_marker_that_says_nothing_still_counts(tmp_path: Path, content: bytes) -> None:
    """A damaged marker is there all the same."""
    marker = Marker.of(HSM, tmp_path)
    marker.path.write_bytes(content)
    assert marker.is_set()
    assert marker.read() is None


def test_marker_out_of_reach_counts_as_there(tmp_path: Path) -> None:
    """Where nobody can look, nobody may log in."""
    (tmp_path / "file").touch()
    assert Marker(tmp_path / "file" / "marker").is_set()
    with pytest.raises(ConfigInvalid):
        Marker(tmp_path / "file" / "marker").prepare()
    with pytest.raises(ConfigInvalid):
        Marker(tmp_path / "file" / "marker").remove()
