"""
The PIN from the terminal's own keyboard: read without echo, by whoever has the one keyboard, for a bounded time.

The digits go from the keyboard into the VERIFY that is waiting for them, and nowhere else. What was typed before the
question is thrown away, so that digits meant for something else do not become a PIN.
"""

import os
import select
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Final, Self

from appliance.errors import ConfigInvalid

_LONGEST: Final = 64
_ERASE: Final = (0x08, 0x7F)
_END: Final = (0x0A, 0x0D)
_CANCEL: Final = (0x03, 0x04, 0x1B)
"""Ctrl-C, Ctrl-D, Escape."""
_STEP_SECONDS: Final = 0.2
_TTY: Final = "/dev/tty"


class Keyboard:
    """The keyboard at *descriptor*, a terminal; a context manager, which closes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._taken = threading.Lock()
        self._closed = threading.Event()

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the keyboard of the controlling terminal, or raise ConfigInvalid where there is none."""
        try:
            return cls(os.open(_TTY, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError as error:
            raise ConfigInvalid("pin.entry is keyboard, and this process has no terminal with one") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._closed.set()
        with self._taken:
            os.close(self._descriptor)

    def ask(self, seconds: float, given_up: threading.Event, silent: Callable[[], None]) -> str | None:
        """
        Return what the holder enters within *seconds*, or None: cancelled, too late, or *given_up* by who asked.

        Waits for the keyboard where another reader's holder has it. Calls *silent* when keys are no longer shown, so that
        nobody is told to enter a PIN while it would still appear on the screen.
        """
        deadline = monotonic() + seconds
        if not self._acquired(deadline, given_up):
            return None
        try:
            if given_up.is_set() or self._closed.is_set():
                return None
            with self._silent():
                silent()
                return self._line(deadline, given_up)
        except (OSError, termios.error):
            return None
        finally:
            self._taken.release()

    def _acquired(self, deadline: float, given_up: threading.Event) -> bool:
        """Return whether nobody else has the keyboard any more; not waited for longer than somebody wants the answer."""
        while (left := deadline - monotonic()) > 0 and not (given_up.is_set() or self._closed.is_set()):
            if self._taken.acquire(timeout=min(left, _STEP_SECONDS)):
                return True
        return False

    def _line(self, deadline: float, given_up: threading.Event) -> str | None:
        entered = bytearray()
        try:
            while (left := deadline - monotonic()) > 0 and not (given_up.is_set() or self._closed.is_set()):
                readable, _, _ = select.select([self._descriptor], [], [], min(left, _STEP_SECONDS))
                if not readable:
                    continue
                key = os.read(self._descriptor, 1)
                if not key or key[0] in _CANCEL:
                    return None
                if key[0] in _END:
                    return entered.decode("ascii", errors="replace")
                if key[0] in _ERASE:
                    del entered[-1:]
                elif len(entered) < _LONGEST:
                    entered += key
            return None
        finally:
            entered[:] = bytes(len(entered))

    @contextmanager
    def _silent(self) -> Iterator[None]:
        """Have keys come one by one, unseen; what was typed before is thrown away."""
        before = termios.tcgetattr(self._descriptor)
        silent = termios.tcgetattr(self._descriptor)
        silent[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
        silent[6][termios.VMIN], silent[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, silent)
        try:
            yield
        finally:
            with suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, before)
