"""The processes of the bench: the daemon, and the crowd; started, spoken to, and ended."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec

from appliance.cli.benches.daemon.crowd import Connect, Shown, Turn
from appliance.cli.benches.daemon.crowd import Site as Told
from appliance.cli.benches.daemon.node import WAIT
from appliance.cli.benches.daemon.site import Clinic
from appliance.cli.demonstration.stage import INSTITUTION_CODE
from appliance.errors import HsmUnavailable

_NODE: Final = (sys.executable, "-I", "-m", "appliance.cli.benches.daemon.node")
_CROWD: Final = (sys.executable, "-I", "-m", "appliance.cli.benches.daemon.crowd")
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Node:
    """A running daemon."""

    process: subprocess.Popen[bytes]
    profile: Path
    waited: Path

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self.process.pid

    def waits(self, first: int = 0) -> list[float]:
        """Return how long each card waited for the daemon between two exchanges, from wait number *first* on."""
        written = self.waited.read_bytes()[first * WAIT.size :]
        return [seconds for (seconds,) in WAIT.iter_unpack(written[: len(written) // WAIT.size * WAIT.size])]

    @contextlib.contextmanager
    def profiled(self, seconds: dict[str, float]) -> Iterator[None]:
        """Have it sample for the length of the block, and put what came out into *seconds*."""
        self.profile.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        yield
        self.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + _SECONDS
        while not self.profile.exists() and time.monotonic() < deadline:
            time.sleep(0.01)  # it writes the profile when it comes to it, and tells nobody
        seconds.update(msgspec.json.decode(self.profile.read_bytes(), type=dict[str, float]))


@contextlib.contextmanager
def running(clinic: Clinic, name: str, *, workers: int, at_once: int) -> Iterator[Node]:
    """Give a daemon at *clinic* that is ready, under a configuration called *name*."""
    file = clinic.configured(name, workers=workers, at_once=at_once)
    profile, waited, log, notify = (
        clinic.folder / f"{name}.{kind}" for kind in ("profile", "waited", "log", "notify")
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, log.open("wb") as written:
        told.bind(str(notify))
        told.settimeout(_SECONDS)
        process = subprocess.Popen(
            (*_NODE, str(file), str(profile), str(waited)),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            env={**_ENVIRONMENT, "NOTIFY_SOCKET": str(notify)},
            start_new_session=True,  # a terminal's Ctrl-C must not hit it in its login
        )
        try:
            _until_ready(told, process, log)
            yield Node(process, profile, waited)
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            notify.unlink()


def _until_ready(told: socket.socket, process: subprocess.Popen[bytes], log: Path) -> None:
    told.settimeout(0.2)
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(TimeoutError):
            if b"READY=1" in told.recv(4096).split(b"\n"):
                return
    said = log.read_text("utf-8").strip().splitlines()
    raise HsmUnavailable(f"the daemon did not get ready: {said[-1] if said else process.returncode}")


class Crowd:
    """The crowd's process, at the other end of two pipes."""

    def __init__(self, to: IO[bytes], answers: IO[bytes]) -> None:
        self._to, self._answers = to, answers

    def connect(self, first: int, count: int) -> Shown:
        """Have terminals connected, from the number *first* on."""
        return self._ask(Connect(first, count))

    def turn(self, seconds: float, callers: int, rate: float | None = None) -> Shown:
        """Have *callers* authenticate for *seconds* (`crowd.Turn`)."""
        return self._ask(Turn(seconds, callers, rate))

    def _ask(self, told: Connect | Turn) -> Shown:
        self._to.write(msgspec.json.encode(told) + b"\n")
        self._to.flush()
        line = self._answers.readline()
        if not line:
            raise HsmUnavailable("the load's own process has ended")
        return msgspec.json.decode(line, type=Shown)


@contextlib.contextmanager
def crowd(clinic: Clinic) -> Iterator[Crowd]:
    """Give a crowd that knows *clinic*, with no terminal connected."""
    site = Told(
        port=clinic.port,
        socket=str(clinic.socket),
        authority=str(clinic.authority),
        certificates=str(clinic.authority.parent),
        card=str(clinic.folder / "card"),
        institution_code=INSTITUTION_CODE,
    )
    process = subprocess.Popen(
        _CROWD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_ENVIRONMENT, start_new_session=True
    )
    to, answers = process.stdin, process.stdout
    if to is None or answers is None:
        raise ValueError("both are pipes")
    try:
        to.write(msgspec.json.encode(site) + b"\n")
        yield Crowd(to, answers)
    finally:
        with contextlib.suppress(BrokenPipeError):
            to.close()
        answers.close()
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
