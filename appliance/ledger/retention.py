"""
Retention: after their time the entries go, their hashes and all proofs stay.

A prefix goes, never something in the middle: everything before the first entry that is young enough. So a clock
that was wrong for a while keeps entries too long and never removes one too early.
"""

from typing import Final

from appliance.ledger import entries
from appliance.ledger.store import Batch, Reader, Store, stored_entries
from appliance.ledger.tiles import bundle, entries_of

_BATCHES_AT_ONCE: Final = 256


def prune(store: Store, before: int) -> int:
    """
    Remove the content of the entries from before the time *before* (milliseconds); return the first index kept.

    The newest entry always stays. What is reserved and not finished stays too.
    """
    with store.pruning() as log:
        head = log.head()
        start = head.pruned
        keep = first_kept(log, before)
        waiting: list[Batch] = []
        for batch in log.batches(start, keep):
            if batch.entries is not None:
                waiting.append(without_content(batch, keep))
            if len(waiting) == _BATCHES_AT_ONCE:
                log.prune(waiting, min(batch.stop, keep))
                waiting = []
        if keep > start:
            log.prune(waiting, keep)
    return keep


def first_kept(log: Reader, before: int) -> int:
    """Return the first index whose entry is not from before the time *before*, or has to stay anyhow."""
    head = log.head()
    last = min(head.settled, max(head.size - 1, 0))
    for index, content in stored_entries(log, head.pruned, last):
        if entries.decode(content).time >= before:
            return index
    return max(last, head.pruned)


def without_content(batch: Batch, before: int) -> Batch:
    """Return *batch* without the content of the entries below *before*."""
    if batch.stop <= before:
        return Batch(batch.first, batch.hashes, None)
    kept = (
        b"" if index < before else content
        for index, content in enumerate(entries_of(batch.entries or b""), batch.first)
    )
    return Batch(batch.first, batch.hashes, bundle(kept))
