"""
A private pcscd with virtual readers: nobody else's readers, nobody else's cards, no trace afterwards.

pcscd insists on its folder under /run. It gets a mount namespace in which /run is a temporary folder of ours, so
that several run side by side, also without being root. Clients find it through PCSCLITE_CSOCK_NAME; libpcsclite
reads that variable once in a process, so one process can speak to one pcscd *socket_path* only.

vpcd gives every reader two slots, on its port and on the next one; the second slot stays empty. It listens
on all addresses: this is for tests and demonstrations.
"""

import contextlib
import os
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from appliance.errors import ConfigInvalid, PartMissing, PcscUnavailable
from appliance.simulator.ports import is_free

DRIVER: Final = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
MOST_READERS: Final = 8
"""pcscd stops at 16 slots, and each reader has two."""

_PORTS: Final = range(20_000, 32_000, 2)
"""Below the ports that the system hands out by itself."""
_ATTEMPTS: Final = 5
_START, _GRACE, _STOP, _POLL = 15.0, 1.0, 5.0, 0.01
_LOG_LINES: Final = 15
_LISTENING: Final = "0A"
_PATH_LIMIT: Final = 107

# The last program sets the death signal: a change of credentials before it would clear it again.
_SCRIPT: Final = (
    'mount --bind "$0" /run && exec setpriv --pdeathsig KILL pcscd --foreground --config /run/readers'
)


@dataclass(frozen=True, slots=True)
class VirtualReader:
    """A reader under the *name* PC/SC knows it by; a card on it connects to *port* of *host*."""

    name: str
    port: int
    host: str = "127.0.0.1"


class PrivatePcscd:
    """
    A pcscd of our own with one virtual reader for each of *names*; a context manager.

    *folder* is where its files go, a new temporary one if None; with the same folder a second pcscd gets the same
    `socket_path`. `restart` is what a failing service looks like to its clients: same path, same readers.
    It ends with the thread that started it, however that ends.
    """

    def __init__(self, names: Sequence[str], folder: Path | None = None) -> None:
        if not 1 <= len(names) <= MOST_READERS or len(set(names)) != len(names):
            raise ValueError(f"a private pcscd has 1 to {MOST_READERS} readers of different names")
        if any(re.fullmatch(r"[A-Za-z0-9 ._-]{1,100}", name) is None for name in names):
            raise ValueError("a reader's name consists of letters, digits, blanks, dots, dashes")
        self._names = tuple(names)
        self._given = folder
        self._ports: tuple[int, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        for program, package in (("pcscd", "pcscd"), ("unshare", "util-linux"), ("setpriv", "util-linux")):
            if _program(program) is None:
                raise PartMissing(f"the program {program} is not installed (Debian package {package})")
        if not DRIVER.exists():
            raise PartMissing(f"{DRIVER} is not installed (Debian package vsmartcard-vpcd)")
        with contextlib.ExitStack() as closing:
            if self._given is None:
                self._folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="pcscd-")))
            else:
                self._folder = self._given
            if len(os.fsencode(self.socket_path)) > _PATH_LIMIT:
                raise ConfigInvalid(f"{self.socket_path} is too long for a socket")
            for part in ("pcscd", "readers", "drivers"):
                (self._folder / part).mkdir(parents=True, exist_ok=True)
            closing.callback(self.stop)
            self._begin()
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._closing.close()

    @property
    def socket_path(self) -> Path:
        """What clients set PCSCLITE_CSOCK_NAME to."""
        return self._folder / "pcscd" / "pcscd.comm"

    @property
    def environment(self) -> dict[str, str]:
        """The environment for programs that shall use this pcscd."""
        return {**os.environ, "PCSCLITE_CSOCK_NAME": str(self.socket_path)}

    @property
    def readers(self) -> tuple[VirtualReader, ...]:
        """The readers, in the order their names were given."""
        # pcscd adds two numbers to a name: which of the readers of that name, and which slot
        return tuple(
            VirtualReader(f"{name} 00 00", port) for name, port in zip(self._names, self._ports, strict=True)
        )

    @property
    def running(self) -> bool:
        """Whether pcscd runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int | None:
        """The process of pcscd, or None while it is stopped."""
        return None if self._process is None else self._process.pid

    def stop(self) -> None:
        """End pcscd, if it runs; its readers and cards are gone with it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()  # it keeps nothing that could be lost
            self._process.wait()
        self._process = None
        self.socket_path.unlink(missing_ok=True)

    def start(self) -> None:
        """Start pcscd again after `stop`, with the same readers on the same ports."""
        if self._process is not None:
            raise ValueError("this pcscd has not been stopped")
        if not self._try_ports(self._ports):
            raise PcscUnavailable(f"the private pcscd does not come up again:\n{self._last_lines()}")

    def restart(self) -> None:
        """End pcscd, and start it again."""
        self.stop()
        self.start()

    def _begin(self) -> None:
        for _attempt in range(_ATTEMPTS):
            if self._try_ports(_free_ports(len(self._names))):
                return
        raise PcscUnavailable(f"the private pcscd does not come up:\n{self._last_lines()}")

    def _try_ports(self, ports: tuple[int, ...]) -> bool:
        """Start pcscd with its readers on *ports*, and return whether it is ready; it is stopped again if not."""
        self._ports = ports
        entries = (
            f'FRIENDLYNAME "{name}"\nDEVICENAME /dev/null:0x{port:04X}\n'
            f"LIBPATH {driver}\nCHANNELID 0x{port:04X}\n"
            for name, port, driver in zip(self._names, ports, self._drivers(), strict=True)
        )
        (self._folder / "readers" / "virtual").write_text("\n".join(entries), encoding="ascii")
        with (self._folder / "log").open("wb") as log:
            own_user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
            self._process = subprocess.Popen(
                ("unshare", "--mount", *own_user, "--", "sh", "-c", _SCRIPT, str(self._folder)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": _PATH},
            )
        wanted = {port + slot for port in ports for slot in (0, 1)}
        deadline = time.monotonic() + _START
        while self.running and time.monotonic() < deadline:
            if self.socket_path.is_socket():
                if wanted <= _listening_ports(self._process.pid):
                    return True
                # it serves clients only after it has opened its readers: one that lacks then has lost its port
                deadline = min(deadline, time.monotonic() + _GRACE)
            time.sleep(_POLL)  # pcscd tells nobody when it is ready
        self.stop()
        return False

    def _drivers(self) -> Iterator[Path]:
        """Yield a driver for each reader: the driver keeps one port a process, so each further one is a copy."""
        yield DRIVER
        for number in range(1, len(self._names)):
            name = f"libifdvpcd-{number}.so"
            shutil.copyfile(DRIVER, self._folder / "drivers" / name)
            yield Path("/run/drivers") / name

    def _last_lines(self) -> str:
        lines = (self._folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
"""pcscd lies where an ordinary user's PATH does not lead."""


def _program(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


def _free_ports(count: int) -> tuple[int, ...]:
    """Return *count* ports that are free together with the one that follows each."""
    found = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if is_free(port) and is_free(port + 1):
            found.append(port)
            if len(found) == count:
                return tuple(found)
    raise PcscUnavailable("there are no free ports for virtual readers")


def _listening_ports(pid: int) -> set[int]:
    """Return the TCP ports on which the process *pid* itself listens: a connection would already be a card."""
    sockets = set(_sockets(pid))
    ports = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and fields[9] in sockets:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def _sockets(pid: int) -> Iterator[str]:
    """Yield the inode of every socket that the process *pid* has open."""
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = descriptor.readlink().name
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]
