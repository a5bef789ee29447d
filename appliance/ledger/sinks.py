"""Second places for checkpoints: a folder, which may be another machine's, and a log server (syslog over TLS)."""

import asyncio
import errno
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.errors import LedgerProofInvalid
from appliance.ledger import checkpoint
from appliance.ledger.apart import apart
from appliance.ledger.durable import appearing
from appliance.ledger.note import LARGEST_NOTE

_NEWEST: Final = "checkpoint"
_PRIORITY: Final = 13 * 8 + 5
"""Facility 13 (log audit), severity 5 (notice) (RFC 5424 §6.2.1)."""


@dataclass(frozen=True, slots=True)
class Directory:
    """
    A folder with the newest note in the file `checkpoint`, and the last one of each day.

    The newest of another log, a former one from before a restore or another node's, is kept as `checkpoint-of-HASH`,
    the beginning of its origin's SHA-256. It may be a mounted share: files appear under their names only when they are
    whole and durable. The folder is made for a new log and never again: one that has gone is a share that is not there.
    """

    folder: Path
    clock: Callable[[], datetime]

    @property
    def name(self) -> str:
        """What it is called in messages and metrics."""
        return "directory"

    async def prepare(self) -> None:
        """Make the folder, or raise OSError."""
        await apart(lambda: self.folder.mkdir(parents=True, exist_ok=True))

    async def publish(self, note: bytes) -> None:
        """Write the signed *note*, or raise OSError."""
        await apart(lambda: self._write(note))

    async def newest(self, origin: str) -> bytes | None:
        """Return the newest note of the log *origin* that is there; raise LedgerProofInvalid where a file is no note."""

        def read() -> bytes | None:
            path = newest_in(self.folder, origin)
            return None if path is None else _read(path)

        return await apart(read)

    def _write(self, note: bytes) -> None:
        before = _read(self.folder / _NEWEST)
        if before is not None and (former := _origin(before)) != _origin(note):
            _keep(before, self.folder / _name_of(former))
        for name in (f"checkpoint-{self.clock():%Y-%m-%d}", _NEWEST):
            _put(self.folder / name, note)


def newest_in(folder: Path, origin: str) -> Path | None:
    """
    Return which file in *folder* is the newest note of the log *origin*; None where there is none.

    Raises OSError where the folder is not there, LedgerProofInvalid where a file in question is no note: whoever can
    damage it must not gain that nothing is compared.
    """
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    found: list[tuple[int, Path]] = []
    for path in (folder / _NEWEST, folder / _name_of(origin.encode())):
        note = _read(path)
        if note is None:
            continue
        try:
            told = checkpoint.told(note)
        except LedgerProofInvalid as error:
            raise LedgerProofInvalid(f"{path}: {error.detail}") from error
        if told.origin == origin:
            found.append((told.size, path))
    return max(found, default=(0, None))[1]


def _keep(note: bytes, path: Path) -> None:
    """
    Put *note* of another log in *path*, unless a newer one is there: with its node both of us may do so.

    What is damaged takes nothing's place: the other node is to compare its log with the last that can be read.
    """
    kept = _read(path)
    if kept is not None and _size(kept) >= _size(note):
        return
    _put(path, note)


def _size(note: bytes) -> int:
    """Return how many entries *note* is over; -1 where it is damaged."""
    try:
        return checkpoint.told(note).size
    except LedgerProofInvalid:
        return -1


def _put(path: Path, content: bytes) -> None:
    with appearing(path) as file:
        file.write(content)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            # What is longer is no note. Whoever fills the share must not fill our memory.
            return file.read(LARGEST_NOTE + 1)
    except FileNotFoundError:
        return None


def _origin(note: bytes) -> bytes:
    return note.partition(b"\n")[0]


def _name_of(origin: bytes) -> str:
    return f"{_NEWEST}-of-{sha256(origin).hexdigest()[:16]}"


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

    async def prepare(self) -> None:
        """Do nothing: messages need no place."""

    async def newest(self, origin: str) -> bytes | None:  # noqa: ARG002 - nothing is known of any
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
