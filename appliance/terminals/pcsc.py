"""
A local PC/SC reader as a terminal.

PC/SC calls block and have no time limit, so each card gets a thread that nothing waits for at exit: a frozen card
holds its own thread and nobody else's request.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, asynccontextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange
from appliance.errors import ApplianceError, CardTimeout
from appliance.terminals import scard
from appliance.terminals.steps import EnterPin, Observe, ignore, no_pin_entry, perform

T = TypeVar("T")

_CLOSING_SECONDS = 1.0


class _Thread:
    """Runs calls one after another in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  # handed to the caller, whatever it is
                future.set_exception(error)

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Have *function* called after those before it."""
        future: Future[T] = Future()
        self._calls.put((future, function))
        return future

    async def call(self, function: Callable[[], T], seconds: float) -> T:
        """Return what *function* returns, or raise CardTimeout after *seconds* and leave it to itself."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(self.submit(function))
        except TimeoutError as error:
            raise CardTimeout(f"the card did not answer within {seconds:g} s") from error

    def end(self) -> None:
        """Let the thread end after the calls it has."""
        self._calls.put(None)


class PcscCard:
    """The card on a reader, for one power-up of it. After a failure it is not spoken to again."""

    def __init__(
        self,
        thread: _Thread,
        connection: scard.Connection,
        seconds: float,
        enter_pin: EnterPin,
        observe: Observe,
    ) -> None:
        self._thread, self._connection = thread, connection
        self._seconds, self._enter_pin, self._observe = seconds, enter_pin, observe
        self._failed = False

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps of *exchange* and return the answers (`authentication.Card`)."""
        if self._failed:
            raise RuntimeError("a card that failed is not spoken to again")
        try:
            return await self._thread.call(lambda: self._perform(exchange), self._seconds)
        except (ApplianceError, asyncio.CancelledError):
            self._failed = True
            raise

    def _perform(self, exchange: Exchange) -> tuple[Response, ...]:
        self._connection.require_same_card()
        return perform(exchange, self._connection.transmit, self._enter_pin, self._observe)


@asynccontextmanager
async def card_on(
    reader: str, *, wait: float, seconds: float, enter_pin: EnterPin = no_pin_entry, observe: Observe = ignore
) -> AsyncIterator[PcscCard]:
    """
    Give the card on the one reader whose name contains *reader*, for ourselves alone.

    Waits *wait* seconds for a card; every exchange may take *seconds*. Raises PcscUnavailable, ReaderAbsent,
    CardAbsent, CardBusy, CardTimeout.
    """
    thread, stack = _Thread("pcsc"), ExitStack()
    try:
        connection = await thread.call(
            lambda: stack.enter_context(scard.connected(reader, int(wait * 1000))), wait + seconds
        )
        yield PcscCard(thread, connection, seconds, enter_pin, observe)
    finally:
        # Closing waits behind whatever the card is still busy with; for a frozen one we do not wait.
        closed = thread.submit(stack.close)
        thread.end()
        await asyncio.to_thread(wait_for, [closed], timeout=_CLOSING_SECONDS)
