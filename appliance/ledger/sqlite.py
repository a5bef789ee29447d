"""
A ledger in an SQLite file: WAL, synchronous=FULL, so that a commit is durable when it returns.

One process writes a log: it holds a lock on a file beside the database for as long as it lives, however it dies.
Content that is pruned is overwritten in the file (secure_delete), and the write-ahead log is emptied after it.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from appliance.errors import LedgerContended, LedgerDamaged, LedgerUnavailable, LedgerUnusable
from appliance.ledger.fault import Fault, no_fault
from appliance.ledger.merkle import Node
from appliance.ledger.room import Room
from appliance.ledger.schema import migrate, require_current
from appliance.ledger.store import Batch
from appliance.ledger.tables import Tables

_WORDS: Final = {"identity": "INTEGER PRIMARY KEY", "bytes": "BLOB", "uncompressed": ""}
_APPLICATION: Final = 0x4A504B4C
"""PRAGMA application_id of our files."""
_BUSY_SECONDS: Final = 2.0
_STREAMED_ROWS: Final = 8
_WAL_PAGES: Final = 16_384
"""Pages of write-ahead log (64 MiB) after which it is copied into the database by whoever commits."""
_WAL_BYTES: Final = _WAL_PAGES * (4096 + 24) + 32
"""As a file (SQLite's file format, section 4.1)."""
_DAMAGES: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """The log *origin* in the file *path*."""

    path: Path
    origin: str
    fault: Fault = no_fault

    @contextmanager
    def reading(self) -> Iterator["SqliteLog"]:
        """Open the log for reading, beside whoever writes it."""
        if not self.path.exists():
            raise LedgerUnusable(f"there is no ledger {self.path}")
        log = self._connected()
        try:
            with _mapped():
                require_current(log.rows("SELECT version FROM ledger_schema"))
            log.find()
            # One state for all questions, however much is appended meanwhile.
            log.begin_reading()
            yield log
        finally:
            log.close()

    def write(self) -> "SqliteLog":
        """Open the log for writing; make it, where there is none."""
        self.fault("store.opening")
        lock = self._locked()
        try:
            self.fault("store.locked")
            log = self._connected(lock)
        except BaseException:
            os.close(lock)
            raise
        log.make_ready()
        return log

    @contextmanager
    def pruning(self) -> Iterator["SqliteLog"]:
        """Open the log for `prune` alone, beside whoever writes it."""
        if not self.path.exists():
            raise LedgerUnusable(f"there is no ledger {self.path}")
        log = self._connected()
        try:
            log.find()
            log.rows("PRAGMA secure_delete = ON")
            yield log
            ((busy, _, _),) = log.rows("PRAGMA wal_checkpoint(TRUNCATE)")
            if busy:
                raise LedgerUnavailable(
                    "what was pruned is in the write-ahead log still, as somebody reads: prune again"
                )
        finally:
            log.close()

    def with_origin(self, origin: str) -> "SqliteStore":
        """Return the same file, for the log of another *origin*."""
        return replace(self, origin=origin)

    def _connected(self, lock: int | None = None) -> "SqliteLog":
        with _mapped():
            connection = sqlite3.connect(
                self.path,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=32,
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            except BaseException:
                connection.close()
                raise
        room = None if lock is None else Room(self.path.with_name(f"{self.path.name}-wal"), _WAL_BYTES)
        return SqliteLog(self.origin, self.fault, connection, lock, room)

    def _locked(self) -> int:
        name = sha256(self.origin.encode()).hexdigest()[:16]
        path = self.path.with_name(f"{self.path.name}-{name}.lock")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerUnavailable(f"{path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise LedgerContended(f"another process writes {self.origin} in {self.path}") from error
        return lock


class SqliteLog(Tables):
    """One connection to the log of a `SqliteStore`."""

    def __init__(
        self, origin: str, fault: Fault, connection: sqlite3.Connection, lock: int | None, room: Room | None
    ) -> None:
        super().__init__(origin, fault)
        self._connection = connection
        self._lock = lock
        self._room = room

    @property
    def is_lost(self) -> bool:
        """False: a file has no session that could end."""
        return False

    def prepare(self) -> None:
        """Make the tables, or bring them up to date."""
        with _mapped():
            tables = self.rows("SELECT count(*) FROM sqlite_master")[0][0]
            if tables and self.rows("PRAGMA application_id")[0][0] != _APPLICATION:
                raise LedgerUnusable("the database holds something else than a ledger")
        with self.transaction():
            self.rows(f"PRAGMA application_id = {_APPLICATION}")
            migrate(self.rows, _WORDS)

    def append(self, batch: Batch, nodes: Sequence[Node]) -> None:
        """Make *batch* and *nodes* durable, both or neither."""
        self._fault("append.beginning")
        with _mapped(), self.transaction():
            written = self._connection.execute(
                "INSERT INTO batches (log, first, hashes, entries) SELECT ?, ?, ?, ?"
                " WHERE EXISTS (SELECT 1 FROM logs WHERE id = ? AND epoch = ? AND closed = 0)",
                (self._log, batch.first, batch.hashes, batch.entries, self._log, self._epoch),
            )
            if written.rowcount != 1:
                raise self.overtaken
            if nodes:
                self._connection.executemany(
                    "INSERT INTO nodes (log, level, number, hash) VALUES (?, ?, ?, ?)",
                    [(self._log, node.row, node.number, node.hash) for node in nodes],
                )
            if self._room is not None:
                self._room.make()
            self._fault("append.inserted")
        self._fault("append.committed")

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute *statement* and return its rows."""
        with _mapped():
            found: list[tuple[Any, ...]] = self._connection.execute(statement, values).fetchall()
            return found

    def stream(self, statement: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, a few at a time."""
        with _mapped():
            cursor = self._connection.execute(statement, values)
        while True:
            with _mapped():
                rows = cursor.fetchmany(_STREAMED_ROWS)
            if not rows:
                return
            yield from rows

    def begin(self) -> None:
        """Begin a transaction that other writers wait for."""
        self.rows("BEGIN IMMEDIATE")

    def begin_reading(self) -> None:
        """Keep seeing one state of the database."""
        self.rows("BEGIN")

    def commit(self) -> None:
        """Make it durable."""
        self.rows("COMMIT")

    def rollback(self) -> None:
        """Give it up; after some errors SQLite has done so already."""
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file, and give the log up where it was ours."""
        self._connection.close()
        if self._room is not None:
            self._room.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise LedgerContended(f"another process has written the same entries ({error})") from error
    except sqlite3.Error as error:
        number = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if number in _DAMAGES:
            raise LedgerDamaged(f"SQLite cannot read the file: {error}") from error
        raise LedgerUnavailable(f"SQLite: {error}") from error
