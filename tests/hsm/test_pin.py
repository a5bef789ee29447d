import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from appliance.errors import HsmPinUnavailable
from appliance.hsm.pkcs11.pin import Pin, locked_credential

TOKEN: Final = ("/m.so", "token")
"""Module and label; no test here goes as far as the module."""


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
    with locked_credential(_credential(tmp_path, content), *TOKEN) as credential, credential.pin() as read:
        assert read.encode() == pin


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 256, b"x" * 257])
def test_file_without_a_pin_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty file, or one too long for a PIN, is reported instead of tried."""
    with (
        locked_credential(_credential(tmp_path, content), *TOKEN) as credential,
        pytest.raises(HsmPinUnavailable),
        credential.pin(),
    ):
        pass


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644, 0o601])
def test_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """A PIN that group or others can get at is not used."""
    with (
        pytest.raises(HsmPinUnavailable, match="chmod 600"),
        locked_credential(_credential(tmp_path, b"1234", mode), *TOKEN),
    ):
        pass


def test_absent_file_and_folder_are_refused(tmp_path: Path) -> None:
    """A path that leads to no file is reported as ours."""
    for path in (tmp_path / "absent", tmp_path):
        tmp_path.chmod(0o700)
        with pytest.raises(HsmPinUnavailable), locked_credential(path, *TOKEN):
            pass


def test_pin_is_wiped_after_use(tmp_path: Path) -> None:
    """The buffer holds zeros once the login is over, also when it failed."""
    with locked_credential(_credential(tmp_path, b"1234"), *TOKEN) as credential:
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


_ANOTHER = """
import sys
from pathlib import Path
from appliance.hsm.pkcs11.pin import locked_credential
with locked_credential(Path(sys.argv[1]), *sys.argv[2:4]):
    print("in", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def _another(path: Path, *token: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start another process that logs in with the file at *path* until it reads a line."""
    process = subprocess.Popen(
        (sys.executable, "-c", _ANOTHER, str(path), *token),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate("\n", timeout=60)


def _said(process: subprocess.Popen[str], seconds: float = 60.0) -> str | None:
    """Return the line that *process* says, or None where it says nothing for so many *seconds*."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if readable else None


@pytest.mark.parametrize(
    ("module", "configuration"),
    [("m.so", "m.conf"), ("another.so", "m.conf"), ("m.so", "./m.conf")],
    ids=["same", "module by another path", "configuration by another path"],
)
def test_one_login_to_a_token_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, configuration: str
) -> None:
    """While one process logs in to a token, another waits, also where it gets there by other paths."""
    path = _credential(tmp_path, b"1234")
    (tmp_path / "another.so").symlink_to(tmp_path / "m.so")
    monkeypatch.setenv("SOFTHSM2_CONF", f"{tmp_path}/m.conf")
    with ExitStack() as stack:
        with locked_credential(path, f"{tmp_path}/m.so", "token"):
            others = _another(
                path, f"{tmp_path}/{module}", "token", SOFTHSM2_CONF=f"{tmp_path}/{configuration}"
            )
            other = stack.enter_context(others)
            assert _said(other, 2.0) is None
        assert _said(other) == "in\n"


def test_end_of_a_process_is_the_end_of_its_login(tmp_path: Path) -> None:
    """A process that is killed while it logs in keeps nobody else out."""
    path = _credential(tmp_path, b"1234")
    with _another(path, *TOKEN) as other:
        assert _said(other) == "in\n"
        other.kill()
        with locked_credential(path, *TOKEN):
            pass


@pytest.mark.parametrize(
    ("token", "environment"),
    [(("/m.so", "another"), {}), (("/n.so", "token"), {}), (TOKEN, {"SOFTHSM2_CONF": "/another"})],
    ids=["label", "module", "environment"],
)
def test_logins_to_two_tokens_do_not_wait(
    tmp_path: Path, token: tuple[str, str], environment: dict[str, str]
) -> None:
    """A token of another label, module or environment is logged in to at the same time, with the same file."""
    path = _credential(tmp_path, b"1234")
    with locked_credential(path, *TOKEN), _another(path, *token, **environment) as other:
        assert _said(other) == "in\n"
