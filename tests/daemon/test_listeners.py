"""Sockets: our own, which replace nobody's, and systemd's, which are checked."""

import os
import socket
from pathlib import Path

import pytest

from appliance.daemon.listeners import UnixListener, handed_over, tcp
from appliance.errors import ConfigInvalid


def test_our_own_socket_has_its_mode_from_the_first_moment(folder: Path) -> None:
    """It appears under its name when it is ready, and nothing else stays."""
    listener = UnixListener.open(folder / "run" / "own.sock")
    with listener.socket, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(listener.path))
        assert listener.path.stat().st_mode & 0o777 == 0o660
        assert [path.name for path in listener.path.parent.iterdir()] == ["own.sock"]
        listener.remove()
    assert not listener.path.exists()


def test_a_socket_in_use_is_not_taken(folder: Path) -> None:
    """Somebody who listens there goes on; one whose process is gone is replaced."""
    path = folder / "own.sock"
    first = UnixListener.open(path)
    with pytest.raises(ConfigInvalid, match="another process"):
        UnixListener.open(path)
    first.socket.close()
    second = UnixListener.open(path)
    with second.socket:
        first.remove()
        assert path.is_socket(), "the first one's end takes nothing of the second one's away"


def test_what_is_no_socket_is_left_alone(folder: Path) -> None:
    """A file by that name is somebody's, and a name that is too long is refused."""
    path = folder / "file"
    path.write_text("important")
    with pytest.raises(ConfigInvalid, match="no socket"):
        UnixListener.open(path)
    assert path.read_text() == "important"
    with pytest.raises(ConfigInvalid, match=r"gateway\.socket"):
        UnixListener.open(folder / ("x" * 120))


def test_a_port_in_use_is_told() -> None:
    """The message names the setting; an address that is none is refused, and names are not looked up."""
    with (
        tcp("127.0.0.1", 0, "metrics.address") as first,
        pytest.raises(ConfigInvalid, match=r"metrics\.address 127\.0\.0\.1"),
    ):
        tcp("127.0.0.1", first.getsockname()[1], "metrics.address")
    with pytest.raises(ConfigInvalid, match=r"metrics\.address"):
        tcp("metrics.example.jp", 0, "metrics.address")


def test_sockets_of_another_process_are_not_ours() -> None:
    """What systemd says counts for the process that it names, and children do not inherit the words."""
    environment = {
        "LISTEN_PID": str(os.getpid() + 1),
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "x",
        "PATH": "/bin",
    }
    handed = handed_over(environment)
    assert (handed.local, handed.network, handed.metrics) == ([], [], [])
    assert environment == {"PATH": "/bin"}


def test_too_many_or_wrong_descriptors_are_refused() -> None:
    """Nothing is guessed about what was handed over."""
    with pytest.raises(ConfigInvalid, match="more than"):
        handed_over({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "4000"})
