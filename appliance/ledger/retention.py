"""
Retention: after their time the entries go, their hashes and all proofs stay.

A prefix goes, never something in the middle: everything before the first entry that is young enough. So a clock
that was wrong for a while keeps entries too long and never removes one too early.
"""

import time
from typing import Final

from appliance.ledger import entries
from appliance.ledger.store import Reader, Store, stored_entries

_PAUSE: Final = 0.03
"""Seconds. Who waits to append in SQLite asks for its lock from time to time, and would not meet a shorter pause."""


def prune(store: Store, before: int) -> int:
    """
    Remove the content of the entries from before the time *before* (milliseconds); return the first index kept.

    The newest entry always stays. What is reserved and not finished stays too, as long as it can be finished.
    """
    with store.pruning() as log:
        keep = first_kept(log, before)
        begun = time.monotonic()
        while log.prune(keep):
            # The appliance comes first: it has half of the time at least.
            time.sleep(max(_PAUSE, time.monotonic() - begun))
            begun = time.monotonic()
        return log.head().pruned


def first_kept(log: Reader, before: int) -> int:
    """Return the first index whose entry is not from before the time *before*, or has to stay anyhow."""
    head = log.head()
    # Of a log that never grows again nothing is finished any more.
    settled = head.size if head.closed else head.settled
    last = min(settled, max(head.size - 1, 0))
    for index, content in stored_entries(log, head.pruned, last):
        if entries.decode(content).time >= before:
            return index
    return max(last, head.pruned)
