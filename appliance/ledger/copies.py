"""
Brings copies of checkpoints out of reach, to second places (`sinks`) and witnesses, and knows what none covers yet.

How far copies have left is kept in the store, and since when an entry waits for one is that entry's own time: so
neither a restart nor a quiet night changes how long new entries have gone without a copy.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from appliance.errors import LedgerError, LedgerNotCopied
from appliance.ledger.log import Log
from appliance.ledger.merkle import consistency_proof
from appliance.ledger.note import Note, NoteSignature, VerifierKey
from appliance.ledger.store import StoredCheckpoint, fetching

_LOG = logging.getLogger(__name__)
_SECONDS_IN_HOUR: Final = 3600.0
_PLACE_SECONDS: Final = 15.0
"""How long one place is waited for: a folder on a machine that is gone need not answer at all."""

T = TypeVar("T")


class Sink(Protocol):
    """A second place for checkpoints."""

    @property
    def name(self) -> str:
        """What it is called in messages and metrics."""

    async def prepare(self) -> None:
        """Make the place, for a log that is new, or raise OSError."""

    async def publish(self, note: bytes) -> None:
        """Bring the signed *note* there, or raise OSError."""

    async def newest(self, origin: str) -> bytes | None:
        """
        Return the newest note of the log *origin* that is there, None where it cannot be asked or has none.

        Raises OSError, and LedgerProofInvalid where what is there is no note.
        """


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
class Copies:
    """
    The copies of *log*'s checkpoints.

    Where *hours* are given, nothing may be reserved once an entry has waited so long for a copy. *monotonic* is a
    clock in seconds.
    """

    log: Log
    monotonic: Callable[[], float]
    sinks: Sequence[Sink] = ()
    witnesses: Sequence[Witness] = ()
    hours: float | None = None
    failures: dict[str, int] = field(default_factory=dict)
    """How often each sink and witness, the signer and the store have failed."""
    covered: int = 0
    """So many entries are under a checkpoint of which a copy has left."""
    _under_way: dict[str, "asyncio.Future[Any]"] = field(default_factory=dict)
    """What was asked of each place last."""
    _left_at: float | None = None
    """When a copy has left last, since the start."""
    _since: float | None = None
    """When the first entry came that no copy covers, as far as is known; None where there is none."""

    @property
    def has_place(self) -> bool:
        """Whether there is anywhere to bring them."""
        return bool(self.sinks or self.witnesses)

    @property
    def is_behind(self) -> bool:
        """Whether there are entries of which no copy has left, and a place for one."""
        return self.covered < self.log.size and self.has_place

    @property
    def age(self) -> float | None:
        """Seconds since a copy has left; None where none has since the start."""
        return None if self._left_at is None else self.monotonic() - self._left_at

    @property
    def waiting(self) -> float | None:
        """Seconds for which the first entry has waited that no copy covers; None where there is none."""
        if self.covered >= self.log.size or self._since is None:
            return None
        return self.monotonic() - self._since

    def start(self, covered: int, waiting: float | None) -> None:
        """Go on where an earlier process ended: copies cover so much, the first entry after that has been *waiting*."""
        self.covered = covered
        self._since = None if waiting is None else self.monotonic() - waiting

    def permit(self) -> None:
        """Raise LedgerNotCopied where copies have to leave, and an entry has waited for too long."""
        if self.hours is None or self.covered >= self.log.size:
            return
        if self._since is None:
            self._since = self.monotonic()
        if self.monotonic() - self._since > self.hours * _SECONDS_IN_HOUR:
            raise LedgerNotCopied(f"no copy of a checkpoint has left for {self.hours} hours")

    async def spread(self, kept: StoredCheckpoint) -> bytes:
        """Have witnesses cosign *kept* and copies leave; return the note with the cosignatures. Raises LedgerError."""
        begun = self.monotonic()
        if self._since is None and self.covered < self.log.size:
            self._since = begun
        note, cosigned = await self._witnessed(kept)
        published = [await self._published(sink, note) for sink in self.sinks]
        if cosigned or any(published):
            self._left_at = self.monotonic()
            await self._left(kept.size, begun)
        return note

    async def within(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Return what *work* with the place *name* returns; raise OSError where it, or what was before it, takes too long."""
        before = self._under_way.get(name)
        if before is not None and not before.done():
            raise OSError(f"{name} has not come back from the last time")
        task: asyncio.Future[T] = asyncio.ensure_future(work())
        self._under_way[name] = task
        task.add_done_callback(_heard)
        done, _ = await asyncio.wait({task}, timeout=_PLACE_SECONDS)
        if not done:
            raise OSError(f"{name} did not answer in {_PLACE_SECONDS:g} s")
        return task.result()

    def failed(self, name: str, error: Exception) -> None:
        """Count a failure of *name*."""
        self.failures[name] = self.failures.get(name, 0) + 1
        _LOG.warning("ledger copy failed to=%s error=%s", name, type(error).__name__)

    async def _witnessed(self, kept: StoredCheckpoint) -> tuple[bytes, bool]:
        note, cosigned = Note.from_bytes(kept.note), False

        def prove(old: int) -> "asyncio.Future[list[bytes]]":
            proving = self.log.run(lambda writer, _: consistency_proof(old, kept.size, fetching(writer)))
            return asyncio.ensure_future(proving)

        for witness in self.witnesses:
            try:
                cosignatures = await self.within(witness.key.name, partial(witness.cosign, kept.note, prove))
            except (OSError, LedgerError) as error:
                self.failed(witness.key.name, error)
                continue
            note, cosigned = Note(note.text, (*note.signatures, *cosignatures)), True
        if cosigned:
            signed = StoredCheckpoint(kept.size, note.to_bytes())
            await self.log.run(lambda writer, _: writer.save_checkpoint(signed, None))
        return note.to_bytes(), cosigned

    async def _published(self, sink: Sink, note: bytes) -> bool:
        try:
            await self.within(sink.name, partial(sink.publish, note))
        except OSError as error:
            self.failed(sink.name, error)
            return False
        return True

    async def _left(self, size: int, begun: float) -> None:
        if size <= self.covered:
            return
        self.covered = size
        # What came while the copy was on its way waits since then at most.
        self._since = begun if size < self.log.size else None
        await self.log.run(lambda writer, _: writer.save_copied(size))


def _heard(ended: "asyncio.Future[Any]") -> None:
    """Take note of how it ended, so that a failure that nobody waits for any more is not reported as forgotten."""
    if not ended.cancelled():
        ended.exception()
