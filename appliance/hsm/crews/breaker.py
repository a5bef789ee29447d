"""
When an HSM that failed is tried again: pure, times are arguments (monotonic seconds).

A failed try is followed by a pause of 2 seconds, and each further one by half as long again, up to 30: an HSM that is
away for the night is not bothered, and its log is not filled. But a caller who is refused wants it now. So a refusal
shortens the pause that is running to 1 second: with patients at the desk an HSM that is back serves again within about
two seconds, with nobody there within 30. Demand never makes tries more frequent than one a second.
"""

from typing import Final

FIRST_PAUSE: Final = 2.0
GROWTH: Final = 1.5
LONGEST_PAUSE: Final = 30.0
SHORTEST_PAUSE: Final = 1.0
"""When somebody asks."""


class Breaker:
    """Closed from the start. `failed` opens it, `healed` closes it; between the two `next_try` says when."""

    __slots__ = ("_demanded", "_failed_at", "_pause")

    def __init__(self) -> None:
        self._pause: float | None = None
        self._failed_at = 0.0
        self._demanded = False

    @property
    def is_open(self) -> bool:
        """Whether the last try failed."""
        return self._pause is not None

    def failed(self, now: float) -> None:
        """A try has failed."""
        self._pause = FIRST_PAUSE if self._pause is None else min(self._pause * GROWTH, LONGEST_PAUSE)
        self._failed_at = now
        self._demanded = False

    def healed(self) -> None:
        """A try has succeeded."""
        self._pause = None
        self._demanded = False

    def demand(self) -> None:
        """Somebody was refused."""
        self._demanded = True

    def next_try(self, now: float) -> float:
        """Return the seconds from *now* until the next try; 0 when it is time."""
        if self._pause is None:
            return 0.0
        pause = min(self._pause, SHORTEST_PAUSE) if self._demanded else self._pause
        return max(0.0, self._failed_at + pause - now)
