"""Room in the log for what anybody can cause: so many lines in a minute, and the number of those that found none."""

from collections.abc import Callable
from typing import Final

LINES: Final = 60
"""In a minute."""
_MINUTE: Final = 60.0


class Ration:
    """Room by *clock*, which tells seconds, from anywhere; *left_out* is told once a minute is over how many found none."""

    __slots__ = ("_asked", "_clock", "_left_out", "_minute")

    def __init__(self, clock: Callable[[], float], left_out: Callable[[int], None]) -> None:
        self._clock, self._left_out = clock, left_out
        self._minute = -_MINUTE
        self._asked = 0

    def turn(self) -> None:
        """Begin another minute where the last one is over; to be called by whatever happens."""
        now = self._clock()
        if now >= self._minute + _MINUTE:
            self.close()
            self._minute = now

    def has_room(self) -> bool:
        """Return whether there is room for one more line."""
        self.turn()
        self._asked += 1
        return self._asked <= LINES

    def close(self) -> None:
        """Tell what was left out and is not told yet."""
        if self._asked > LINES:
            self._left_out(self._asked - LINES)
        self._asked = 0
