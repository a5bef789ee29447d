"""
A ledger in PostgreSQL, for several nodes on one database: each writes the log of its own origin.

One session writes a log: it holds an advisory lock, and every append names the epoch that this session has begun.
A session that was cut off may live on in the server, lock and all; the same appliance ends it when it comes back.
Passwords are not in the connection string: libpq finds them in its own files.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from secrets import token_hex
from typing import Any, Final

import psycopg
from psycopg import errors

from appliance.errors import LedgerContended, LedgerDamaged, LedgerUnavailable, LedgerUnusable
from appliance.ledger.fault import Fault, no_fault
from appliance.ledger.merkle import Node
from appliance.ledger.schema import migrate, require_current
from appliance.ledger.store import Batch
from appliance.ledger.tables import Tables

_WORDS: Final = {
    "identity": "INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "bytes": "BYTEA",
    "uncompressed": "ALTER TABLE batches ALTER hashes SET STORAGE EXTERNAL, ALTER entries SET STORAGE EXTERNAL",
}
_STREAMED_ROWS: Final = 32
_LOCK_MILLISECONDS: Final = 500
_APPEND: Final = (
    "WITH written AS (INSERT INTO batches (log, first, hashes, entries) SELECT %b, %b, %b, %b"
    " WHERE EXISTS (SELECT 1 FROM logs WHERE id = %b AND epoch = %b AND closed = 0) RETURNING 1){}"
    " SELECT count(*) FROM written"
)
_NODES: Final = (
    ", placed AS (INSERT INTO nodes (log, level, number, hash)"
    " SELECT %b, * FROM unnest(%b::int[], %b::bigint[], %b::bytea[]) WHERE EXISTS (SELECT 1 FROM written))"
)
_APPEND_BATCH: Final = _APPEND.format("")
_APPEND_NODES: Final = _APPEND.format(_NODES)


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """The log *origin* in the database that *conninfo* (libpq) names; no answer may take longer than *seconds*."""

    conninfo: str
    origin: str
    seconds: float = 5.0
    fault: Fault = no_fault
    instance: str = field(default_factory=lambda: token_hex(8))
    """What the server's sessions of this appliance, in this life, have in common."""

    @contextmanager
    def reading(self) -> Iterator["PostgresLog"]:
        """Open the log for reading, beside whoever writes it."""
        log = self._connected()
        try:
            log.rows("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            require_current(log.rows("SELECT version FROM ledger_schema"))
            log.find()
            yield log
        finally:
            log.close()

    def write(self) -> "PostgresLog":
        """Open the log for writing; make it, where there is none."""
        self.fault("store.opening")
        log = self._connected()
        try:
            log.lock(f"jpki-ledger {self.instance}")
        except BaseException:
            log.close()
            raise
        self.fault("store.locked")
        log.make_ready()
        return log

    @contextmanager
    def pruning(self) -> Iterator["PostgresLog"]:
        """Open the log for `prune` alone; the space of what was pruned is freed at the end."""
        log = self._connected()
        try:
            log.find()
            yield log
            log.rows("SET statement_timeout = 0")
            log.rows("VACUUM batches")
        finally:
            log.close()

    def with_origin(self, origin: str) -> "PostgresStore":
        """Return the same database, for the log of another *origin*."""
        return replace(self, origin=origin)

    def _connected(self) -> "PostgresLog":
        milliseconds = int(self.seconds * 1000)
        with _mapped():
            connection = psycopg.connect(
                self.conninfo,
                autocommit=True,
                connect_timeout=max(2, int(self.seconds)),
                tcp_user_timeout=milliseconds,
                # That is for what was not received. What was, and is not answered, is noticed by these; and by the
                # server's own, whose session would else keep the lock for hours after our machine has gone.
                keepalives_idle=max(1, int(self.seconds)),
                keepalives_interval=1,
                keepalives_count=3,
                application_name=f"jpki-ledger {self.instance}",
                options=f"-c statement_timeout={milliseconds} -c synchronous_commit=on -c client_min_messages=error"
                " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
            )
        return PostgresLog(self.origin, self.fault, connection)


class PostgresLog(Tables):
    """One connection to the log of a `PostgresStore`."""

    def __init__(self, origin: str, fault: Fault, connection: psycopg.Connection[Any]) -> None:
        super().__init__(origin, fault)
        self._connection = connection

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended: the server was restarted, or cannot be reached."""
        return self._connection.closed

    def lock(self, application: str) -> None:
        """Become the one writer, or raise LedgerContended. An older session of this *application* is ended."""
        key = int.from_bytes(sha256(b"jpki-ledger\n" + self.origin.encode()).digest()[:8], signed=True)
        if self.rows("SELECT pg_try_advisory_lock(?)", key)[0][0]:
            return
        self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = ? AND pid <> pg_backend_pid()",
            application,
        )
        self.rows(f"SET lock_timeout = {_LOCK_MILLISECONDS}")
        try:
            self.rows("SELECT pg_advisory_lock(?)", key)
        except LedgerUnavailable as error:
            if not isinstance(error.__cause__, errors.LockNotAvailable):
                raise
            raise LedgerContended(f"another process writes {self.origin} in this database") from error
        self.rows("SET lock_timeout = 0")

    def prepare(self) -> None:
        """Make the tables, or bring them up to date."""
        with self.transaction():
            # Two nodes may start on an empty database at once; the second waits here.
            self.rows("SELECT pg_advisory_xact_lock(?)", int.from_bytes(b"jpki-led"))
            migrate(self.rows, _WORDS)

    def append(self, batch: Batch, nodes: Sequence[Node]) -> None:
        """Make *batch* and *nodes* durable, both or neither: one statement, one round trip."""
        self._fault("append.beginning")
        values: list[object] = [self._log, batch.first, batch.hashes, batch.entries, self._log, self._epoch]
        if nodes:
            values += (
                self._log,
                [node.row for node in nodes],
                [node.number for node in nodes],
                [node.hash for node in nodes],
            )
        with _mapped():
            cursor = self._connection.execute(_APPEND_NODES if nodes else _APPEND_BATCH, values)
            written = cursor.fetchone()
        if written is None or written[0] != 1:
            raise self.overtaken
        self._fault("append.committed")

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute *statement* and return its rows."""
        with _mapped():
            cursor = self._connection.execute(statement.replace("?", "%s").encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def stream(self, statement: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, a few at a time."""
        name = token_hex(8)
        holdable = self._connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with _mapped():
            cursor = self._connection.cursor(name, withhold=holdable)
            cursor.execute(statement.replace("?", "%s").encode(), values, binary=True)
        try:
            while True:
                with _mapped():
                    rows = cursor.fetchmany(_STREAMED_ROWS)
                if not rows:
                    return
                yield from rows
        finally:
            with suppress(psycopg.Error):
                cursor.close()

    def begin(self) -> None:
        """Begin a transaction."""
        self.rows("BEGIN")

    def commit(self) -> None:
        """Make it durable."""
        self.rows("COMMIT")

    def rollback(self) -> None:
        """Give it up; where the connection is lost, the server does."""
        with suppress(psycopg.Error):
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """End the session, and with it the lock."""
        self._connection.close()


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn psycopg's errors into ours."""
    try:
        yield
    except errors.UniqueViolation as error:
        raise LedgerContended("another process has written the same entries") from error
    except (errors.UndefinedTable, errors.InsufficientPrivilege, errors.InvalidCatalogName) as error:
        raise LedgerUnusable(f"PostgreSQL: {_words(error)}") from error
    except (errors.DataCorrupted, errors.IndexCorrupted) as error:
        raise LedgerDamaged(f"PostgreSQL: {_words(error)}") from error
    except psycopg.Error as error:
        raise LedgerUnavailable(f"PostgreSQL: {_words(error)}") from error


def _words(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
