"""
What the writing thread of a `log` does with the store: append, and find out what is durable where that is not known.

A store that does not hold what was acknowledged, or holds what somebody else wrote, is never written again. Where
a session with the store was lost, whether it had the entries is not known; once the next session is open nobody
else writes, so what the store holds then tells. What it has is durable; what it does not have is written, one time.
"""

from collections.abc import Callable
from typing import TypeVar

from appliance.errors import (
    LedgerContended,
    LedgerDamaged,
    LedgerError,
    LedgerRolledBack,
    LedgerUnavailable,
    LedgerUnusable,
)
from appliance.ledger.merkle import Frontier, leaf_hashes
from appliance.ledger.store import Batch, Store, Writer, fetching
from appliance.ledger.tiles import bundle, entries_of

T = TypeVar("T")

Found = Callable[[int, list[bytes]], None]
"""Told at each opening how many entries were known to be durable, and those that were not known to be."""


class Scribe:
    """Writes the log in *store*, and tells *found* what it did not know. Used by one thread."""

    def __init__(self, store: Store, found: Found) -> None:
        self._store = store
        self._found = found
        self._writer: Writer | None = None
        self._frontier = Frontier()
        self._durable = 0
        self._unanswered: list[bytes] = []
        self._begun = False
        self._fatal: LedgerError | None = None

    def append(self, entries: list[bytes], wanted: Callable[[], bool]) -> int:
        """Make *entries* durable and return the first one's index; or raise LedgerError. *wanted*: while anybody waits."""
        writer = self._opened()
        try:
            return self._write(writer, entries)
        except LedgerUnavailable:
            if not (writer.is_lost and wanted()):
                raise
        self.leave()
        first = self._durable
        writer, found = self._looked_at()
        # Where any are there, they are these: that was compared.
        return first if found else self._write(writer, entries)

    def do(self, work: Callable[[Writer, Frontier], T]) -> T:
        """Return what *work* returns; it is done once more where the session is lost meanwhile."""
        writer = self._opened()
        try:
            return work(writer, self._frontier)
        except LedgerUnavailable:
            if not writer.is_lost:
                raise
        self.leave()
        return work(self._opened(), self._frontier)

    def leave(self, error: LedgerError | None = None) -> None:
        """Close the store, after *error*: what it holds has to be looked at before anything else."""
        if isinstance(error, LedgerRolledBack | LedgerDamaged | LedgerUnusable) or (
            isinstance(error, LedgerContended) and self._durable
        ):
            self._fatal = error
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, writer: Writer, entries: list[bytes]) -> int:
        hashes = leaf_hashes(entries)
        first = self._frontier.size
        nodes = self._frontier.append(hashes)
        self._unanswered = entries
        writer.append(Batch(first, b"".join(hashes), bundle(entries)), nodes)
        self._unanswered = []
        self._durable = self._frontier.size
        return first

    def _opened(self) -> Writer:
        if self._writer is not None:
            return self._writer
        writer, found = self._looked_at()
        self._found(self._durable - len(found), found)
        return writer

    def _looked_at(self) -> tuple[Writer, list[bytes]]:
        """Open the store; return its writer, and what it holds of the entries whose fate was not known."""
        if self._fatal is not None:
            raise type(self._fatal)(self._fatal.detail)
        try:
            writer = self._store.write()
        except LedgerContended as error:
            if not self._begun:
                raise
            # Somebody has the lock, our own old session perhaps. Whether anybody wrote is for `_examine` to say.
            raise LedgerUnavailable(error.detail) from error
        try:
            found = self._examine(writer)
        except BaseException:
            writer.close()
            raise
        self._writer = writer
        return writer, found

    def _examine(self, writer: Writer) -> list[bytes]:
        size = writer.head().size
        if size < self._durable:
            raise LedgerRolledBack(f"the store has {size} entries; {self._durable} were durable in it")
        found: list[bytes] = []
        if self._begun and size > self._durable:
            if size - self._durable == len(self._unanswered):
                batches = writer.batches(self._durable, size)
                found = [entry for batch in batches for entry in entries_of(batch.entries or b"")]
            if not found or found != self._unanswered:
                raise LedgerContended("the log holds entries that another process has written")
        self._frontier = Frontier(size, fetching(writer))
        self._durable, self._unanswered, self._begun = size, [], True
        return found
