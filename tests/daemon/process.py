"""The daemon as a process, at a site of its own, with everything around it that it needs."""

import contextlib
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec

from appliance.cli.demonstration.site import build
from appliance.simulator import ports
from appliance.simulator.faults import Fault
from appliance.simulator.network_pki import NetworkAuthority
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.reader import InsertedCard, load_card

NOBODY = 65534
UNPRIVILEGED: tuple[str, ...] = (
    ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--") if os.geteuid() == 0 else ()
)
"""The daemon refuses root. Where tests run as root, it gets another account in a user namespace, without any privilege."""
ACCOUNT = pwd.getpwuid(NOBODY if UNPRIVILEGED else os.geteuid()).pw_name
"""Under which the daemon sees itself, and this process."""
SECONDS = 60.0
_SHARES = 8
_SHARE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARES
PORTS = range(12_000 + 1_000 * _SHARE, 13_000 + 1_000 * _SHARE)
"""Those of this process: a daemon that is started again and again has its port to itself, also while it does not run."""
_UNUSED = list(PORTS)
ORDER = {"desk": "desk-1", "mode": "pinless", "identity_check": {"method": "face", "device": "kiosk-1"}}


def free_port() -> int:
    """Return a port that was free a moment ago, and that no other test gets."""
    port = ports.free(_UNUSED)
    _UNUSED.remove(port)
    return port


@dataclass(frozen=True, slots=True)
class Site:
    """A site in *folder*, whose appliance has its network listener on *port*, and the pcscd of its reader."""

    folder: Path
    port: int
    pcscd: PrivatePcscd
    authority: NetworkAuthority

    @classmethod
    def made(cls, folder: Path, pcscd: PrivatePcscd) -> Self:
        """Make one whose canaries are quick, whose budgets are large, and that is patient with a machine that stalls."""
        port = free_port()
        build(folder, port=port, metrics_port=0, account=ACCOUNT)
        authority = NetworkAuthority.create(datetime.now(UTC))
        authority.save(folder / "tls")
        site = cls(folder, port, pcscd, authority)
        authority.issue_server(folder / "tls" / "server.pem", ("localhost",))
        for name in ("ward-1", "operator-1"):
            authority.issue_client(folder / "tls" / f"{name}.pem", f"{name}.example.jp")
        site.change(
            ("canary_seconds = 60.0", "canary_seconds = 1.0"),
            # No more, for a reload with other HSM settings takes as long.
            ("sign_seconds = 5.0", "sign_seconds = 4.0"),
            ("append_seconds = 2.0", "append_seconds = 20.0"),
            # So long, too, that a desk does not become empty by itself while a test waits for what makes it so.
            (
                "card_seconds = 15.0\nexchange_seconds = 10.0\npin",
                "card_seconds = 120.0\nexchange_seconds = 30.0\npin",
            ),
            (
                "exchange_seconds = 10.0\ncard_seconds = 15.0\npin",
                "exchange_seconds = 30.0\ncard_seconds = 120.0\npin",
            ),
            ("challenges_per_minute = 600", "challenges_per_minute = 60000"),
            (
                f'user = "{ACCOUNT}"\n',
                f'user = "{ACCOUNT}"\nbudget = {{ per_minute = 60000, at_once = 64 }}\n',
            ),
        )
        site.add(
            '[[peer]]\nalias = "operator-1"\nrole = "operator"\ncertificate_name = "operator-1.example.jp"\n'
        )
        return site

    @property
    def file(self) -> Path:
        """The configuration."""
        return self.folder / "appliance.toml"

    @property
    def socket(self) -> Path:
        """Where reception asks."""
        return self.folder / "run" / "appliance.sock"

    def change(self, *changes: tuple[str, str]) -> None:
        """Replace text of the configuration by other text."""
        text = self.file.read_text()
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self.file.write_text(text)

    def add(self, text: str) -> None:
        """Put *text* at the end of the configuration."""
        self.file.write_text(f"{self.file.read_text()}\n{text}")

    @contextlib.contextmanager
    def changed(self, *changes: tuple[str, str]) -> Iterator[None]:
        """Have the configuration say something else for the length of a block."""
        before = self.file.read_text()
        self.change(*changes)
        try:
            yield
        finally:
            self.file.write_text(before)

    @contextlib.contextmanager
    def without_hsm(self) -> Iterator[None]:
        """Have the token's files gone for the length of a block."""
        tokens = self.folder / "softhsm" / "tokens"
        away = tokens.rename(tokens.with_name("away"))
        try:
            yield
        finally:
            away.rename(tokens)

    @contextlib.contextmanager
    def card(self, *faults: Fault) -> Iterator[InsertedCard]:
        """Have the card on the reader for the length of a block."""
        (reader,) = self.pcscd.readers
        inserted = InsertedCard(load_card(self.folder / "card", faults), reader.host, reader.port)
        try:
            yield inserted
        finally:
            inserted.remove()

    def environment(self) -> dict[str, str]:
        """What the daemon finds around it."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PCSCLITE_CSOCK_NAME": str(self.pcscd.socket_path),
        }


@dataclass(slots=True)
class Daemon:
    """A running daemon at *site*. Made by `started`."""

    site: Site
    process: subprocess.Popen[bytes]
    notified: socket.socket
    log: Path
    _heard: list[str] = field(default_factory=list)

    @property
    def messages(self) -> list[str]:
        """What it has told systemd so far, with what has come meanwhile."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._heard.append(self.notified.recv(4096).decode())
        return self._heard

    def hear(self, line: str, after: int = 0) -> str:
        """Wait until it tells systemd a message, behind *after* others, that has *line*; return the message."""
        deadline = time.monotonic() + SECONDS
        while True:
            for message in self.messages[after:]:
                if line in message.splitlines():
                    return message
            assert self.process.poll() is None, (
                f"ended with {self.process.returncode}: {self.log.read_text()}"
            )
            left = deadline - time.monotonic()
            told = f"{self._heard}; {self.log.read_text()}"
            assert left > 0, f"never told {line}; told {told}"
            select.select([self.notified], [], [], min(left, 0.5))

    def reload(self) -> None:
        """Have it read the configuration again, and wait until it has."""
        told = len(self.messages)
        self.process.send_signal(signal.SIGHUP)
        self.hear("RELOADING=1", told)
        self.hear("READY=1", told)

    def end(self) -> int:
        """End it, and return its exit status."""
        self.process.terminate()
        return self.process.wait(SECONDS)

    def logged(self) -> list[dict[str, Any]]:
        """Return what it has logged; each line is one JSON object."""
        return [msgspec.json.decode(line) for line in self.log.read_text().splitlines()]

    @property
    def metrics(self) -> str:
        """Where it answers Prometheus."""
        (port,) = (
            line["event"].removeprefix("metrics port=")
            for line in self.logged()
            if line["event"].startswith("metrics port=")
        )
        return f"http://127.0.0.1:{port}/metrics"


def session(site: Site) -> aiohttp.ClientSession:
    """Return a client on the socket of the daemon at *site*."""
    return aiohttp.ClientSession(
        "http://appliance",
        connector=aiohttp.UnixConnector(str(site.socket)),
        timeout=aiohttp.ClientTimeout(SECONDS),
    )


@contextlib.contextmanager
def started(
    site: Site, folder: Path, environment: Mapping[str, str] | None = None, *, launcher: tuple[str, ...] = ()
) -> Iterator[Daemon]:
    """Start the daemon at *site*, wait until it is ready, and end it after the block; its log is in *folder*."""
    with begun(site, folder, environment, launcher=launcher) as daemon:
        daemon.hear("READY=1")
        yield daemon


@contextlib.contextmanager
def begun(
    site: Site, folder: Path, environment: Mapping[str, str] | None = None, *, launcher: tuple[str, ...] = ()
) -> Iterator[Daemon]:
    """Start the daemon at *site*, and end it after the block."""
    address = folder / "notify"
    log = folder / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, log.open("wb") as written:
        notified.bind(str(address))
        notified.settimeout(0)
        process = subprocess.Popen(
            (
                *UNPRIVILEGED,
                *launcher,
                sys.executable,
                "-m",
                "appliance",
                "serve",
                "--config",
                str(site.file),
            ),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            env={**site.environment(), "NOTIFY_SOCKET": str(address), **(environment or {})},
        )
        try:
            yield Daemon(site, process, notified, log)
        finally:
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            address.unlink()
