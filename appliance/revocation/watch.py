"""Watching the folder that a site's own job fills: when something is new, the import runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from appliance.errors import RevocationUnavailable
from appliance.revocation.importing import Outcome, Report, candidates

_log: Final = logging.getLogger(__name__)
_AT_LEAST: Final = 3600.0
"""Seconds between two imports where nothing changes."""


async def watch(folder: Path, import_now: Callable[[], Awaitable[Report]], seconds: float) -> None:
    """
    Call *import_now* at once, whenever *folder* has changed, looking every *seconds*, and at least every hour: a list
    that was of the future may have come of age. Until cancelled.

    A failure is logged and does not end the watch. What is logged is how many files had which outcome: nothing of
    what is in them.
    """
    last: frozenset[tuple[str, int, int]] | None = None
    until = 0.0
    clock = asyncio.get_running_loop().time
    while True:
        present = await asyncio.to_thread(_present, folder)
        if present != last or clock() >= until:
            last, until = present, clock() + _AT_LEAST
            try:
                report = await import_now()
            except (RevocationUnavailable, OSError) as error:
                code = error.code if isinstance(error, RevocationUnavailable) else RevocationUnavailable.code
                errno = error.errno if isinstance(error, OSError) else "-"
                _log.warning(
                    "revocation lists not imported code=%s errno=%s",
                    code,
                    errno,
                    extra={"detail": str(error)},
                )
                last = None
            else:
                counts = {
                    outcome.value: sum(f.outcome is outcome for f in report.files) for outcome in Outcome
                }
                _log.info("revocation lists imported", extra={**counts, "lists": report.lists})
                if report.unreadable:
                    _log.warning("revocation index unreadable")
                if report.damaged:
                    _log.warning("revocation index damaged", extra={"lists": report.damaged})
        await asyncio.sleep(seconds)


def _present(folder: Path) -> frozenset[tuple[str, int, int]]:
    found = set()
    try:
        for path in candidates(folder):
            status = path.stat()
            found.add((path.name, status.st_size, status.st_mtime_ns))
    except (RevocationUnavailable, OSError):
        # A file may go while we look, or the folder be missing; the import says which.
        return frozenset()
    return frozenset(found)
