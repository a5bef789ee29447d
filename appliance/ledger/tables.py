"""
The statements that SQLite and PostgreSQL have in common: reading a log, and the rare writes.

Appending is not here: each database has its own best way to make a row durable.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from appliance.errors import LedgerContended, LedgerDamaged, LedgerUnusable
from appliance.ledger.fault import Fault
from appliance.ledger.merkle import HASH_BYTES
from appliance.ledger.store import Batch, Head, StoredCheckpoint

_PRUNED_AT_ONCE: Final = 64
"""Batches, in one transaction: whoever appends waits for it."""
_FROM_BATCHES: Final = (
    "FROM batches WHERE log = ? AND first < ? AND first >= coalesce("
    "(SELECT max(first) FROM batches WHERE log = ? AND first <= ?), 0) ORDER BY first"
)


class Tables:
    """The log *origin* in a database that subclasses know how to speak with."""

    def __init__(self, origin: str, fault: Fault) -> None:
        self.origin = origin
        self._fault = fault
        self._log = 0
        self._epoch = 0
        self._is_restoring = False

    @abstractmethod
    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute *statement*, with question marks for the *values*, and return its rows."""

    @abstractmethod
    def stream(self, statement: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, a few at a time."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction that sees and blocks other writers of this log's tables."""

    @abstractmethod
    def commit(self) -> None:
        """Make it durable."""

    @abstractmethod
    def rollback(self) -> None:
        """Give it up."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the tables, or bring them up to date."""

    @abstractmethod
    def close(self) -> None:
        """End the connection, and give the log up where it was ours."""

    @property
    def overtaken(self) -> LedgerContended:
        """What is raised where the log's epoch is no longer ours."""
        return LedgerContended(f"another process has become the writer of {self.origin}")

    def make_ready(self) -> None:
        """Bring the tables up to date and become the log's writer; close where that fails."""
        try:
            self.prepare()
            self._fault("store.migrated")
            self.take_over()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do what the block does, or nothing; where a log is restored, as a part of that."""
        if self._is_restoring:
            yield
            return
        self.begin()
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self.commit()

    def find(self) -> None:
        """Find the log, or raise LedgerUnusable where the database has none of this origin."""
        found = self.rows("SELECT id FROM logs WHERE origin = ?", self.origin)
        if not found:
            raise LedgerUnusable(f"the database holds no log {self.origin}")
        self._log = int(found[0][0])

    def take_over(self) -> None:
        """Make the log, where there is none, and become its writer; raise LedgerUnusable where it is closed."""
        with self.transaction():
            self.rows("INSERT INTO logs (origin) VALUES (?) ON CONFLICT DO NOTHING", self.origin)
            self.find()
            ((self._epoch, closed),) = self.rows(
                "UPDATE logs SET epoch = epoch + 1 WHERE id = ? RETURNING epoch, closed", self._log
            )
            if closed:
                raise LedgerUnusable(
                    f"the log {self.origin} was closed when it was restored; it never grows again"
                )
            self._fault("store.opened")

    def head(self) -> Head:
        """Return the state of the log."""
        found = self.rows(
            "SELECT settled, pruned, closed, copied, continues FROM logs WHERE id = ?", self._log
        )
        if not found:
            raise LedgerDamaged(f"the log {self.origin} is no longer in the database")
        ((settled, pruned, closed, copied, continues),) = found
        last = self.rows(
            "SELECT first, length(hashes) FROM batches WHERE log = ? ORDER BY first DESC LIMIT 1", self._log
        )
        size = last[0][0] + last[0][1] // HASH_BYTES if last else 0
        return Head(size, settled, pruned, bool(closed), copied, continues)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches with entries from *start* up to *stop*, in order."""
        found = self.stream(
            f"SELECT first, hashes, entries {_FROM_BATCHES}", *(self._log, stop, self._log, start)
        )
        for first, hashes, entries in found:
            if len(hashes) % HASH_BYTES or not hashes:
                raise LedgerDamaged(f"the hashes of the batch at entry {first} are cut off")
            batch = Batch(first, hashes, entries)
            if batch.stop > start:
                yield batch

    def nodes(self, row: int, start: int, count: int) -> list[bytes]:
        """Return hashes of a *row* above the leaves."""
        found = self.rows(
            "SELECT hash FROM nodes WHERE log = ? AND level = ? AND number >= ? AND number < ? ORDER BY number",
            *(self._log, row, start, start + count),
        )
        if len(found) != count:
            raise LedgerDamaged(f"hashes of row {row} are missing from place {start} on")
        return [digest for (digest,) in found]

    def checkpoints(self, start: int = 0) -> Iterator[StoredCheckpoint]:
        """Yield the checkpoints over at least *start* entries, in order."""
        found = self.stream(
            "SELECT size, note FROM checkpoints WHERE log = ? AND size >= ? ORDER BY size", self._log, start
        )
        for size, note in found:
            yield StoredCheckpoint(size, note)

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        """Return the checkpoint over the most entries."""
        found = self.rows(
            "SELECT size, note FROM checkpoints WHERE log = ? ORDER BY size DESC LIMIT 1", self._log
        )
        return StoredCheckpoint(*found[0]) if found else None

    def save_checkpoint(self, checkpoint: StoredCheckpoint, settled: int | None) -> None:
        """Keep *checkpoint*, in the place of one of the same size, and what is *settled* where that is new."""
        with self.transaction():
            self.rows(
                "INSERT INTO checkpoints (log, size, note) VALUES (?, ?, ?)"
                " ON CONFLICT (log, size) DO UPDATE SET note = excluded.note",
                *(self._log, checkpoint.size, checkpoint.note),
            )
            self._fault("checkpoint.inserted")
            self._require_epoch("settled = coalesce(?, settled)", settled)
        self._fault("checkpoint.committed")

    def save_copied(self, size: int) -> None:
        """Remember that a copy of a checkpoint over *size* entries has left."""
        with self.transaction():
            self._require_epoch("copied = ?", size)

    def predecessor(self) -> str | None:
        """Return the origin of the closed log that this one goes on from: the newest that no other one goes on from."""
        with self.transaction():
            # Two nodes may begin new logs at once; the second waits here, and finds what the first has taken.
            self.rows("UPDATE ledger_schema SET version = version")
            self.rows(
                "UPDATE logs SET continues = (SELECT closed.origin FROM logs AS closed WHERE closed.closed = 1"
                " AND NOT EXISTS (SELECT 1 FROM logs AS other WHERE other.continues = closed.origin)"
                " ORDER BY closed.id DESC LIMIT 1) WHERE id = ? AND continues IS NULL",
                self._log,
            )
            ((origin,),) = self.rows("SELECT continues FROM logs WHERE id = ?", self._log)
        return None if origin is None else str(origin)

    def prune(self, before: int) -> bool:
        """Remove the content of some more entries below *before*; return whether there may be others."""
        with self.transaction():
            # Who else prunes waits here. And all is read in the transaction that writes it: what somebody else has
            # removed is not brought back, and in a file no commit of the appliance comes in between.
            ((mark,),) = self.rows("UPDATE logs SET pruned = pruned WHERE id = ? RETURNING pruned", self._log)
            found = self.rows(
                f"SELECT first, first + length(hashes) / {HASH_BYTES} {_FROM_BATCHES} LIMIT {_PRUNED_AT_ONCE}",
                *(self._log, before, self._log, mark),
            )
            whole = [first for first, stop in found if stop <= before]
            if whole:
                self.rows(
                    "UPDATE batches SET entries = NULL WHERE log = ? AND first >= ? AND first <= ?",
                    *(self._log, whole[0], whole[-1]),
                )
            for first, _ in found[len(whole) :]:
                self._prune_part(first, before)
            reached = max(mark, *(min(stop, before) for _, stop in found)) if found else mark
            self.rows("UPDATE logs SET pruned = ? WHERE id = ?", reached, self._log)
        return bool(mark < reached < before)

    def _prune_part(self, first: int, before: int) -> None:
        one = "log = ? AND first = ?"
        for row in self.rows(f"SELECT first, hashes, entries FROM batches WHERE {one}", self._log, first):  # noqa: S608 - ours
            batch = Batch(*row)
            if batch.entries is not None:
                left = batch.without_content(before).entries
                self.rows(f"UPDATE batches SET entries = ? WHERE {one}", left, self._log, first)  # noqa: S608 - ours

    @contextmanager
    def restoring(self, *, pruned: int, continues: str | None) -> Iterator[None]:
        """Do what the block appends and saves, and close the log for good: all of it at once, or nothing."""
        with self.transaction():
            self._is_restoring = True
            try:
                yield
                self._require_epoch("closed = 1, pruned = ?, continues = ?", pruned, continues)
            finally:
                self._is_restoring = False

    def _require_epoch(self, change: str, *values: object) -> None:
        found = self.rows(
            f"UPDATE logs SET {change} WHERE id = ? AND epoch = ? RETURNING id",  # noqa: S608 - ours
            *(*values, self._log, self._epoch),
        )
        if not found:
            raise self.overtaken
