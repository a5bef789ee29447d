"""
Signs checkpoints, and has copies of them brought out of reach.

A checkpoint is signed only over what is durable, kept in the store, and published after that. So what anybody
outside has seen is in the store, and a store that has less, or something else, was replaced by an older copy:
that is looked for at every start, before anything is appended.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from functools import partial
from typing import Final, Protocol

from appliance.errors import ApplianceError, LedgerError, LedgerProofInvalid, LedgerRolledBack
from appliance.ledger import checkpoint
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.copies import Copies, Sink, Witness
from appliance.ledger.fault import Fault, no_fault
from appliance.ledger.log import Log
from appliance.ledger.merkle import Frontier, range_hash
from appliance.ledger.note import Note, VerifierKey
from appliance.ledger.recorder import Recorder
from appliance.ledger.store import Reader, StoredCheckpoint, Writer, fetching

_AGAIN_SECONDS: Final = 10.0
"""After which a copy that could not leave is tried again, where nothing new is signed."""


class CheckpointSigner(Protocol):
    """The ledger key."""

    async def sign_checkpoint(self, text: bytes) -> bytes:
        """Return the signature over a checkpoint's *text*: Ed25519's 64 bytes, or ECDSA as DER. Raises HsmError."""


@dataclass(slots=True)
class Keeper:
    """
    Keeps the checkpoints of *recorder*'s log, signed by *signer* with *key*.

    *seconds* lie at least between two checkpoints. Where *copy_hours* is given, nothing may be reserved once an entry
    has waited for a copy so long. *monotonic* is a clock in seconds.
    """

    recorder: Recorder
    signer: CheckpointSigner
    key: VerifierKey
    monotonic: Callable[[], float]
    sinks: InitVar[Sequence[Sink]] = ()
    witnesses: InitVar[Sequence[Witness]] = ()
    seconds: float = 1.0
    copy_hours: InitVar[float | None] = None
    fault: Fault = no_fault
    newest: Checkpoint | None = None
    """What was signed last."""
    copies: Copies = field(init=False)
    _kept: StoredCheckpoint | None = None
    _is_fresh: bool = False
    """Whether no copy of it was sent on its way yet."""
    _spread: float = -math.inf
    """When copies were last sent on their way."""
    _copying: "asyncio.Task[bytes] | None" = None
    """Copies that are on their way still."""
    _pruned: int = 0

    def __post_init__(
        self, sinks: Sequence[Sink], witnesses: Sequence[Witness], copy_hours: float | None
    ) -> None:
        self.copies = Copies(self.log, self.monotonic, sinks, witnesses, copy_hours)

    @property
    def log(self) -> Log:
        """The log that is kept."""
        return self.recorder.log

    @property
    def failures(self) -> dict[str, int]:
        """How often each sink and witness, the signer and the store have failed."""
        return self.copies.failures

    def permit(self) -> None:
        """Raise LedgerNotCopied where copies have to leave, and none has for too long."""
        self.copies.permit()

    async def start(self) -> None:
        """Refuse a log that is older than its checkpoints, with LedgerRolledBack; close what is open."""
        stored = await self.log.run(lambda writer, _frontier: writer.newest_checkpoint())
        notes = [] if stored is None else [("the store's checkpoint", stored.note)]
        for sink in self.copies.sinks:
            try:
                if not self.log.size:
                    await self.copies.within(sink.name, sink.prepare)
                # That of another log says nothing of this one: after a restore the former log's lies there.
                note = await self.copies.within(sink.name, partial(sink.newest, self.log.origin))
            except OSError as error:
                self.copies.failed(sink.name, error)
            else:
                if note is not None:
                    notes.append((f"the copy of a checkpoint (in the {sink.name})", note))
        for what, note in notes:
            try:
                known = checkpoint.verified(note, self.key)
            except LedgerProofInvalid as error:
                raise LedgerProofInvalid(f"{what}: {error.detail}") from error
            await self._require_continued(known)
        self._kept = stored
        await self._resume_copies()
        self.recorder.ask(self.permit)
        await self.recorder.start()

    async def run(self) -> None:
        """Keep on, until cancelled. What fails is tried again at the next turn."""
        while True:
            await self.turn()
            await asyncio.sleep(self.seconds)

    async def turn(self) -> None:
        """
        Close what was abandoned; sign and copy a checkpoint where there is something new, or copy the last again.

        Places for copies that are slow are waited for no longer than *seconds*: what is new is signed meanwhile.
        """
        try:
            await self.recorder.sweep()
            await self._remember_pruning()
            if self.newest is None or self.newest.size < self.log.size:
                await self._sign()
            await self._bring()
        except ApplianceError as error:
            self._failed(error)

    async def end(self) -> None:
        """Take the last turn, and wait for each place for copies as long as it may take; `run` has ended before."""
        await self.turn()
        try:
            if (copying := self._copying) is not None:
                self._copying = None
                await copying
            if self._is_fresh and self._kept is not None:
                await self._copy(self._kept)
        except ApplianceError as error:
            self._failed(error)

    def _failed(self, error: ApplianceError) -> None:
        self.copies.failed("store" if isinstance(error, LedgerError) else "signer", error)

    async def checkpoint(self) -> bytes:
        """Sign and keep a checkpoint over all that is durable, copy it, and return the note; or raise."""
        return await self._copy(await self._sign())

    async def _sign(self) -> StoredCheckpoint:
        size, root = await self.log.run(lambda _writer, frontier: (frontier.size, frontier.root()))
        settled = min(self.recorder.settled, size)
        stated = Checkpoint(self.log.origin, size, root)
        self.fault("checkpoint.signing")
        signature = await self.signer.sign_checkpoint(stated.to_text().encode())
        self.fault("checkpoint.signed")
        self.key.verify(stated.to_text(), signature)
        note = Note(stated.to_text(), (self.key.signature(signature),)).to_bytes()
        kept = self._kept = StoredCheckpoint(size, note)
        await self.log.run(lambda writer, _frontier: writer.save_checkpoint(kept, settled))
        self.newest, self._is_fresh = stated, True
        return kept

    async def _bring(self) -> None:
        """Have copies leave of what was kept last, where they have not; raise LedgerError."""
        while self._copying is not None or self._is_fresh or self._is_time():
            if self._copying is None and self._kept is not None:
                self._copying = asyncio.create_task(self._copy(self._kept))
            if (copying := self._copying) is not None:
                await asyncio.wait({copying}, timeout=self.seconds)
                if not copying.done():
                    return
                self._copying = None
                copying.result()

    async def _copy(self, kept: StoredCheckpoint) -> bytes:
        self._spread, self._is_fresh = self.monotonic(), False
        note = await self.copies.spread(kept)
        self.fault("checkpoint.published")
        return note

    def _is_time(self) -> bool:
        """Whether to try again, because of what there is no copy has left."""
        is_behind = self._kept is not None and self.copies.is_behind
        return is_behind and self.monotonic() - self._spread >= _AGAIN_SECONDS

    async def _resume_copies(self) -> None:
        head = await self.log.run(lambda writer, _frontier: writer.head())
        waiting = None
        if head.copied < head.size:
            waiting = await self.recorder.age(head.copied)
        self.copies.start(head.copied, waiting)

    async def _remember_pruning(self) -> None:
        """Have it in the log itself where content was removed; once more at each start, which nobody else would do."""
        pruned = await self.log.run(lambda writer, _frontier: writer.head().pruned)
        if pruned > self._pruned:
            await self.recorder.pruned(pruned)
            self._pruned = pruned

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
