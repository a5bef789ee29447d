"""Reception software that only writes and reads files, and the hand-over's process that serves it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.hsm.shipped import shipped
from tests.daemon.process import ORDER, SECONDS, UNPRIVILEGED

EXAMPLE = shipped("handover.toml").read_text("utf-8")
REQUEST: dict[str, Any] = {"version": 1, **ORDER}


@dataclass(frozen=True, slots=True)
class Reception:
    """Reception software at the *folder* with `handover.toml`."""

    folder: Path

    @property
    def requests(self) -> Path:
        """Where requests go."""
        return self.folder / "handover" / "requests"

    @property
    def results(self) -> Path:
        """Where results come."""
        return self.folder / "handover" / "results"

    @property
    def work(self) -> Path:
        """Where reception software has no business."""
        return self.folder / "handover" / "work"

    def configure(self, *changes: tuple[str, str]) -> Path:
        """Write the configuration with short times, and *changes* to it; return its path."""
        text = EXAMPLE
        for old, new in (
            ("look_seconds = 0.5", "look_seconds = 0.05"),
            ("settle_seconds = 2.0", "settle_seconds = 0.3"),
            ("answer_seconds = 120.0", "answer_seconds = 30.0"),
        ):
            if old not in {changed for changed, _ in changes}:
                text = _changed(text, old, new)
        for old, new in changes:
            text = _changed(text, old, new)
        path = self.folder / "handover.toml"
        path.write_text(text, "utf-8")
        for folder in (self.requests, self.results):
            folder.mkdir(parents=True, exist_ok=True)
        return path

    def ask(self, name: str, **changed: object) -> None:
        """Hand over a request as it should be done: written with a dot in front, then renamed."""
        self.put(name, json.dumps({**REQUEST, **changed}, ensure_ascii=False).encode())

    def put(self, name: str, content: bytes) -> None:
        """Hand over *content*."""
        passing = self.requests / f".{name}"
        passing.write_bytes(content)
        passing.rename(self.requests / f"{name}.json")

    def raw(self, name: str) -> bytes:
        """Wait for the result *name*, and return its bytes."""
        path = self.results / f"{name}.json"
        deadline = time.monotonic() + SECONDS
        while not path.exists():
            assert time.monotonic() < deadline, f"no result {name}; there are {[*self.results.iterdir()]}"
            time.sleep(0.02)
        return path.read_bytes()

    def result(self, name: str) -> dict[str, Any]:
        """Wait for the result *name*, and return it."""
        found: dict[str, Any] = json.loads(self.raw(name))
        return found

    def gone(self, path: Path) -> None:
        """Wait until *path* is gone."""
        deadline = time.monotonic() + SECONDS
        while os.path.lexists(path):
            assert time.monotonic() < deadline, f"{path} stays"
            time.sleep(0.02)


def _changed(text: str, old: str, new: str) -> str:
    assert text.count(f"\n{old}") == 1, old
    return text.replace(f"\n{old}", f"\n{new}")


@dataclass(slots=True)
class Handover:
    """A running hand-over whose log is in *log*."""

    process: subprocess.Popen[bytes]
    log: Path

    def logged(self, event: str) -> None:
        """Wait until *event* is in the log."""
        deadline = time.monotonic() + SECONDS
        while event not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextlib.contextmanager
def serving(reception: Reception, *changes: tuple[str, str]) -> Iterator[Handover]:
    """Have a hand-over serve *reception* for the length of a block."""
    path = reception.configure(*changes)
    log = reception.folder / "handover.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            (*UNPRIVILEGED, sys.executable, "-m", "appliance", "handover", "--config", str(path)),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )
    handover = Handover(process, log)
    try:
        handover.logged("hand-over ready")
        yield handover
    finally:
        if process.poll() is None:
            handover.end()
