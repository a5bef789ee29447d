"""The last canary of each key of an HSM: when, and how long it took."""

import math
import time
from typing import Final

from appliance.hsm.health import KeyHealth
from appliance.hsm.observer import Observer
from appliance.hsm.place import Hsm

_KEEP_ALIVE_SHARE: Final = 0.5
"""Of the time after which an idle session may die."""


class Canaries:
    """What is known of the keys of *hsm* by their canaries, wanted each *seconds*."""

    __slots__ = ("_alias", "_last", "_observer", "interval", "pinned")

    def __init__(self, hsm: Hsm, seconds: float, observer: Observer) -> None:
        keep_alive = hsm.setup.vendor.limits.keep_alive_seconds
        self.interval = min(seconds, keep_alive * _KEEP_ALIVE_SHARE if keep_alive else math.inf)
        """Seconds from one canary of a worker to the next: often enough for idle sessions, too."""
        self.pinned = {pinned.fingerprint: pinned for pinned in hsm.setup.pinned}
        self._alias = hsm.alias
        self._observer = observer
        self._last: dict[str, tuple[float, float]] = {}

    def sang(self, key: str, seconds: float) -> None:
        """*key* has signed a canary, in so many *seconds*."""
        self._last[key] = (time.time(), seconds)
        self._observer.canary(self._alias, self.pinned[key].label, seconds)

    def health(self) -> tuple[KeyHealth, ...]:
        """Return every key with its last canary."""
        return tuple(
            KeyHealth(pinned.label, key, *self._last.get(key, (None, None)))
            for key, pinned in self.pinned.items()
        )
