"""How long to wait before the appliance is called again: longer each time, and never all terminals at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_FACTOR: Final = 2.0


@dataclass(slots=True)
class Backoff:
    """
    Pauses in seconds between *shortest* and *longest*; *random* returns numbers from 0 up to 1.

    Each is drawn anew between half of *shortest* and a bound that doubles, so that terminals which lost the appliance
    at one moment do not come back at one moment.
    """

    shortest: float
    longest: float
    random: Callable[[], float]
    _bound: float = 0.0

    def pause(self, about: float = 0.0) -> float:
        """Return the next pause; *about* so long is what the appliance asked for, as far as that is reasonable."""
        self._bound = min(self.longest, max(self.shortest, _FACTOR * self._bound))
        drawn, lowest = self.random(), self.shortest / 2
        asked = min(max(about, 0.0), self.longest)
        return lowest + drawn * (self._bound - lowest) + asked * (0.5 + drawn)

    def succeeded(self) -> None:
        """Begin with short pauses again."""
        self._bound = 0.0
