"""
What authentications tell the log (`authentication.Ledger`): reserved before a key signs, finished after.

An entry that was reserved is *open* until it is finished. When its caller was told that it could not be reserved
and it was all the same, or the process ends in between, it is closed as interrupted: at once, or at the next start.

So is a proposed emergency window until it is closed. No window outlives the process that opened it: what is stored says
what was, and opens nothing. Whoever could write the store could otherwise do away with the check of holders.
"""

import asyncio
import math
from collections.abc import Callable

from appliance.ledger import entries
from appliance.ledger.entries import (
    Continued,
    Entry,
    Finished,
    Pruned,
    Reserved,
    WindowClosed,
    WindowConfirmed,
    WindowProposed,
)
from appliance.ledger.log import Log
from appliance.ledger.merkle import Frontier
from appliance.ledger.store import Reader, fetching, stored_entries
from appliance.ledger.windows import UNCHECKED, Windows

Permission = Callable[[], None]
"""Raises LedgerError where nothing may be reserved at present."""


class Recorder:
    """Keeps the *log* of authentications. *now* gives milliseconds (`entries.milliseconds`)."""

    def __init__(self, log: Log, now: Callable[[], int]) -> None:
        self.log = log
        self._now = now
        self._permit: Permission = _always
        self._open: set[int] = set()
        self._abandoned: set[int] = set()
        self._windows = Windows()
        """Those of this process."""
        self._closings: dict[int, WindowClosed] = {}
        """How windows among the abandoned entries are to be closed."""
        log.on_orphan(self._orphaned)

    def ask(self, permit: Permission) -> None:
        """Have *permit* asked before anything is reserved."""
        self._permit = permit

    @property
    def settled(self) -> int:
        """All that was reserved below this index is finished."""
        return min(self._open, default=self.log.size)

    async def start(self) -> int:
        """
        Close what an earlier process has left open; return how many entries that were.

        A new log says first whose continuation it is, where the database holds a closed one.
        """
        if self.log.size == 0:
            await self._continue()
        left = await self.log.run(lambda writer, _frontier: unfinished(writer))
        for index, entry in left.items():
            self._leave(index, entry)
        for index in left:
            await self._interrupt(index)
        self._abandoned &= self._open
        return len(left)

    async def reserve(self, entry: Reserved) -> int:
        """
        Make *entry* durable and return its index; or raise LedgerError, and no key may be used.

        Raises EmergencyClosed where nobody has checked the holder, and no window is open for that now.
        """
        if entry.check == UNCHECKED:
            # Entries are written in the order of these calls: none of this kind comes after its window's end.
            self._windows.require(entry)
        return await self._begin(entry)

    async def propose(self, entry: WindowProposed) -> int:
        """Make *entry* durable and return its index, by which the window is known; or raise LedgerError."""
        index = await self._begin(entry)
        self._windows.propose(index, entry)
        return index

    async def confirm(self, entry: WindowConfirmed) -> None:
        """Make *entry* durable, and from then on let its window be used; or raise LedgerError."""
        self._permit()
        await self.log.append(entries.checked(entry))
        if entry.window in self._windows:
            # Else it was closed meanwhile.
            self._windows.confirm(entry)

    async def close(self, entry: WindowClosed) -> None:
        """
        Let a window be used no longer, at once, and make *entry* durable.

        Where it raises LedgerError the window is closed all the same, and `sweep` sees to the entry.
        """
        self._windows.close(entry)
        written = self.log.append(entries.checked(entry))
        try:
            await written
        except BaseException:
            if _is_durable(written):
                self._open.discard(entry.window)
            else:
                self._closings[entry.window] = entry
                self._abandoned.add(entry.window)
            raise
        self._open.discard(entry.window)

    async def _begin(self, entry: Reserved | WindowProposed) -> int:
        self._permit()
        written = self.log.append(entries.checked(entry))
        try:
            index = await written
        except asyncio.CancelledError:
            if _is_durable(written):
                self._leave(written.result(), entry)
            raise
        self._open.add(index)
        return index

    async def finish(self, entry: Finished) -> int:
        """Make durable how an authentication ended and return that entry's index, or raise LedgerError."""
        written = self.log.append(entries.checked(entry))
        try:
            index = await written
        except BaseException:
            if _is_durable(written):
                self._open.discard(entry.reserved)
            else:
                # Cancelled, or not durable: either way nobody else will finish it.
                self._abandoned.add(entry.reserved)
            raise
        self._open.discard(entry.reserved)
        return index

    def abandon(self, reserved: int) -> None:
        """Have `sweep` close *reserved* as interrupted: its authentication ended without an outcome."""
        if reserved in self._open:
            self._abandoned.add(reserved)

    async def sweep(self) -> None:
        """Close as interrupted what was abandoned; raise LedgerError where that has to wait."""
        if self._abandoned:
            # Where the store was away, this looks what it holds; a late outcome comes out of that.
            await self.log.run(_nothing)
        for index in sorted(self._abandoned & self._open):
            await self._interrupt(index)
        self._abandoned &= self._open

    async def pruned(self, before: int) -> None:
        """Say in the log that the content of the entries below *before* was removed."""
        await self.log.append(entries.encode(Pruned(time=self._now(), before=before)))

    async def age(self, index: int) -> float:
        """Return for how many seconds the entry *index* has been there; for ever, where its content was pruned."""
        found = await self.log.run(lambda writer, _frontier: list(stored_entries(writer, index, index + 1)))
        # A clock that went back tells nothing either: the distance counts, whichever way it is.
        return abs(self._now() - entries.decode(found[0][1]).time) / 1000 if found else math.inf

    def _orphaned(self, index: int, content: bytes) -> None:
        entry = entries.decode(content)
        if isinstance(entry, Reserved | WindowProposed):
            self._leave(index, entry)
        elif (ended := _ended_by(entry)) is not None:
            self._open.discard(ended)
            self._closings.pop(ended, None)

    def _leave(self, index: int, entry: Reserved | WindowProposed) -> None:
        """Have the *entry* at *index* closed as interrupted: nobody else will."""
        self._open.add(index)
        self._abandoned.add(index)
        if isinstance(entry, WindowProposed):
            self._closings[index] = WindowClosed(time=self._now(), window=index, cause="interrupted")

    async def _interrupt(self, index: int) -> None:
        finished = Finished(time=self._now(), reserved=index, outcome="interrupted")
        await self.log.append(entries.encode(self._closings.get(index, finished)))
        self._open.discard(index)
        self._closings.pop(index, None)

    async def _continue(self) -> None:
        origin = await self.log.run(lambda writer, _frontier: writer.predecessor())
        if origin is None:
            return
        closed = await asyncio.to_thread(self._closed, origin)
        await self.log.append(entries.checked(closed))

    def _closed(self, origin: str) -> Entry:
        with self.log.store.with_origin(origin).reading() as reader:
            size = reader.head().size
            root = Frontier(size, fetching(reader)).root()
        return Continued(time=self._now(), origin=origin, size=size, root=root.hex())


def _is_durable(written: "asyncio.Future[int]") -> bool:
    """Whether it was acknowledged, in the very turn of the loop in which its caller was cancelled."""
    return written.done() and not written.cancelled() and written.exception() is None


def unfinished(reader: Reader) -> dict[int, Reserved | WindowProposed]:
    """Return the entries that were reserved and are not finished, and windows that are not closed."""
    head = reader.head()
    left: dict[int, Reserved | WindowProposed] = {}
    for index, content in stored_entries(reader, head.settled, head.size):
        entry = entries.decode(content)
        if isinstance(entry, Reserved | WindowProposed):
            left[index] = entry
        elif (ended := _ended_by(entry)) is not None:
            left.pop(ended, None)
    return left


def _ended_by(entry: Entry) -> int | None:
    """Return the index of the entry that *entry* brings to its end; None where it ends none."""
    match entry:
        case Finished(reserved=reserved):
            return reserved
        case WindowClosed(window=window):
            return window
        case _:
            return None


def _nothing(_writer: Reader, _frontier: Frontier) -> None:
    """Only find out whether the store is there."""


def _always() -> None:
    """Permit."""
