"""
The thread that watches readers and cards, and outlives the PC/SC service.

It waits for changes in bounded steps, so that its last look is never old while it works, and looks for the service
again when it has gone, with growing pauses. Every look is told as a `View`; nothing is told as a difference, so
nothing is lost in between.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from appliance.errors import CardError, PcscRefused, ReaderAbsent
from appliance.terminals import scard
from appliance.terminals.scard import ReaderState
from appliance.terminals.view import View

_WAIT_MS: Final = 1_000
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class Watch:
    """Tells *seen* every view, from a thread of its own; *clock* gives seconds since the epoch."""

    def __init__(self, seen: Callable[[View], None], clock: Callable[[], float]) -> None:
        self._seen, self._clock = seen, clock
        self._stopping = threading.Event()
        self._context: scard.Context | None = None
        self._pause = _SHORTEST_PAUSE
        self._thread = threading.Thread(target=self._run, name="readers", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Have the thread end; it does so within a second unless the service itself hangs."""
        self._stopping.set()
        context = self._context
        if context is not None:
            context.cancel()
        self._thread.join(2 * _WAIT_MS / 1000)

    def _run(self) -> None:
        while not self._stopping.is_set():
            is_refused = False
            try:
                with scard.context() as context:
                    self._context = context
                    try:
                        self._look(context)
                    finally:
                        self._context = None
            except CardError as error:
                is_refused = isinstance(error, PcscRefused)
            if not self._stopping.is_set():
                self._seen(View(self._clock(), None, is_refused=is_refused))
                self._stopping.wait(self._pause)
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _look(self, context: scard.Context) -> None:
        up_since = self._clock()
        while not self._stopping.is_set():
            readers = _readers(context)
            self._pause = _SHORTEST_PAUSE
            self._seen(View(self._clock(), up_since, readers))
            # Changes go on being noticed; a service that reports one without end is not asked without end.
            if self._stopping.wait(_SHORTEST_PAUSE):
                break
            with suppress(ReaderAbsent):  # one that has gone in between is missed in the next list
                context.wait(readers, _WAIT_MS)


def _readers(context: scard.Context) -> Mapping[str, ReaderState]:
    found = {}
    for name in context.readers():
        with suppress(ReaderAbsent):
            found[name] = context.state(name)
    return found
