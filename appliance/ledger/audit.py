"""
Is the log still what it was: everything hashed again, and compared with what was signed.

The checks, in this order over the entries, and nothing else:
  1. the batches follow one another from entry 0 on, without gap or overlap;
  2. each entry that is there hashes to the leaf hash that is stored with it; only those below the mark of pruning
     may be gone, and that is never past the newest entry;
  3. the hashes above the leaves are those stored;
  4. each stored checkpoint is signed by the log's key, and its root is that of as many entries;
  5. no checkpoint, stored or given, is over more entries than there are;
  6. the given checkpoint's root is that of as many entries;
  7. where it is asked for: each entry is canonical, each `finished` has its one `reserved`; each emergency window was
     confirmed by another operator than proposed it, and was open, at that desk, for what was reserved with no check.

The mark of pruning is the store's word, not the log's. Where contents are read, `Report.pruned_said` is up to where the
log itself says so: a running appliance enters each pruning before its next checkpoint, a log that is closed never can.

What none of this can find: entries after the newest checkpoint that were changed together with their hashes, or cut
off. Without a checkpoint from outside that reaches to everything after the newest *stored* one that an attacker
has left, because stored checkpoints can be removed with what they cover. So keep copies of checkpoints.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.errors import EmergencyClosed, LedgerDamaged, LedgerProofInvalid, LedgerRolledBack
from appliance.ledger import checkpoint, entries
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.entries import Finished, Pruned, Reserved, WindowClosed, WindowConfirmed, WindowProposed
from appliance.ledger.merkle import Frontier, Node, leaf_hash, leaf_hashes
from appliance.ledger.note import VerifierKey
from appliance.ledger.store import Batch, Reader, split
from appliance.ledger.tiles import entries_of
from appliance.ledger.windows import UNCHECKED, Windows, index_of

Progress = Callable[[int], None]
"""Told how many entries are done."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` has found in order: a log of *size* entries under *root*."""

    size: int
    root: bytes
    pruned: int
    """The content of the entries below this index may be gone, as the store says."""
    pruned_said: int
    """As the log itself says, where contents were looked at."""
    checkpoints: int
    covered: int
    """Entries under the newest checkpoint, stored or given. Those after it are not protected yet."""
    unfinished: int | None
    """Authentications that were never finished; None where contents were not looked at."""
    clock_steps: int
    """How often an entry is older than the one before it."""
    windows: int
    """Emergency windows that two operators have opened."""
    unchecked: int
    """Authentications that were reserved in one of them, with nobody's check of the holder."""


def verify(
    reader: Reader,
    key: VerifierKey,
    *,
    saved: Checkpoint | None = None,
    contents: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Return what is in order with the whole log, or raise LedgerDamaged, LedgerRolledBack."""
    head = reader.head()
    if head.pruned > max(head.size - 1, 0):
        raise LedgerDamaged(
            f"of {head.size} entries all below {head.pruned} are said to be pruned; the newest never is"
        )
    frontier = Frontier()
    signed = _Signed(reader, key, saved)
    signed.compare(frontier)
    meaning = _Meaning(head.pruned) if contents else None
    for batch in reader.batches(0, head.size):
        if batch.first != frontier.size:
            raise LedgerDamaged(f"entry {frontier.size} is missing: the next one stored is {batch.first}")
        hashes = _required_hashes(batch, head.pruned)
        if meaning is not None:
            meaning.read(batch)
        while hashes:
            # To the next checkpoint, whose root has to be that of exactly as many entries.
            reach = signed.reach(frontier.size)
            _require_nodes(reader, frontier.append(hashes[:reach]))
            hashes = hashes[reach:]
            signed.compare(frontier)
        if progress is not None:
            progress(frontier.size)
    signed.finish(frontier.size)
    return Report(
        size=frontier.size,
        root=frontier.root(),
        pruned=head.pruned,
        pruned_said=0 if meaning is None else meaning.pruned_said,
        checkpoints=signed.count,
        covered=signed.covered,
        unfinished=None if meaning is None else len(meaning.open),
        clock_steps=0 if meaning is None else meaning.clock_steps,
        windows=0 if meaning is None else len(meaning.opened),
        unchecked=0 if meaning is None else meaning.unchecked,
    )


def _required_hashes(batch: Batch, pruned: int) -> list[bytes]:
    """Return the leaf hashes of *batch*, of whose entries those that are there have been hashed again."""
    if batch.entries is None:
        if batch.stop > pruned:
            raise LedgerDamaged(f"the content of entry {max(batch.first, pruned)} is missing")
        return split(batch.hashes)
    hashes = _hashed(batch.entries)
    if b"".join(hashes) == batch.hashes:
        return hashes
    stored = split(batch.hashes)
    try:
        kept = list(entries_of(batch.entries))
    except LedgerProofInvalid as error:
        raise LedgerDamaged(f"the batch at entry {batch.first} is cut off") from error
    if len(kept) != len(stored):
        raise LedgerDamaged(f"the batch at entry {batch.first} has {len(kept)} entries, not {len(stored)}")
    for index, (entry, digest) in enumerate(zip(kept, stored, strict=True), batch.first):
        if not entry and index < pruned:
            continue
        if leaf_hash(entry) != digest:
            raise LedgerDamaged(f"entry {index} is not what its hash says")
    return stored


def _hashed(content: bytes) -> list[bytes]:
    """Return the leaf hashes of the entries in a bundle, none where it is cut off. The hot loop: `entries_of`, written out."""
    entries = []
    place, end = 0, len(content)
    while place + 2 <= end:
        start = place + 2
        place = start + (content[place] << 8 | content[place + 1])
        entries.append(content[start:place])
    return leaf_hashes(entries) if place == end else []


class _Signed:
    """The stored checkpoints and the one that was saved elsewhere, each compared when its size is reached."""

    def __init__(self, reader: Reader, key: VerifierKey, saved: Checkpoint | None) -> None:
        self._key = key
        self._stored = reader.checkpoints()
        self._saved = saved
        self._next = self._following()
        self.count = 0
        self.covered = 0

    def reach(self, size: int) -> int:
        """Return how many entries after *size* it is to the next checkpoint; a great many where there is none."""
        ends = [one.size for one in (self._next, self._saved) if one is not None]
        return min(ends) - size if ends else sys.maxsize

    def compare(self, frontier: Frontier) -> None:
        """Compare all checkpoints over as many entries as *frontier* has."""
        if self._saved is not None and self._saved.size == frontier.size:
            self._require(self._saved, frontier, "the saved checkpoint")
            self._saved = None
        while self._next is not None and self._next.size == frontier.size:
            self._require(self._next, frontier, "a stored checkpoint")
            self.count += 1
            self._next = self._following()

    def finish(self, size: int) -> None:
        """Refuse checkpoints that were not reached."""
        for left in (self._saved, self._next):
            if left is not None:
                raise LedgerRolledBack(f"there are {size} entries, and a signed checkpoint over {left.size}")

    def _require(self, stated: Checkpoint, frontier: Frontier, what: str) -> None:
        if stated.root != frontier.root():
            raise LedgerDamaged(f"{what} over {stated.size} entries was signed over other entries")
        self.covered = stated.size

    def _following(self) -> Checkpoint | None:
        stored = next(self._stored, None)
        if stored is None:
            return None
        try:
            stated = checkpoint.verified(stored.note, self._key)
        except LedgerProofInvalid as error:
            raise LedgerDamaged(
                f"the stored checkpoint over {stored.size} entries: {error.detail}"
            ) from error
        if stated.size != stored.size:
            raise LedgerDamaged(f"the stored checkpoint over {stored.size} entries says {stated.size}")
        return stated


class _Meaning:
    """What the entries say, beside being there; those below *pruned* may have said more."""

    def __init__(self, pruned: int) -> None:
        self.open: set[int] = set()
        self.pruned = pruned
        self.pruned_said = 0
        self.clock_steps = 0
        self.opened: set[int] = set()
        self.unchecked = 0
        self._windows = Windows()
        self._time = 0

    def read(self, batch: Batch) -> None:
        """Read the entries in *batch*, or raise LedgerDamaged."""
        for index, content in enumerate(entries_of(batch.entries or b""), batch.first):
            if not content:
                continue
            entry = entries.decode(content)
            self.clock_steps += entry.time < self._time
            self._time = entry.time
            match entry:
                case Reserved():
                    self.open.add(index)
                    self._check(index, entry)
                case Finished(reserved=reserved):
                    self._finish(index, reserved)
                case Pruned(before=before):
                    self.pruned_said = max(self.pruned_said, before)
                case WindowProposed():
                    self._windows.propose(index, entry)
                case WindowConfirmed() if self._is_there(entry.window):
                    self._windows.confirm(entry)
                    self.opened.add(entry.window)
                case WindowClosed() if self._is_there(entry.window):
                    self._windows.close(entry)
                case _:
                    pass

    def _is_there(self, window: int) -> bool:
        """Return whether what has proposed the *window* was read, or should have been."""
        return window in self._windows or window >= self.pruned

    def _check(self, index: int, reserved: Reserved) -> None:
        if reserved.check != UNCHECKED:
            return
        self.unchecked += 1
        window = index_of(reserved.checked_by)
        if window is not None and not self._is_there(window):
            return
        try:
            self._windows.require(reserved)
        except EmergencyClosed as error:
            raise LedgerDamaged(f"entry {index} has nobody's check: {error.detail}") from error

    def _finish(self, index: int, reserved: int) -> None:
        if reserved in self.open:
            self.open.discard(reserved)
        elif reserved >= self.pruned:
            raise LedgerDamaged(f"entry {index} finishes {reserved}, which is not an open one")


def _require_nodes(reader: Reader, nodes: Sequence[Node]) -> None:
    for node in nodes:
        if reader.nodes(node.row, node.number, 1) != [node.hash]:
            raise LedgerDamaged(f"hash {node.number} of row {node.row} is not that of its entries")
