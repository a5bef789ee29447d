"""
Put a module through all probes, each in a process of its own that may crash or hang.

A probe that hangs is killed at its deadline, but never while it logs in: SoftHSM would lose the token. Such a process
is left alone, and said so.
"""

import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from appliance.errors import HsmPinRejected
from appliance.hsm.conformance.profile import learned, profile
from appliance.hsm.conformance.results import (
    Failed,
    Finding,
    Initialised,
    KeyMade,
    Order,
    Phase,
    Rate,
    Report,
)
from appliance.hsm.vendor import Attributes, Signing, Vendor

_COMMAND = (sys.executable, "-I", "-m", "appliance.hsm.conformance.probe")
_BASE_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_LINES: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Finding | Phase)
_CHUNK = 65536
_FAREWELL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """A token, and the profile *named* that says how to reach and log in to it, its limits and notes."""

    named: Vendor
    module: str
    token: str
    pin_file: str
    environment: Mapping[str, str]


class Conformance:
    """All probes of one token."""

    def __init__(
        self,
        target: Target,
        *,
        probe_seconds: float = 60.0,
        rate_seconds: float = 1.0,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._named = target.named
        # Only how to get in is taken over; how it signs and what it knows is found out.
        self._vendor = replace(target.named, signing=Signing(), attributes=Attributes())
        self._environment = {**_BASE_ENVIRONMENT, **target.environment}
        self._probe_seconds = probe_seconds
        self._progress = progress
        self._order = Order(
            probe="",
            vendor=self._vendor,
            module=target.module,
            token=target.token,
            pin_file=target.pin_file,
            mark=f"conformance-{secrets.token_hex(4)}",
            seconds=rate_seconds,
        )
        self._findings: dict[str, Finding] = {}

    def report(self, tested: date, versions: str | None = None) -> Report:
        """
        Run all probes, destroy what they made, and return what was found.

        Raises HsmPinRejected as soon as the token refuses the PIN; nothing is tried after that, so keys that were made
        before are left.
        """
        reached = not isinstance(self._probe("initialise"), Failed) and not isinstance(
            self._probe("token"), Failed
        )
        if reached:
            try:
                self._with_keys()
            except HsmPinRejected:
                raise  # to destroy anything takes another login
            except BaseException:
                self._probe("destroy")
                raise
            self._probe("destroy")
        library = self._findings["initialise"]
        said = f"{library.library} {library.version}" if isinstance(library, Initialised) else "unknown"
        return Report(
            vendor=self._named.name,
            tested=tested,
            versions=versions or said,
            findings=self._findings,
            profile=profile(self._named, self._findings, tested, versions or said),
        )

    def _with_keys(self) -> None:
        self._probe("mechanisms")
        raw = Signing(rsa="rsa-pkcs", ledger="ed25519")
        for name, signing in (
            ("institution", Signing()),
            ("institution-raw", raw),
            ("token", Signing()),
            ("ledger", raw),
        ):
            vendor = replace(self._vendor, signing=signing)
            found = self._probe(f"key {name}", replace(self._order, probe="key", key=name, vendor=vendor))
            if isinstance(found, KeyMade):
                self._vendor = learned(self._vendor, found)
        self._with_a_key_that_signs(raw)

    def _with_a_key_that_signs(self, raw: Signing) -> None:
        names = {"institution": Signing(), "institution-raw": raw}
        signing = [name for name in names if _signs(self._findings[f"key {name}"])]
        if not signing:
            return
        key = replace(self._order, key=signing[0], vendor=replace(self._vendor, signing=names[signing[0]]))
        for name in ("login", "sessions", "stale", "reinitialise"):
            self._probe(name, replace(key, probe=name))
        for processes in (1, 2):
            self._rate(replace(key, probe="rate"), processes)
        last = signing[-1]
        misused = replace(self._vendor, signing=names[last])
        self._probe("errors", replace(key, probe="errors", key=last, vendor=misused))

    def _probe(self, name: str, order: Order | None = None) -> Finding:
        self._progress(name)
        with Running(order or replace(self._order, probe=name), self._environment) as running:
            found = running.finding(time.monotonic() + self._probe_seconds)
        return self._noted(name, found)

    def _rate(self, order: Order, processes: int) -> None:
        name = f"rate {processes}"
        self._progress(name)
        with Started(processes, order, self._environment) as started:
            found = started.rate(time.monotonic() + self._probe_seconds)
        self._noted(name, found)

    def _noted(self, name: str, found: Finding) -> Finding:
        self._findings[name] = found
        if isinstance(found, Failed) and found.how == "pin-rejected":
            made = any(isinstance(one, KeyMade) for one in self._findings.values())
            left = f"; keys whose labels begin with {self._order.mark} are left in the token" if made else ""
            raise HsmPinRejected(f"probe '{name}': {found.detail}; no other login is tried{left}")
        return found


class Running:
    """A probe at work. Its end is the end of the block, unless it logs in for ever."""

    def __init__(self, order: Order, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            bufsize=0,
        )
        self._unread = b""
        self._logging_in = False
        self.tell(msgspec.json.encode(order) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if self._logging_in:
            return
        # It finalizes the module by itself; a TPM would be left full of what it had loaded for a killed process.
        try:
            self._process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tell(self, line: bytes) -> None:
        """Write *line* to the probe; one that is gone already says so when it is heard."""
        if self._process.stdin is not None:
            try:
                self._process.stdin.write(line)
            except BrokenPipeError:
                return

    def finding(self, deadline: float) -> Finding:
        """Return what the probe finds, or how it failed."""
        while isinstance(line := self.hear(deadline), Phase):
            pass
        return line

    def hear(self, deadline: float) -> Finding | Phase:
        """Return the next thing the probe says."""
        while b"\n" not in self._unread:
            chunk = self._read(deadline)
            if chunk is None:
                where = " in its login, and is left to it" if self._logging_in else ""
                return Failed("hung", f"no answer in time{where}")
            if not chunk:
                return self._ended(deadline)
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        said: Finding | Phase = _LINES.decode(line)
        self._logging_in = isinstance(said, Phase) and said.name == "logging in"
        return said

    def _read(self, deadline: float) -> bytes | None:
        output = self._process.stdout
        if output is None:
            raise ValueError("a probe is read from through a pipe")
        ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
        return os.read(output.fileno(), _CHUNK) if ready else None

    def _ended(self, deadline: float) -> Failed:
        self._logging_in = False
        try:
            status = self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Failed("hung", "no end in time")
        if status < 0:
            return Failed("crashed", _signal(-status))
        return Failed("crashed", f"exit status {status}")


class Started:
    """Several probes of one kind that begin together."""

    def __init__(self, processes: int, order: Order, environment: Mapping[str, str]) -> None:
        self._running = [Running(order, environment) for _ in range(processes)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for running in self._running:
            running.__exit__(kind, value, traceback)

    def rate(self, deadline: float) -> Finding:
        """Return the sum of what they sign, and the worst of their times."""
        for running in self._running:
            while (said := running.hear(deadline)) != Phase("ready"):
                if not isinstance(said, Phase):
                    return said
        for running in self._running:
            running.tell(b"\n")
        found = [running.finding(deadline) for running in self._running]
        rates = [one for one in found if isinstance(one, Rate)]
        if len(rates) < len(found):
            return next(one for one in found if not isinstance(one, Rate))
        return Rate(
            processes=len(rates),
            per_second=round(sum(one.per_second for one in rates), 1),
            p50_ms=max(one.p50_ms for one in rates),
            p99_ms=max(one.p99_ms for one in rates),
        )


def _signs(finding: Finding) -> bool:
    return isinstance(finding, KeyMade) and finding.signature == "signs"


def _signal(number: int) -> str:
    return signal.Signals(number).name
