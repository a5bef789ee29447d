"""
Backup and restore, such that no restored log can ever be written beside the one it is a copy of.

A backup is one file, with everything that can be read: entries, hashes, checkpoints. What it is restored into is
closed for good: it can be verified, exported and proved from, and never grows. The appliance goes on under a new
origin, whose first entry says where the old log ended. Two logs that both continue one history cannot come to be,
whatever was lost between backup and restore.

    8 bytes   "JPKILOG1"
    frames    4 bytes of length, big-endian, and a MessagePack document: Opening, then Batches and Checkpoints, Ending
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import msgspec

from appliance.errors import LedgerDamaged, LedgerUnusable
from appliance.ledger import audit, checkpoint
from appliance.ledger.merkle import Frontier
from appliance.ledger.note import VerifierKey
from appliance.ledger.store import Batch, Store, StoredCheckpoint, split

_MAGIC: Final = b"JPKILOG1"
_LARGEST_FRAME: Final = 1 << 27


class _Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True, array_like=True):
    """What all frames have in common."""


class Opening(_Frame, frozen=True, tag=True, array_like=True):
    """What follows is of the log *origin*, *size* entries long, pruned below *pruned*."""

    origin: str
    size: int
    pruned: int


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
    """Write the log in *store* to the new file *path*, durably; return how many entries it has."""
    try:
        with path.open("xb") as file, store.reading() as log:
            os.fchmod(file.fileno(), 0o600)
            head = log.head()
            writing = _Writing(file)
            writing.frame(Opening(store.origin, head.size, head.pruned))
            for batch in log.batches(0, head.size):
                writing.frame(Entries(batch.first, batch.hashes, batch.entries))
            for kept in log.checkpoints():
                writing.frame(Signed(kept.size, kept.note))
            writing.frame(Ending(writing.digest.digest()))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise LedgerUnusable(f"{path} cannot be written: {error.strerror}") from error
    return head.size


def restore(path: Path, store: Store, key: VerifierKey, known: bytes | None) -> audit.Report:
    """
    Bring the log in the file *path* back into *store*, where no such log may be, closed for good; verify it.

    *key* is the ledger key, whatever it is called now; *known* the newest checkpoint that anybody has kept, as signed. Where the backup is older, LedgerRolledBack says so after
    everything was restored: the entries in between are lost, and remain known to be.
    """
    frames = _frames(path)
    opening = next(frames)
    if not isinstance(opening, Opening):
        raise LedgerDamaged("the backup has no beginning")
    store, key = store.with_origin(opening.origin), replace(key, name=opening.origin)
    saved = None if known is None else checkpoint.verified(known, key)
    writer = store.write()
    try:
        if writer.head().size:
            raise LedgerUnusable(f"the database holds a log {opening.origin} already; it is left alone")
        frontier = Frontier()
        for frame in frames:
            match frame:
                case Entries(first, hashes, content):
                    if first != frontier.size:
                        raise LedgerDamaged(f"the backup lacks entry {frontier.size}")
                    nodes = frontier.append(split(hashes))
                    writer.append(Batch(first, hashes, content), nodes)
                case Signed(size, note):
                    writer.save_checkpoint(StoredCheckpoint(size, note), 0)
                case _:
                    break
        if opening.pruned:
            writer.prune([], opening.pruned)
        writer.close_for_good()
    finally:
        writer.close()
    with store.reading() as log:
        return audit.verify(log, key, saved=saved)


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
            frame = _DECODER.decode(file.read(int.from_bytes(file.read(4))))
            if isinstance(frame, Ending):
                return
            yield frame


def _require_whole(path: Path) -> None:
    """Read the backup *path* once before anything is done with it."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
            if magic != _MAGIC:
                raise LedgerUnusable(f"{path} is no backup of a ledger")
            digest.update(magic)
            while True:
                header = file.read(4)
                length = int.from_bytes(header)
                body = file.read(length) if length <= _LARGEST_FRAME else b""
                if len(header) != 4 or len(body) != length or not body:
                    raise LedgerDamaged(f"the backup {path} is cut off")
                frame = _DECODER.decode(body)
                if isinstance(frame, Ending):
                    break
                digest.update(header + body)
            if frame.digest != digest.digest() or file.read(1):
                raise LedgerDamaged(f"the backup {path} was changed")
    except OSError as error:
        raise LedgerUnusable(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise LedgerDamaged(f"the backup {path} was changed") from error
