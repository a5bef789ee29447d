"""
Backup and restore, such that no restored log can ever be written beside the one it is a copy of.

A backup is one file, with everything that can be read: entries, hashes, checkpoints. What it is restored into is
closed for good: it can be verified, exported and proved from, and never grows. The appliance goes on under a new
origin, whose first entry says where the old log ended. Two logs in one database that both continue one history cannot
come to be, whatever was lost between backup and restore.

Either is there as a whole or not at all, wherever it is interrupted: a backup gets its name when it is durable, a
restored log comes to be, closed, in one transaction.

    8 bytes   "JPKILOG1"
    frames    4 bytes of length, big-endian, and a MessagePack document: Opening, then Batches and Checkpoints, Ending
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, BinaryIO, Final, TypeAlias

import msgspec

from appliance.errors import (
    LedgerBackupExists,
    LedgerDamaged,
    LedgerProofInvalid,
    LedgerUnusable,
)
from appliance.ledger import audit, checkpoint, entries
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.durable import appearing
from appliance.ledger.merkle import Frontier
from appliance.ledger.note import VerifierKey
from appliance.ledger.store import Batch, Store, StoredCheckpoint, Writer, split
from appliance.ledger.tiles import entries_of

_MAGIC: Final = b"JPKILOG1"
_LARGEST_FRAME: Final = 1 << 27
_JOINED: Final = 1024
"""Entries from small batches that one row gets: of a quiet clinic's log, one of each batch, a thousandth remains."""


class _Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True, array_like=True):
    """What all frames have in common."""


class Opening(_Frame, frozen=True, tag=True, array_like=True):
    """What follows is of the log *origin*, *size* entries long, pruned below *pruned*, that went on from *continues*."""

    origin: entries.Origin
    size: Annotated[int, msgspec.Meta(ge=0)]
    pruned: Annotated[int, msgspec.Meta(ge=0)]
    continues: entries.Origin | None


class Entries(_Frame, frozen=True, tag=True, array_like=True):
    """A batch."""

    first: int
    hashes: bytes
    entries: bytes | None


class Signed(_Frame, frozen=True, tag=True, array_like=True):
    """A checkpoint."""

    size: int
    note: bytes


class Ending(_Frame, frozen=True, tag=True, array_like=True):
    """Nothing follows; *digest* is SHA-256 over all that came before."""

    digest: bytes


Frame: TypeAlias = Opening | Entries | Signed | Ending
_DECODER: Final[msgspec.msgpack.Decoder[Frame]] = msgspec.msgpack.Decoder(Frame)


def back_up(store: Store, path: Path) -> int:
    """
    Write the log in *store* to the new file *path*, durably; return how many entries it has.

    Raises LedgerBackupExists where the file is there: it is another backup, and may be the only one of its day.
    """
    try:
        if path.exists():
            raise LedgerBackupExists(f"{path} is there already and was left as it is")
        with store.reading() as log, appearing(path) as file:
            os.fchmod(file.fileno(), 0o600)
            head = log.head()
            writing = _Writing(file)
            writing.frame(Opening(store.origin, head.size, head.pruned, head.continues))
            for batch in log.batches(0, head.size):
                writing.frame(Entries(batch.first, batch.hashes, batch.entries))
            for kept in log.checkpoints():
                writing.frame(Signed(kept.size, kept.note))
            writing.frame(Ending(writing.digest.digest()))
    except OSError as error:
        raise LedgerUnusable(f"{path} cannot be written: {error.strerror}") from error
    return head.size


@dataclass(frozen=True, slots=True)
class Restored:
    """What was brought back and verified, the log of *origin*; *missing* entries were signed after its end and are lost."""

    origin: str
    report: audit.Report
    missing: int


def restore(
    path: Path,
    store: Store,
    key: VerifierKey,
    known: bytes | None,
    progress: audit.Progress | None = None,
) -> Restored:
    """
    Bring the log in the file *path* back into *store*, where no such log may be, closed for good; verify it.

    *key* is the ledger key, whatever it is called now; *known* the newest checkpoint that anybody has kept, as signed.
    *progress* is told how many entries are in the store, which has none of them before it has all.
    """
    frames = _frames(path)
    opening = next(frames, None)
    if not isinstance(opening, Opening):
        raise LedgerDamaged("the backup has no beginning")
    store, key = store.with_origin(opening.origin), replace(key, name=opening.origin)
    saved = None if known is None else checkpoint.verified(known, key)
    writer = store.write()
    try:
        if writer.head().size:
            raise LedgerUnusable(f"the database holds a log {opening.origin} already; it is left alone")
        with writer.restoring(pruned=opening.pruned, continues=opening.continues):
            _fill(writer, frames, key, progress)
    finally:
        writer.close()
    return _verified(store, key, saved)


def _fill(writer: Writer, frames: Iterator[Frame], key: VerifierKey, progress: audit.Progress | None) -> None:
    """Write what is in *frames*; raise LedgerProofInvalid where *key* has signed none of the checkpoints among them."""
    frontier = Frontier()
    is_known: bool | None = None
    for found in _joined(frames):
        if isinstance(found, StoredCheckpoint):
            writer.save_checkpoint(found, None)
            is_known = is_known or _is_signed(found, key)
            continue
        if found.first != frontier.size:
            raise LedgerDamaged(f"the backup lacks entry {frontier.size}")
        writer.append(found, frontier.append(split(found.hashes)))
        if progress is not None:
            progress(frontier.size)
    if is_known is False:
        raise LedgerProofInvalid(
            "this ledger key has signed no checkpoint in the backup, and nothing was restored: give the key of that time"
            " with --public-key"
        )


def _is_signed(kept: StoredCheckpoint, key: VerifierKey) -> bool:
    try:
        checkpoint.verified(kept.note, key)
    except LedgerProofInvalid:
        return False
    return True


def _verified(store: Store, key: VerifierKey, saved: Checkpoint | None) -> Restored:
    """Verify what was restored; a *saved* checkpoint of later says only how much is missing."""
    with store.reading() as log:
        missing = 0 if saved is None else max(0, saved.size - log.head().size)
        report = audit.verify(log, key, saved=None if missing else saved)
    return Restored(store.origin, report, missing)


def _joined(frames: Iterator[Frame]) -> Iterator[Batch | StoredCheckpoint]:
    """Yield what is in *frames*, small batches joined: rows are what restoring takes its time for."""
    waiting: list[Batch] = []
    for frame in frames:
        found = _content(frame)
        sound = found if isinstance(found, Batch) and _is_sound(found) else None
        if waiting and not (sound is not None and _fits(sound, waiting)):
            yield _one(waiting)
            waiting = []
        if sound is not None:
            waiting.append(sound)
        else:
            yield found
    if waiting:
        yield _one(waiting)


def _content(frame: Frame) -> Batch | StoredCheckpoint:
    match frame:
        case Entries(first, hashes, content):
            return Batch(first, hashes, content)
        case Signed(size, note):
            return StoredCheckpoint(size, note)
        case _:
            raise LedgerDamaged("the backup has a second beginning")


def _is_sound(batch: Batch) -> bool:
    """Whether *batch* has as many entries as hashes. One that has not would hide in which of several the damage is."""
    if batch.entries is None:
        return True
    try:
        return sum(1 for _ in entries_of(batch.entries)) == batch.stop - batch.first
    except LedgerProofInvalid:
        return False


def _fits(batch: Batch, waiting: Sequence[Batch]) -> bool:
    """Whether *batch* can go into one row with those *waiting*, to which it is next; what is pruned stays for itself."""
    return (
        batch.first == waiting[-1].stop
        and batch.stop - waiting[0].first <= _JOINED
        and (batch.entries is None) == (waiting[0].entries is None)
    )


def _one(batches: Sequence[Batch]) -> Batch:
    hashes = b"".join(batch.hashes for batch in batches)
    if batches[0].entries is None:
        return Batch(batches[0].first, hashes, None)
    return Batch(batches[0].first, hashes, b"".join(batch.entries or b"" for batch in batches))


class _Writing:
    """Frames into a file, and the digest over them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self._write(_MAGIC)

    def frame(self, frame: Frame) -> None:
        """Write one frame."""
        body = msgspec.msgpack.encode(frame)
        self._write(len(body).to_bytes(4) + body)

    def _write(self, content: bytes) -> None:
        self.digest.update(content)
        self._file.write(content)


def _frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of the backup *path* up to its end; raise LedgerDamaged where it is not whole."""
    _require_whole(path)
    with path.open("rb") as file:
        file.read(len(_MAGIC))
        while True:
            frame = _decoded(file.read(int.from_bytes(file.read(4))), path)
            if isinstance(frame, Ending):
                return
            yield frame


def _require_whole(path: Path) -> None:
    """Read the backup *path* once before anything is done with it, and understand nothing of it before its digest fits."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            last = file.read(len(_MAGIC))
            if last != _MAGIC:
                raise LedgerUnusable(f"{path} is no backup of a ledger")
            while header := file.read(4):
                digest.update(last)
                length = int.from_bytes(header)
                body = file.read(length) if length <= _LARGEST_FRAME else b""
                if len(header) != 4 or len(body) != length or not body:
                    raise LedgerDamaged(f"the backup {path} is cut off")
                last = header + body
    except OSError as error:
        raise LedgerUnusable(f"{path} cannot be read: {error.strerror}") from error
    ending = None if last == _MAGIC else _decoded(last[4:], path)
    if not isinstance(ending, Ending):
        raise LedgerDamaged(f"the backup {path} is cut off")
    if ending.digest != digest.digest():
        raise LedgerDamaged(f"the backup {path} was changed")


def _decoded(body: bytes, path: Path) -> Frame:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LedgerDamaged(f"the backup {path} was changed") from error
