"""HAProxy as Debian has it, with the configuration that ships: only addresses, files, intervals and sizes are others."""

import contextlib
import csv
import io
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.hsm.shipped import shipped
from tests.daemon.process import SECONDS, UNPRIVILEGED, free_port

_ACCOUNT = "log /dev/log local0\n    user haproxy\n    group haproxy\n"
_INTERVALS = "inter 2s fall 2"


def program() -> str:
    """Return where HAProxy is; fail where it is not installed."""
    found = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
    assert found is not None, "haproxy is not installed (Debian package haproxy)"
    return found


@dataclass(frozen=True, slots=True)
class Balancer:
    """HAProxy in *folder*, listening on *port*."""

    folder: Path
    port: int

    @property
    def file(self) -> Path:
        """Its configuration."""
        return self.folder / "haproxy.cfg"

    def configure(self, nodes: tuple[int, int]) -> None:
        """Write its configuration, for *nodes* on these ports; certificates are in its folder already."""
        changes = [
            (_ACCOUNT, "log stdout format raw local0\n", 1),
            ("/run/haproxy/admin.sock mode 660", f"{self.folder / 'admin'} mode 600", 1),
            ("maxconn 20000", "maxconn 1000", 1),
            ("bind :8443", f"bind 127.0.0.1:{self.port}", 1),
            ("/etc/haproxy/appliance-ca.pem", str(self.folder / "ca.pem"), 2),
            ("/etc/haproxy/balancer.pem", str(self.folder / "balancer.pem"), 2),
            # A node that a busy machine keeps waiting is none that is gone.
            ("timeout check 2s", "timeout check 10s", 1),
            (_INTERVALS, "inter 1s fall 2", 2),
            ("rise 45", "rise 2", 1),
            *((f"192.0.2.1{number}:8443", f"127.0.0.1:{port}", 3) for number, port in enumerate(nodes, 1)),
        ]
        text = shipped("haproxy.cfg").read_text()
        for old, new, times in changes:
            assert text.count(old) == times, old
            text = text.replace(old, new)
        self.file.write_text(text)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have it run for the length of a block."""
        with (self.folder / "said").open("wb") as said:
            process = subprocess.Popen(
                (*UNPRIVILEGED, program(), "-db", "-f", str(self.file)),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            try:
                yield
            finally:
                process.terminate()
                process.wait(SECONDS)

    def states(self, backend: str = "settled") -> dict[str, str]:
        """Return whether the nodes are UP, by the checks of *backend*."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(self.folder / "admin"))
            asking.sendall(b"show stat\n")
            answer = b"".join(iter(lambda: asking.recv(65_536), b"")).decode()
            rows = csv.DictReader(io.StringIO(answer.removeprefix("# ")))
            return {
                row["svname"]: row["status"].split()[0]
                for row in rows
                if row["pxname"] == backend and row["svname"].startswith("node-")
            }
        return {}

    def await_states(self, *states: str, backend: str = "settled") -> None:
        """Wait until the nodes are so, in their order."""
        deadline = time.monotonic() + SECONDS
        while (now := tuple(self.states(backend).values())) != states:
            assert time.monotonic() < deadline, f"{now}: {(self.folder / 'said').read_text()}"
            time.sleep(0.05)


def new(folder: Path) -> Balancer:
    """Return a balancer that is not configured yet."""
    return Balancer(folder, free_port())
