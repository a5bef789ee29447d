"""
Emergency windows as the entries of a log tell of them. Pure: who writes the log and who audits it ask the same.

    window_proposed ──window_confirmed, by somebody else──> open ──window_closed──> over
                    └──────────────────────────────────────────window_closed──> over

While a window is open, and before its end, an authentication at one of its desks may be reserved with nobody's check.
"""

import re
from typing import Final

from appliance.errors import EmergencyClosed, LedgerDamaged
from appliance.ledger.entries import Reserved, WindowClosed, WindowConfirmed, WindowProposed

UNCHECKED: Final = "none_emergency"
"""The check of an authentication that names a window."""
_NAME: Final = re.compile(r"w-(0|[1-9][0-9]{0,15})")


def name_of(index: int) -> str:
    """Return what the window is called that the entry *index* has proposed."""
    return f"w-{index}"


def index_of(name: str) -> int | None:
    """Return the index of the entry that has proposed the window *name*; None where that is no window's name."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])


class Windows:
    """The windows of one log that are not over, as far as its entries were told."""

    def __init__(self) -> None:
        self._proposed: dict[int, WindowProposed] = {}
        self._open: set[int] = set()

    def __contains__(self, index: int) -> bool:
        return index in self._proposed

    def propose(self, index: int, entry: WindowProposed) -> None:
        """Know the window that *entry* proposes."""
        self._proposed[index] = entry

    def confirm(self, entry: WindowConfirmed) -> None:
        """Know a window to be open, or raise LedgerDamaged where *entry* does not open any."""
        proposed = self._proposed.get(entry.window)
        if proposed is None:
            raise LedgerDamaged(f"an entry confirms {entry.window}, which is no window that could be opened")
        if proposed.by == entry.by:
            raise LedgerDamaged(f"the window {entry.window} was confirmed by the one who had proposed it")
        self._open.add(entry.window)

    def close(self, entry: WindowClosed) -> None:
        """Know a window to be over, or raise LedgerDamaged where there is none."""
        if self._proposed.pop(entry.window, None) is None:
            raise LedgerDamaged(f"an entry closes {entry.window}, which is no window, or over")
        self._open.discard(entry.window)

    def require(self, reserved: Reserved) -> None:
        """Check that an open window is for what was *reserved*, or raise EmergencyClosed."""
        index = index_of(reserved.checked_by)
        proposed = None if index is None or index not in self._open else self._proposed[index]
        if proposed is None:
            raise EmergencyClosed("the emergency window was closed, or never opened")
        if proposed.desks and reserved.terminal not in proposed.desks:
            raise EmergencyClosed("the emergency window is for other desks")
        if reserved.time >= proposed.until:
            raise EmergencyClosed("the emergency window has ended")
