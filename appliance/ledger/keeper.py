"""
Signs checkpoints and brings copies of them out of reach: to second places (`sinks`) and to witnesses.

A checkpoint is signed only over what is durable, kept in the store, and published after that. So what anybody
outside has seen is in the store, and a store that has less, or something else, was replaced by an older copy:
that is looked for at every start, before anything is appended.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from appliance.errors import ApplianceError, LedgerError, LedgerNotCopied, LedgerRolledBack
from appliance.ledger import checkpoint
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.fault import Fault, no_fault
from appliance.ledger.log import Log
from appliance.ledger.merkle import Frontier, consistency_proof, range_hash
from appliance.ledger.note import Note, NoteSignature, VerifierKey
from appliance.ledger.recorder import Recorder
from appliance.ledger.store import Reader, StoredCheckpoint, Writer, fetching

_LOG = logging.getLogger(__name__)
_SECONDS_IN_HOUR: Final = 3600.0


class CheckpointSigner(Protocol):
    """The ledger key."""

    async def sign_checkpoint(self, text: bytes) -> bytes:
        """Return the signature over a checkpoint's *text*: Ed25519's 64 bytes, or ECDSA as DER. Raises HsmError."""


class Sink(Protocol):
    """A second place for checkpoints."""

    @property
    def name(self) -> str:
        """What it is called in messages and metrics."""

    async def publish(self, note: bytes) -> None:
        """Bring the signed *note* there, or raise OSError."""

    async def newest(self) -> bytes | None:
        """Return the newest note that is there, None where it cannot be asked or has none; or raise OSError."""


class Witness(Protocol):
    """Somebody who checks that checkpoints continue one another, and signs them too."""

    @property
    def key(self) -> VerifierKey:
        """What the cosignatures verify with."""

    async def cosign(
        self, note: bytes, prove: Callable[[int], "asyncio.Future[list[bytes]]"]
    ) -> tuple[NoteSignature, ...]:
        """Return verified cosignatures over *note*; *prove* gives the proof from an older size. Raises OSError."""


@dataclass(slots=True)
class Keeper:
    """
    Keeps the checkpoints of *recorder*'s log, signed by *signer* with *key*.

    *seconds* lie at least between two checkpoints. Where *copy_hours* is given, nothing may be reserved once no copy
    has left for so long. *monotonic* is a clock in seconds.
    """

    recorder: Recorder
    signer: CheckpointSigner
    key: VerifierKey
    monotonic: Callable[[], float]
    sinks: Sequence[Sink] = ()
    witnesses: Sequence[Witness] = ()
    seconds: float = 1.0
    copy_hours: float | None = None
    fault: Fault = no_fault
    newest: Checkpoint | None = None
    """What was signed last."""
    failures: dict[str, int] = field(default_factory=dict)
    """How often each sink and witness, and the signer, has failed."""
    _copied: float = 0.0
    _pruned: int = 0
    _uncopied: bool = False

    @property
    def log(self) -> Log:
        """The log that is kept."""
        return self.recorder.log

    async def start(self) -> None:
        """Refuse a log that is older than its checkpoints, with LedgerRolledBack; close what is open; sign."""
        self._copied = self.monotonic()
        self.recorder.ask(self.permit)
        stored = await self.log.run(lambda writer, _frontier: writer.newest_checkpoint())
        notes = [] if stored is None else [stored.note]
        for sink in self.sinks:
            try:
                note = await sink.newest()
            except OSError as error:
                self._failed(sink.name, error)
            else:
                notes += [] if note is None else [note]
        for note in notes:
            await self._require_continued(checkpoint.verified(note, self.key))
        await self.recorder.start()

    async def run(self) -> None:
        """Keep on, until cancelled. What fails is tried again at the next turn."""
        while True:
            await self.turn()
            await asyncio.sleep(self.seconds)

    async def turn(self) -> None:
        """Close what was abandoned, and sign and copy a checkpoint where there is something new."""
        try:
            await self.recorder.sweep()
            await self._remember_pruning()
            if self.newest is None or self.newest.size < self.log.size:
                await self.checkpoint()
        except ApplianceError as error:
            self._failed("signer" if not isinstance(error, LedgerError) else "store", error)

    async def checkpoint(self) -> bytes:
        """Sign and keep a checkpoint over all that is durable, copy it, and return the note; or raise."""
        size, root = await self.log.run(lambda _writer, frontier: (frontier.size, frontier.root()))
        settled = min(self.recorder.settled, size)
        stated = Checkpoint(self.log.origin, size, root)
        self.fault("checkpoint.signing")
        signature = await self.signer.sign_checkpoint(stated.to_text().encode())
        self.fault("checkpoint.signed")
        self.key.verify(stated.to_text(), signature)
        note = Note(stated.to_text(), (self.key.signature(signature),)).to_bytes()
        await self._keep(StoredCheckpoint(size, note), settled)
        self.newest = stated
        self._uncopied = True
        note = await self._witnessed(StoredCheckpoint(size, note), settled)
        await self._copy(note)
        self.fault("checkpoint.published")
        return note

    def permit(self) -> None:
        """Raise LedgerNotCopied where copies have to leave, and none has for too long."""
        if self.copy_hours is None or not self._uncopied:
            return
        if self.monotonic() - self._copied > self.copy_hours * _SECONDS_IN_HOUR:
            raise LedgerNotCopied(f"no copy of a checkpoint has left for {self.copy_hours} hours")

    async def _remember_pruning(self) -> None:
        """Have it in the log itself where content was removed; once more at each start, which nobody else would do."""
        pruned = await self.log.run(lambda writer, _frontier: writer.head().pruned)
        if pruned > self._pruned:
            await self.recorder.pruned(pruned)
            self._pruned = pruned

    async def _keep(self, kept: StoredCheckpoint, settled: int) -> None:
        await self.log.run(lambda writer, _frontier: writer.save_checkpoint(kept, settled))

    async def _witnessed(self, kept: StoredCheckpoint, settled: int) -> bytes:
        """Collect cosignatures, and return the note with those that came."""
        note = Note.from_bytes(kept.note)

        def prove(old: int) -> "asyncio.Future[list[bytes]]":
            proving = self.log.run(lambda writer, _: consistency_proof(old, kept.size, fetching(writer)))
            return asyncio.ensure_future(proving)

        for witness in self.witnesses:
            try:
                cosignatures = await witness.cosign(kept.note, prove)
            except (OSError, LedgerError) as error:
                self._failed(witness.key.name, error)
                continue
            note = Note(note.text, (*note.signatures, *cosignatures))
            await self._keep(StoredCheckpoint(kept.size, note.to_bytes()), settled)
            self._left()
        return note.to_bytes()

    async def _copy(self, note: bytes) -> None:
        for sink in self.sinks:
            try:
                await sink.publish(note)
            except OSError as error:
                self._failed(sink.name, error)
            else:
                self._left()

    def _left(self) -> None:
        self._copied = self.monotonic()
        self._uncopied = False

    def _failed(self, name: str, error: Exception) -> None:
        self.failures[name] = self.failures.get(name, 0) + 1
        _LOG.warning("ledger copy failed to=%s error=%s", name, type(error).__name__)

    async def _require_continued(self, known: Checkpoint) -> None:
        if known.size > self.log.size:
            raise LedgerRolledBack(
                f"the store has {self.log.size} entries; a checkpoint over {known.size} was signed"
            )
        root = await self.log.run(lambda writer, _frontier: root_of(writer, known.size))
        if root != known.root:
            raise LedgerRolledBack(f"a checkpoint over {known.size} entries was signed over other entries")
        if self.newest is None or known.size > self.newest.size:
            self.newest = known


def root_of(reader: Reader | Writer, size: int) -> bytes:
    """Return the root over the first *size* entries, by what the store keeps of the tree."""
    return range_hash(0, size, fetching(reader)) if size else Frontier().root()
