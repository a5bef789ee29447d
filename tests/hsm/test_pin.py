import fcntl
from pathlib import Path

import pytest

from appliance.errors import HsmPinUnavailable
from appliance.hsm.pkcs11.pin import Pin, locked_credential


def _credential(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "pin"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "pin"),
    [(b"1234", b"1234"), (b"1234\n", b"1234"), (b"12 34\n\n", b"12 34\n"), (b"x" * 255, b"x" * 255)],
)
def test_pin_is_the_file_without_one_newline(tmp_path: Path, content: bytes, pin: bytes) -> None:
    """One trailing newline, which editors write, is not part of the PIN; everything else is."""
    with locked_credential(_credential(tmp_path, content)) as credential, credential.pin() as read:
        assert read.encode() == pin


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 256, b"x" * 257])
def test_file_without_a_pin_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty file, or one too long for a PIN, is reported instead of tried."""
    with (
        locked_credential(_credential(tmp_path, content)) as credential,
        pytest.raises(HsmPinUnavailable),
        credential.pin(),
    ):
        pass


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644, 0o601])
def test_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """A PIN that group or others can get at is not used."""
    with (
        pytest.raises(HsmPinUnavailable, match="chmod 600"),
        locked_credential(_credential(tmp_path, b"1234", mode)),
    ):
        pass


def test_absent_file_and_folder_are_refused(tmp_path: Path) -> None:
    """A path that leads to no file is reported as ours."""
    for path in (tmp_path / "absent", tmp_path):
        tmp_path.chmod(0o700)
        with pytest.raises(HsmPinUnavailable), locked_credential(path):
            pass


def test_pin_is_wiped_after_use(tmp_path: Path) -> None:
    """The buffer holds zeros once the login is over, also when it failed."""
    with locked_credential(_credential(tmp_path, b"1234")) as credential:
        with credential.pin() as pin:
            buffer = pin.encode()
        assert buffer == bytes(4)
        with pytest.raises(RuntimeError), credential.pin() as pin:  # noqa: PT012 - the error comes in between
            buffer = pin.encode()
            raise RuntimeError
        assert buffer == bytes(4)


def test_pin_does_not_show_itself() -> None:
    """Neither repr nor str of a PIN holds it."""
    pin = Pin(bytearray(b"1234"))
    assert "1234" not in f"{pin!r} {pin}"


def test_one_login_at_a_time(tmp_path: Path) -> None:
    """While one process has the credential, another one does not get it."""
    path = _credential(tmp_path, b"1234")
    with path.open() as other:
        with locked_credential(path), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
