"""
What systemd is told (sd_notify(3)): one datagram for each message, to the socket that NOTIFY_SOCKET names.

Not by a library: `sdnotify` has had no release since 2017, and the others bind to libsystemd and are built from C,
for what is thirty lines and a documented protocol.
"""

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

_ABSTRACT: Final = "@"
_LONGEST_STATUS: Final = 200
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Notifier:
    """Tells systemd, where it listens at *address*; nobody otherwise. It wants a sign of life each *watchdog_seconds*."""

    address: str | None = None
    watchdog_seconds: float | None = None

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Self:
        """Return what *environment* says, and take it out: what we start is not to speak for us."""
        address = environment.pop("NOTIFY_SOCKET", None)
        microseconds = environment.pop("WATCHDOG_USEC", "")
        owner = environment.pop("WATCHDOG_PID", str(os.getpid()))
        ours = microseconds.isdigit() and owner == str(os.getpid())
        return cls(address or None, int(microseconds) / _US if ours and int(microseconds) else None)

    def ready(self, status: str) -> None:
        """Tell that we serve."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """Tell how we are, in words for `systemctl status`."""
        self._send(_status(status))

    def reloading(self) -> None:
        """Tell that the configuration is read again; `ready` tells that it was."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Tell that we are about to end."""
        self._send("STOPPING=1", _status(status))

    def alive(self) -> None:
        """Give a sign of life, where one is wanted."""
        if self.watchdog_seconds is not None:
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self.address is None:
            return
        address = self.address
        if address.startswith(_ABSTRACT):
            address = "\0" + address[1:]
        # Nobody there to hear it is systemd's own trouble, and no reason to stop serving.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as own:
            own.setblocking(False)  # noqa: FBT003 - the method's only argument
            own.sendto("\n".join(lines).encode(), address)


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())[:_LONGEST_STATUS]
