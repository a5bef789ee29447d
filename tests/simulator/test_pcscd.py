"""A private pcscd: it comes up, goes away without a trace, and says what is wrong."""

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import PartMissing, PcscUnavailable
from appliance.simulator import pcscd
from appliance.simulator.pcscd import PrivatePcscd

LIST = (
    "from smartcard import scard; c = scard.SCardEstablishContext(0)[1]; print(scard.SCardListReaders(c, []))"
)
HOLD = """
import sys
from appliance.simulator.pcscd import PrivatePcscd
with PrivatePcscd(["Held"]) as held:
    print(held.process_id, flush=True)
    sys.stdin.read()
"""


def listed(service: PrivatePcscd) -> str:
    """Return what a program of its own sees in *service*."""
    done = subprocess.run(
        [sys.executable, "-c", LIST],
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def ended(process_id: int) -> bool:
    """Wait until the process, which is none of our children, has ended."""
    try:
        descriptor = os.pidfd_open(process_id)
    except ProcessLookupError:
        return True
    with open(descriptor, "rb", closefd=True) as process:  # noqa: PTH123 - it has no path
        return bool(select.select([process], [], [], 10)[0])


def test_several_at_once() -> None:
    """Each pcscd has its own readers, and nothing of any remains: no process, no folder, no mount."""
    before = Path("/proc/self/mounts").read_text(encoding="utf-8")
    with PrivatePcscd(["Front desk", "Ward 2"]) as one, PrivatePcscd(["Front desk"]) as two:
        assert "Ward 2 00 00" in listed(one)
        assert "Ward 2" not in listed(two)
        assert [reader.name for reader in two.readers] == ["Front desk 00 00"]
        processes = [one.process_id, two.process_id]
        folders = [service.socket_path.parent for service in (one, two)]
        assert Path("/proc/self/mounts").read_text(encoding="utf-8") == before
    assert all(process is not None and ended(process) for process in processes)
    assert not any(folder.exists() for folder in folders)


def test_restart() -> None:
    """After a restart there are the same path, the same ports and the same readers, in a new process."""
    with PrivatePcscd(["Front desk"]) as service:
        before = (service.socket_path, service.readers, listed(service))
        process = service.process_id
        service.stop()
        assert not service.running
        assert service.process_id is None
        service.start()
        assert service.running
        assert (service.socket_path, service.readers, listed(service)) == before
        assert service.process_id != process
        with pytest.raises(ValueError, match="has not been stopped"):
            service.start()


def test_error_in_the_block() -> None:
    """An error in the block ends pcscd too."""
    service, processes = PrivatePcscd(["Front desk"]), []

    def fail() -> None:
        processes.append(service.process_id)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), service:
        fail()
    assert processes[0] is not None
    assert ended(processes[0])
    assert not service.running


def test_killed_parent(tmp_path: Path) -> None:
    """It ends with the process that started it, even if that one is killed."""
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # nobody is left to remove its folder
    )
    with parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    assert ended(process)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_being_root() -> None:
    """An ordinary user can have a private pcscd too."""
    code = HOLD.replace("sys.stdin.read()", "import os; print(os.geteuid(), held.running)")
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"},  # noqa: S108
        timeout=60,
        check=False,
    )
    assert done.stdout.endswith("65534 True\n"), done.stderr


def test_taken_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that was taken between looking and starting makes it choose again."""
    with socket.create_server(("", 0)) as taken:
        choices = [(taken.getsockname()[1],), pcscd._free_ports(1)]
        monkeypatch.setattr(pcscd, "_free_ports", lambda _count: choices.pop(0))
        with PrivatePcscd(["Front desk"]) as service:
            assert service.readers[0].port != taken.getsockname()[1]
            assert not choices


def test_folder_of_ones_own(tmp_path: Path) -> None:
    """With a given folder the socket has a foreseeable path, and the folder stays."""
    for _ in range(2):
        with PrivatePcscd(["Front desk"], tmp_path) as service:
            assert service.socket_path == tmp_path / "pcscd" / "pcscd.comm"
            assert service.socket_path.is_socket()
        assert not service.socket_path.exists()


def test_last_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pcscd that does not come up is told with its own last words."""
    failing = tmp_path / "setpriv"
    failing.write_text("#!/bin/sh\necho no such thing here\nexit 1\n", encoding="ascii")
    failing.chmod(0o755)
    monkeypatch.setattr(pcscd, "_PATH", f"{tmp_path}:{os.defpath}:/usr/sbin")
    with pytest.raises(PcscUnavailable, match="no such thing here"), PrivatePcscd(["Front desk"]):
        pass


def test_missing_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is named with its Debian package."""
    with monkeypatch.context() as patch:
        patch.setattr(pcscd, "_PATH", str(tmp_path))
        with pytest.raises(PartMissing, match="package pcscd"), PrivatePcscd(["Front desk"]):
            pass
    monkeypatch.setattr(pcscd, "DRIVER", tmp_path / "driver.so")
    with pytest.raises(PartMissing, match="package vsmartcard-vpcd"), PrivatePcscd(["Front desk"]):
        pass


@pytest.mark.parametrize("names", [[], ["a", "a"], ["x"] * 9, ['quote"'], ["line\nbreak"], [""]])
def test_bad_names(names: list[str]) -> None:
    """Names that pcscd could not tell apart, or would read as more than a name, are refused."""
    with pytest.raises(ValueError, match="reader"):
        PrivatePcscd(names)
