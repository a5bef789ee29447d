"""
The one writer of a log: many callers wait, one thread commits what they have brought together.

    callers ──append──▶ queue ──▶ thread: hash, commit ──▶ each caller gets its index

While one commit waits for the disk the next callers gather, so that the more there are, the more share a sync.

What is acknowledged is durable. What is not may be durable all the same: the store was slow, or cut off between
its commit and its answer. When it is back, the thread looks what it holds. Entries that became durable though
their caller was told otherwise are *orphans*, and whoever understands entries is told of them.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final, Generic, Self, TypeVar

from appliance.errors import LedgerError, LedgerUnavailable
from appliance.ledger.fault import Fault, no_fault
from appliance.ledger.merkle import Frontier
from appliance.ledger.scribe import Scribe
from appliance.ledger.store import Store, Writer
from appliance.ledger.tiles import LARGEST_ENTRY

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

LARGEST_BATCH: Final = 1024
_TICKS_IN_DEADLINE: Final = 8

Orphan = Callable[[int, bytes], None]
"""Told the index and content of an entry whose caller believes it was not written."""


class _Group:
    """Entries that came in one turn of the event loop, and those who wait for them to be durable."""

    __slots__ = ("deadline", "entries", "futures")

    def __init__(self, deadline: float) -> None:
        self.entries: list[bytes] = []
        self.futures: list[asyncio.Future[int]] = []
        self.deadline = deadline

    @property
    def is_answered(self) -> bool:
        """Whether nobody waits any more."""
        return all(future.done() for future in self.futures)


@dataclass(frozen=True, slots=True)
class _Task(Generic[T]):
    """Something else for the thread to do with the store."""

    work: Callable[[Writer, Frontier], T]
    future: "asyncio.Future[T]"


class _End:
    """Nothing comes after this."""


class Log:
    """
    The log of a store's origin. Use `start` and `close`, or as an asynchronous context manager.

    *seconds* is the longest a caller waits; *most* the most callers that wait at once.
    """

    def __init__(
        self, store: Store, *, seconds: float = 2.0, most: int = 10_000, fault: Fault = no_fault
    ) -> None:
        self.store = store
        self.origin = store.origin
        self.size = 0
        """How many entries are known to be durable."""
        self._seconds = seconds
        self._most = most
        self._fault = fault
        self._queue: SimpleQueue[_Group | _Task[object] | _End] = SimpleQueue()
        self._gathering: _Group | None = None
        self._waiting: deque[_Group] = deque()
        self._callers = 0
        self._watching: asyncio.TimerHandle | None = None
        self._closed = False
        self._orphan: Orphan = _no_orphan
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scribe = Scribe(store, self._hear)
        """Of the thread alone."""

    async def start(self) -> None:
        """Open the store, or raise LedgerError."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"ledger {self.origin}", daemon=True)
        self._thread.start()
        try:
            await self.run(lambda _writer, _frontier: None)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Commit what waits, and give the store up; whoever waits for a store that does not end is refused."""
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()
        if self._thread is not None:
            self._hand_over()
            self._queue.put(_End())
            await asyncio.to_thread(self._thread.join, self._seconds * 2)
            # What the thread has told is called before this.
            await asyncio.sleep(0)
            self._refuse(list(self._waiting), LedgerUnavailable("the log is closed"))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def on_orphan(self, orphan: Orphan) -> None:
        """Have *orphan* told of entries whose caller believes they were not written; in the event loop."""
        self._orphan = orphan

    def append(self, entry: bytes) -> "asyncio.Future[int]":
        """
        Make *entry* durable; what is returned gives its index, or LedgerError, after which it may or may not be durable.

        No coroutine of its own: a hundred callers take turns with the disk here, and each turn counts.
        """
        if not 0 < len(entry) <= LARGEST_ENTRY:
            raise ValueError(f"an entry of {len(entry)} bytes")
        loop = self._loop
        if loop is None:
            raise ValueError("the log has not been started")
        future: asyncio.Future[int] = loop.create_future()
        if self._closed:
            future.set_exception(LedgerUnavailable("the log is closed"))
            return future
        if self._callers >= self._most:
            future.set_exception(LedgerUnavailable(f"{self._most} callers wait for the store already"))
            return future
        group = self._gathering
        if group is None:
            group = self._gathering = _Group(loop.time() + self._seconds)
            # Whoever else asks in this turn of the loop comes along.
            loop.call_soon(self._hand_over)
        group.entries.append(entry)
        group.futures.append(future)
        self._callers += 1
        if len(group.entries) == LARGEST_BATCH:
            self._hand_over()
        return future

    async def run(self, work: Callable[[Writer, Frontier], T]) -> T:
        """
        Have the thread do *work* with the store, after everything that was asked for before; return what it returns.

        Raises LedgerUnavailable after the deadline; the work may be done all the same. Where the store's session is
        lost meanwhile, it is done once more.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._hand_over()
        self._queue.put(_Task(work, future))  # type: ignore[arg-type]  # the queue holds tasks of every result
        try:
            async with asyncio.timeout(self._seconds):
                return await future
        except TimeoutError as error:
            raise LedgerUnavailable(f"the store did not answer within {self._seconds} s") from error

    # --- in the event loop ---

    def _hand_over(self) -> None:
        """Give the thread what has been gathered."""
        group, self._gathering = self._gathering, None
        if group is None:
            return
        self._waiting.append(group)
        if self._watching is None:
            self._watch()
        self._queue.put(group)

    def _watch(self) -> None:
        """Give up on those who have waited too long, as long as anybody waits."""
        loop = self._loop
        if loop is None:
            return
        now = loop.time()
        for group in self._waiting:
            if group.deadline > now:
                break
            for future in group.futures:
                if not future.done():
                    future.set_exception(
                        LedgerUnavailable(f"the store did not make it durable in {self._seconds} s")
                    )
        self._forget_answered()
        self._watching = (
            loop.call_later(self._seconds / _TICKS_IN_DEADLINE, self._watch) if self._waiting else None
        )

    def _forget_answered(self) -> None:
        while self._waiting and self._waiting[0].is_answered:
            self._callers -= len(self._waiting.popleft().futures)

    def _acknowledge(self, groups: list[_Group], first: int) -> None:
        for group in groups:
            for index, future in enumerate(group.futures, first):
                if future.done():
                    self._orphan(index, group.entries[index - first])
                else:
                    future.set_result(index)
            first += len(group.futures)
        self.size = first
        self._forget_answered()
        self._fault("append.acknowledged")

    def _refuse(self, groups: list[_Group], error: LedgerError) -> None:
        for group in groups:
            for future in group.futures:
                if not future.done():
                    # An exception of its own for each: a traceback belongs to one caller.
                    future.set_exception(type(error)(error.detail))
        self._forget_answered()

    def _found(self, first: int, entries: list[bytes]) -> None:
        self.size = first + len(entries)
        for index, entry in enumerate(entries, first):
            self._orphan(index, entry)

    # --- in the thread ---

    def _run(self) -> None:
        item = self._queue.get()
        while not isinstance(item, _End):
            following = None
            if isinstance(item, _Task):
                self._perform(item)
            else:
                groups = [item]
                following = self._join(groups)
                self._commit(groups)
            item = self._queue.get() if following is None else following
        self._scribe.leave()

    def _join(self, groups: list[_Group]) -> "_Group | _Task[object] | _End | None":
        """Add to *groups* those that wait already, up to a bound; return what came after them and does not belong."""
        size = len(groups[0].entries)
        while not self._queue.empty():
            item = self._queue.get()
            if not isinstance(item, _Group) or size + len(item.entries) > LARGEST_BATCH:
                return item
            groups.append(item)
            size += len(item.entries)
        return None

    def _commit(self, groups: list[_Group]) -> None:
        # Where all have given up by now, nothing needs to be written.
        groups = [group for group in groups if not group.is_answered]
        entries = [entry for group in groups for entry in group.entries]
        if not entries:
            return
        try:
            first = self._scribe.append(entries, lambda: any(not group.is_answered for group in groups))
        except LedgerError as error:
            self._scribe.leave(error)
            self._tell(self._refuse, groups, error)
        except Exception as error:  # noqa: BLE001 - as it says
            # A bug of ours. The thread has to live, or everybody would wait; what is stored has to be looked at.
            self._scribe.leave()
            self._tell(self._refuse, groups, LedgerUnavailable(f"the writer failed ({type(error).__name__})"))
            _LOG.exception("ledger writer failed")
        else:
            self._tell(self._acknowledge, groups, first)

    def _perform(self, task: _Task[object]) -> None:
        try:
            result = self._scribe.do(task.work)
        except LedgerError as error:
            self._scribe.leave(error)
            self._tell(_fail, task.future, error)
        except Exception as error:  # noqa: BLE001 - it is the caller's work, and the caller's to hear of it
            self._tell(_fail, task.future, error)
        else:
            self._tell(_fulfil, task.future, result)

    def _hear(self, first: int, entries: list[bytes]) -> None:
        self._tell(self._found, first, entries)

    def _tell(self, what: Callable[..., None], *values: object) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(what, *values)


def _fulfil(future: "asyncio.Future[object]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[object]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _no_orphan(_index: int, _entry: bytes) -> None:
    """Leave it: nobody has said what entries mean."""
