"""What systemd is told."""

import os
import socket
from pathlib import Path

from appliance.daemon.notify import Notifier


def test_messages_arrive_as_systemd_reads_them(folder: Path) -> None:
    """One datagram for each; a reload tells when it began, by the clock that systemd uses."""
    address = folder / "notify"
    environment = {
        "NOTIFY_SOCKET": str(address),
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        notifier = Notifier.from_environment(environment)
        notifier.ready("serving\nMAINPID=1")
        notifier.reloading()
        notifier.stopping("ending")
        notifier.alive()
        messages = [systemd.recv(1000).decode().splitlines() for _ in range(4)]
    assert environment == {}
    assert notifier.watchdog_seconds == 3.0
    assert messages[0] == ["READY=1", "STATUS=serving MAINPID=1"]
    assert messages[1][0] == "RELOADING=1"
    assert messages[1][1].removeprefix("MONOTONIC_USEC=").isdigit()
    assert messages[2:] == [["STOPPING=1", "STATUS=ending"], ["WATCHDOG=1"]]


def test_an_abstract_address_is_understood() -> None:
    """As systemd writes it, with an @ in front."""
    name = f"jpki-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}")
        Notifier(f"@{name}").status("here")
        assert systemd.recv(1000) == b"STATUS=here"


def test_without_systemd_nobody_is_told(folder: Path) -> None:
    """Nor is anything wrong where nobody listens any more, or the watchdog is another process's."""
    Notifier.from_environment({}).ready("serving")
    Notifier(str(folder / "nobody")).ready("serving")
    other = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert Notifier.from_environment(other).watchdog_seconds is None
    assert Notifier.from_environment({"WATCHDOG_USEC": "soon"}).watchdog_seconds is None
