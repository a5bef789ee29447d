"""
What a ledger needs of a database, in one protocol; `sqlite` and `postgres` fit it.

A log is stored as batches, one for each group commit: consecutive entries as a bundle of tlog-tiles, and their leaf
hashes. A quiet clinic has one entry in a batch, a busy node hundreds, and a commit costs one row either way. Row 1
and above of the tree are rows of the table of nodes, each written by the batch that completes it.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, Self

from appliance.ledger.merkle import HASH_BYTES, Fetch, Node
from appliance.ledger.tiles import bundle, entries_of


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries from index *first* on: their leaf *hashes* end to end, and the *entries* as a bundle."""

    first: int
    hashes: bytes
    entries: bytes | None
    """None where all have been pruned; one that has been pruned is empty."""

    @property
    def stop(self) -> int:
        """The index after the last entry."""
        return self.first + len(self.hashes) // HASH_BYTES

    def without_content(self, before: int) -> "Batch":
        """Return this batch without the content of the entries below *before*."""
        if self.stop <= before:
            return Batch(self.first, self.hashes, None)
        kept = (
            b"" if index < before else content
            for index, content in enumerate(entries_of(self.entries or b""), self.first)
        )
        return Batch(self.first, self.hashes, bundle(kept))


@dataclass(frozen=True, slots=True)
class Head:
    """The state of a log beside its entries."""

    size: int
    settled: int
    """All that was reserved below this index is known to be finished; above, somebody has to look."""
    pruned: int
    """The content of the entries below this index may be gone."""
    closed: bool
    """Nothing is ever appended again: it was restored from a backup."""
    copied: int
    """So many entries are under a checkpoint of which a copy has left."""
    continues: str | None
    """The origin of the closed log that this one went on from."""


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A signed *note* over the first *size* entries."""

    size: int
    note: bytes


class Reader(Protocol):
    """One log, to be read. All methods raise LedgerUnavailable and LedgerDamaged."""

    def head(self) -> Head:
        """Return the state of the log."""

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches with entries from *start* up to *stop*, in order."""

    def nodes(self, row: int, start: int, count: int) -> list[bytes]:
        """Return hashes of a *row* above the leaves."""

    def checkpoints(self, start: int = 0) -> Iterator[StoredCheckpoint]:
        """Yield the checkpoints over at least *start* entries, in order."""

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        """Return the checkpoint over the most entries."""


class Writer(Reader, Protocol):
    """The one log's one writer. Used by one thread."""

    @property
    def is_lost(self) -> bool:
        """Whether the session with the store has ended without us: only another one can tell what the store holds."""

    def append(self, batch: Batch, nodes: Sequence[Node]) -> None:
        """
        Make *batch* and *nodes* durable, both or neither.

        After LedgerUnavailable nobody knows whether they are; LedgerContended says that another one writes.
        """

    def save_checkpoint(self, checkpoint: StoredCheckpoint, settled: int | None) -> None:
        """Keep *checkpoint*, in the place of one of the same size, and what is *settled* where that is new."""

    def save_copied(self, size: int) -> None:
        """Remember that a copy of a checkpoint over *size* entries has left."""

    def predecessor(self) -> str | None:
        """
        Return the origin of the closed log in the same database that this one goes on from; None where there is none.

        It is the newest that no other one goes on from, and from then on no other one does.
        """

    def prune(self, before: int) -> bool:
        """Remove the content of some more entries below *before*; return whether there may be others."""

    def restoring(self, *, pruned: int, continues: str | None) -> AbstractContextManager[None]:
        """
        Do what the block appends and saves, and close the log for good: all of it at once, or nothing.

        The content below *pruned* is gone, and the log went on from *continues*.
        """

    def close(self) -> None:
        """Give the log up, for the next writer."""


class Store(Protocol):
    """A place where the log of one *origin* is, or will be."""

    @property
    def origin(self) -> str:
        """What the log is called in its checkpoints."""

    def reading(self) -> AbstractContextManager[Reader]:
        """Open the log for reading, beside whoever writes it."""

    def write(self) -> Writer:
        """
        Open the log for writing; make it, where there is none.

        Raises LedgerContended where somebody else writes it, LedgerUnusable, LedgerUnavailable.
        """

    def pruning(self) -> AbstractContextManager[Writer]:
        """Open the log for `prune` alone, beside whoever writes it."""

    def with_origin(self, origin: str) -> Self:
        """Return the same place, for the log of another *origin*."""


def fetching(reader: Reader) -> Fetch:
    """Return how proofs get their hashes out of *reader*."""

    def fetch(row: int, start: int, count: int) -> list[bytes]:
        if row > 0:
            return reader.nodes(row, start, count)
        return stored_hashes(reader, start, start + count)

    return fetch


def stored_hashes(reader: Reader, start: int, stop: int) -> list[bytes]:
    """Return the stored leaf hashes from *start* up to *stop*."""
    found: list[bytes] = []
    for batch in reader.batches(start, stop):
        low, high = max(start, batch.first) - batch.first, min(stop, batch.stop) - batch.first
        found += split(batch.hashes[low * HASH_BYTES : high * HASH_BYTES])
    return found


def split(hashes: bytes) -> list[bytes]:
    """Return the single hashes in *hashes*."""
    return [hashes[place : place + HASH_BYTES] for place in range(0, len(hashes), HASH_BYTES)]


def stored_entries(reader: Reader, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Yield index and content of the entries from *start* up to *stop*, except what has been pruned."""
    for batch in reader.batches(start, stop):
        for index, content in enumerate(entries_of(batch.entries or b""), batch.first):
            if content and start <= index < stop:
                yield index, content
