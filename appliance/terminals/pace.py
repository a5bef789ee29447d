"""How often something may happen: a few times at once, and then at a steady rate."""


class Pace:
    """At most *burst* at once, and *rate* a second in the long run. Time is given, in seconds that never go back."""

    __slots__ = ("_burst", "_left", "_rate", "_seen")

    def __init__(self, burst: int, rate: float) -> None:
        self._burst, self._rate = burst, rate
        self._left, self._seen = float(burst), 0.0

    def allows(self, now: float) -> bool:
        """Tell whether it may happen once more at *now*, and count it if so."""
        self._left = min(self._burst, self._left + (now - self._seen) * self._rate)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
