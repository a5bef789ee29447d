"""The ledger: whether it can be read, what its newest checkpoint covers, and what copies of it have left."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from appliance.config import Configuration
from appliance.doctor.configuration import database_file
from appliance.doctor.finding import Advice, Check, Finding, Verdict
from appliance.errors import ApplianceError, LedgerNotCopied, LedgerProofInvalid, LedgerRolledBack
from appliance.gateway.findings import COPY_SECONDS
from appliance.ledger import checkpoint, entries, place
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.keeper import root_of
from appliance.ledger.note import LARGEST_NOTE, VerifierKey
from appliance.ledger.sinks import newest_in
from appliance.ledger.store import Head, Reader, stored_entries

_BEHIND_SECONDS: Final = 600.0
"""After which an entry should be under a checkpoint."""


def ledger(configuration: Configuration, *, is_running: bool) -> Iterator[Finding]:
    """Yield what is found, reading beside whoever writes; the first daemon makes the ledger."""
    key = place.verifier_key(configuration)
    database = database_file(configuration)
    if database is not None and not is_running and not database.exists():
        yield Finding(Check.LEDGER, Verdict.WARNING, "there is none yet", advice=Advice.NOT_BEGUN)
        return
    # Before the log itself: a copy leaves after its entries are durable, so a log that is read later has them all.
    outside = _outside(configuration)
    with place.store(configuration).reading() as reader:
        head = reader.head()
        stored = reader.newest_checkpoint()
        newest = None if stored is None else checkpoint.verified(stored.note, key)
        if newest is not None:
            _require_covered(reader, head, newest)
        yield _checkpoint(reader, head, newest)
        yield from _copies(configuration, key, reader, head, outside)


def _require_covered(reader: Reader, head: Head, known: Checkpoint) -> None:
    """Check that the log still holds what *known* was signed over, or raise LedgerRolledBack."""
    if known.size > head.size:
        raise LedgerRolledBack(
            f"the store has {head.size} entries; a checkpoint over {known.size} was signed"
        )
    if root_of(reader, known.size) != known.root:
        raise LedgerRolledBack(f"a checkpoint over {known.size} entries was signed over other entries")


def _checkpoint(reader: Reader, head: Head, newest: Checkpoint | None) -> Finding:
    if newest is None:
        detail = f"{head.size} entries, no checkpoint yet"
        return Finding(Check.LEDGER, Verdict.WARNING, detail, advice=Advice.NO_CHECKPOINT)
    detail = f"{head.size} entries, {newest.size} of them under the newest checkpoint, which verifies"
    if head.size > newest.size and _waiting(reader, newest.size) > _BEHIND_SECONDS:
        return Finding(Check.LEDGER, Verdict.WARNING, detail, advice=Advice.CHECKPOINT_BEHIND)
    return Finding(Check.LEDGER, Verdict.OK, detail)


def _copies(
    configuration: Configuration,
    key: VerifierKey,
    reader: Reader,
    head: Head,
    outside: "_Outside | OSError | LedgerProofInvalid",
) -> Iterator[Finding]:
    settings = configuration.settings.ledger
    if not (settings.copies or settings.syslog or settings.witness):
        yield Finding(Check.COPIES, Verdict.WARNING, "no place is configured", advice=Advice.NO_COPIES)
        return
    detail = f"a copy of a checkpoint over {head.copied} of {head.size} entries has left"
    last, is_there = "", True
    if settings.copies is not None:
        try:
            if not isinstance(outside, _Outside):
                raise outside
            _require_covered(reader, head, checkpoint.verified(outside.note, key))
            last = f", the folder's is of {outside.at:%Y-%m-%d %H:%M} UTC"
        except OSError as error:
            # The folder is made for a new ledger. Later, one that has gone is a share that is not mounted.
            is_there = not head.size and isinstance(error, FileNotFoundError | NotADirectoryError)
            is_none = is_there or isinstance(error, FileNotFoundError)
            last = ", none is in the folder" if is_none else f", the folder cannot be read ({error.strerror})"
        except ApplianceError as error:
            yield Finding.of(Check.COPIES, error, "folder")
            return
    waiting = _waiting(reader, head.copied) if head.copied < head.size else 0.0
    hours = settings.stop_without_copy_hours
    if hours is not None and waiting > hours * 3_600:
        yield Finding(Check.COPIES, Verdict.FAILED, detail + last, code=LedgerNotCopied.code)
    elif waiting > COPY_SECONDS or not is_there:
        yield Finding(Check.COPIES, Verdict.WARNING, detail + last, advice=Advice.COPIES_BEHIND)
    else:
        yield Finding(Check.COPIES, Verdict.OK, detail + last)


@dataclass(frozen=True, slots=True)
class _Outside:
    """The newest checkpoint in the folder for copies, and when it was put there."""

    note: bytes
    at: datetime


def _outside(configuration: Configuration) -> _Outside | OSError | LedgerProofInvalid:
    """Return what is in the folder for copies of this ledger, or why that cannot be said."""
    settings = configuration.settings.ledger
    folder = None if settings.copies is None else configuration.path(settings.copies)
    try:
        # It may hold another's: a former one's, or another node's.
        path = None if folder is None else newest_in(folder, settings.origin)
        if path is None:
            return FileNotFoundError()
        with path.open("rb") as file:
            made = os.fstat(file.fileno()).st_mtime
            return _Outside(file.read(LARGEST_NOTE + 1), datetime.fromtimestamp(made, UTC))
    except (OSError, LedgerProofInvalid) as error:
        return error


def _waiting(reader: Reader, index: int) -> float:
    """Return for how many seconds the entry *index* has been there; 0 where its content is gone."""
    with suppress(StopIteration):
        _, content = next(iter(stored_entries(reader, index, index + 1)))
        return abs(time.time() - entries.decode(content).time / 1000)
    return 0.0
