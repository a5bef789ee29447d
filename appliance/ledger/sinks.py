"""Second places for checkpoints: a folder, which may be another machine's, and a log server (syslog over TLS)."""

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

_NEWEST: Final = "checkpoint"
_PRIORITY: Final = 13 * 8 + 5
"""Facility 13 (log audit), severity 5 (notice) (RFC 5424 §6.2.1)."""


@dataclass(frozen=True, slots=True)
class Directory:
    """
    A folder with the newest note in the file `checkpoint`, and the last one of each day.

    The newest of a former log, before a restore, is kept as `checkpoint-of-HASH`, the beginning of its origin's SHA-256. It may be a mounted share: files appear under their names only when they are whole and durable.
    """

    folder: Path
    clock: Callable[[], datetime]

    @property
    def name(self) -> str:
        """What it is called in messages and metrics."""
        return "directory"

    async def publish(self, note: bytes) -> None:
        """Write the signed *note*, or raise OSError."""
        await asyncio.to_thread(self._write, note)

    async def newest(self) -> bytes | None:
        """Return the newest note that is there."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes | None:
        try:
            return (self.folder / _NEWEST).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, note: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self._read()
        if before is not None and (former := _origin(before)) != _origin(note):
            write_durably(self.folder / f"{_NEWEST}-of-{sha256(former).hexdigest()[:16]}", before)
        for name in (f"checkpoint-{self.clock():%Y-%m-%d}", _NEWEST):
            write_durably(self.folder / name, note)


def _origin(note: bytes) -> bytes:
    return note.partition(b"\n")[0]


def write_durably(path: Path, content: bytes) -> None:
    """Put *content* in *path*, whole or not at all, or raise OSError."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@dataclass(frozen=True, slots=True)
class Syslog:
    """A log server that takes RFC 5424 messages over TLS (RFC 5425). Each note is one message, base64 as it is."""

    host: str
    port: int
    tls: ssl.SSLContext
    hostname: str
    """What this machine is called in messages."""
    clock: Callable[[], datetime]
    seconds: float = 5.0

    @property
    def name(self) -> str:
        """What it is called in messages and metrics."""
        return "syslog"

    async def publish(self, note: bytes) -> None:
        """Send the signed *note*, or raise OSError."""
        try:
            async with asyncio.timeout(self.seconds):
                _, writer = await asyncio.open_connection(
                    self.host, self.port, ssl=self.tls, server_hostname=self.host
                )
                try:
                    writer.write(octet_counted(message(note, self.clock(), self.hostname)))
                    await writer.drain()
                finally:
                    writer.close()
                    await writer.wait_closed()
        except TimeoutError as error:
            raise OSError(f"the log server did not answer in {self.seconds} s") from error

    async def newest(self) -> bytes | None:
        """Return None: a log server cannot be asked."""
        return None


def message(note: bytes, time: datetime, hostname: str) -> bytes:
    """Return *note* as one RFC 5424 message; its lines are joined by " | "."""
    lines = " | ".join(note.decode().replace("— ", "-- ").split("\n")).rstrip(" |")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"<{_PRIORITY}>1 {stamp} {hostname} jpki-appliance - checkpoint - {lines}".encode()


def octet_counted(content: bytes) -> bytes:
    """Return *content* framed for a stream (RFC 5425 §4.3)."""
    return b"%d %s" % (len(content), content)
