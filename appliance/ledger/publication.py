"""
What a log shows to others, read from its store beside the writer: checkpoint, tiles, entries, proofs.

Only what the newest signed checkpoint covers is shown. All of it blocks, and is for a thread.
"""

from dataclasses import dataclass

from appliance.errors import LedgerEntryAbsent, LedgerProofInvalid
from appliance.ledger.merkle import WIDTH
from appliance.ledger.proof import prove
from appliance.ledger.store import Reader, Store, StoredCheckpoint, fetching
from appliance.ledger.tiles import ENTRIES, Tile, bundle, entries_of


@dataclass(frozen=True, slots=True)
class Publication:
    """The log in *store*. All methods raise LedgerUnavailable, and LedgerEntryAbsent for what there is not."""

    store: Store

    def checkpoint(self) -> bytes:
        """Return the newest signed note."""
        with self.store.reading() as reader:
            return _newest(reader).note

    def tile(self, path: str) -> bytes:
        """Return the tile, or the bundle of entries, that is published under *path* (C2SP tlog-tiles)."""
        try:
            tile = Tile.from_path(path)
        except LedgerProofInvalid as error:
            raise LedgerEntryAbsent(error.detail) from error
        with self.store.reading() as reader:
            if not tile.fits(_newest(reader).size):
                raise LedgerEntryAbsent("no checkpoint covers this tile")
            if tile.row == ENTRIES:
                start = tile.number * WIDTH
                return bundle(_entries(reader, start, start + tile.width))
            return tile.hashes(fetching(reader))

    def entry(self, index: int) -> bytes:
        """Return the content of the entry *index*."""
        with self.store.reading() as reader:
            return _entry(reader, _newest(reader), index)

    def proof(self, index: int) -> bytes:
        """Return the proof that the entry *index* is under the newest checkpoint (C2SP tlog-proof)."""
        with self.store.reading() as reader:
            newest = _newest(reader)
            content = _entry(reader, newest, index)
            return prove(index, content, newest.note, fetching(reader)).to_bytes()


def _newest(reader: Reader) -> StoredCheckpoint:
    newest = reader.newest_checkpoint()
    if newest is None:
        raise LedgerEntryAbsent("no checkpoint has been signed yet")
    return newest


def _entry(reader: Reader, newest: StoredCheckpoint, index: int) -> bytes:
    if not 0 <= index < newest.size:
        raise LedgerEntryAbsent("no checkpoint covers this entry")
    (content,) = _entries(reader, index, index + 1)
    return content


def _entries(reader: Reader, start: int, stop: int) -> list[bytes]:
    """Return the entries from *start* up to *stop*; raise LedgerEntryAbsent where one has been pruned."""
    found = [
        content
        for batch in reader.batches(start, stop)
        for index, content in enumerate(entries_of(batch.entries or b""), batch.first)
        if content and start <= index < stop
    ]
    if len(found) != stop - start:
        raise LedgerEntryAbsent("the content of this entry, or of one beside it, has been removed")
    return found
