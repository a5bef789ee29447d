"""
Importing CRLs from a folder into the index: what `python -m appliance.revocation.importer` does.

The folder is filled by a site's own job, in any order and at any time. Of every municipality the newest complete list
counts, and the newest delta that fits it; a file that is not better than what is known is left aside. What cannot be
relied on is reported and changes nothing: the last good list stays until its own end. A list that is over when it
comes is kept where nothing better is known, so that who asks hears until when it counted; it answers nothing else.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import RevocationDataInvalid, RevocationDefect, RevocationUnavailable
from appliance.revocation.index import Edition, Listing, SeenFile, Writer
from appliance.trust import crl
from appliance.trust.certificates import Anchors
from appliance.trust.crl import Crl, Heading
from appliance.trust.revocation import Scope

INDEX: Final = "revoked.index"
_LOCK: Final = "revoked.lock"
_UNDECIDED: Final = frozenset(
    {
        RevocationDefect.FUTURE,
        RevocationDefect.WITHOUT_BASE,
        RevocationDefect.ISSUER,
        RevocationDefect.SIGNATURE,
    }
)
"""Defects that time, another file or another configuration may heal: such a file is looked at again."""


class Outcome(StrEnum):
    """What became of a file."""

    IMPORTED = "imported"
    ENDED = "ended"
    """It is over; kept, because nothing better is known, to say until when."""
    SUPERSEDED = "superseded"
    REFUSED = "refused"


class FileReport(msgspec.Struct, frozen=True):
    """What became of the file *name*: times and result, and nothing of its content."""

    name: str
    outcome: Outcome
    reason: RevocationDefect | None = None
    detail: str | None = None


class Report(msgspec.Struct, frozen=True):
    """
    What an import did: the *files* that it looked at, how many it knew already, and the *lists* there are now.

    *damaged* lists of the index were given up, or all of them because it was *unreadable*; those whose files are there
    still were read again.
    """

    files: tuple[FileReport, ...]
    known: int
    lists: int
    entries: int
    earliest_end: datetime | None
    damaged: int = 0
    unreadable: bool = False


@dataclass(slots=True)
class _Plan:
    """The files that become lists: of each scope the complete one and the deltas on top."""

    verified: dict[Scope, list[tuple[Heading, Path]]] = field(default_factory=dict)
    """What can be chosen from: complete lists, then deltas, each by number."""
    chosen: dict[Scope, list[tuple[Heading, Path]]] = field(default_factory=dict)
    reports: dict[str, FileReport] = field(default_factory=dict)
    seen: dict[str, SeenFile] = field(default_factory=dict)
    only: Crl | None = None
    """The one file there was to verify, so that it is not read a second time."""


def run(folder: Path, state: Path, anchors: Anchors, now: datetime) -> Report:
    """Bring the index in *state* up to what is in *folder* at *now*, and say what was done."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(state):
        path = state / INDEX
        known, damaged = _known(path)
        unreadable = known is None and path.exists()
        plan, skipped = _examine(folder, known, anchors, now)
        files = plan.seen if known is None else {**known.files, **plan.seen}
        present = {item.name for item in candidates(folder)}
        files = {name: seen for name, seen in files.items() if name in present}
        if known is None or plan.chosen or damaged or files != known.files:
            with Writer(path, files) as writer:
                _write(writer, plan, known, anchors, now)
        listings = Edition.open(path).listings.values()
    return Report(
        tuple(sorted(plan.reports.values(), key=lambda report: report.name)),
        skipped,
        len(listings),
        sum(listing.count for listing in listings),
        min((listing.next_update for listing in listings), default=None),
        damaged,
        unreadable,
    )


def _known(path: Path) -> tuple[Edition | None, int]:
    """
    Return what is sound of the edition in *path*, None where there is none that can be opened; and how many lists are not.

    Where any is damaged, every file is read again: nothing tells from which of them a list came.
    """
    try:
        edition = Edition.open(path)
    except RevocationUnavailable:
        return None, 0
    sound = edition.sound()
    return sound, len(edition.listings) - len(sound.listings)


def _examine(folder: Path, known: Edition | None, anchors: Anchors, now: datetime) -> tuple[_Plan, int]:
    """Verify every file that was not dealt with before, and choose. No entry is read yet."""
    plan, skipped = _Plan(), 0
    for path in candidates(folder):
        try:
            status = path.stat()
        except OSError:
            # The site's job has taken it away.
            continue
        seen = SeenFile(status.st_size, status.st_mtime_ns)
        if known is not None and known.files.get(path.name) == seen:
            skipped += 1
            continue
        try:
            # Verified here for its place in the order, and read again when its turn comes: lists are large.
            plan.only = crl.verify(_read(path), anchors, now, ended=True)
        except RevocationDataInvalid as error:
            plan.reports[path.name] = FileReport(path.name, Outcome.REFUSED, error.reason, error.detail)
            if error.reason not in _UNDECIDED:
                plan.seen[path.name] = seen
            continue
        plan.seen[path.name] = seen
        found = plan.only.heading
        plan.verified.setdefault(found.scope, []).append((found, path))
    if sum(map(len, plan.verified.values())) != 1:
        plan.only = None
    for scope, verified in plan.verified.items():
        verified.sort(key=lambda pair: (pair[0].base is not None, pair[0].number))
        _choose_all(plan, known, scope, now)
    return plan, skipped


def _choose_all(plan: _Plan, known: Edition | None, scope: Scope, now: datetime) -> None:
    """Choose among the verified files of *scope*: anew, where one has turned out to be of no use."""
    plan.chosen.pop(scope, None)
    for found, path in plan.verified[scope]:
        try:
            report = FileReport(path.name, _choose(plan, known, found, path, now))
        except RevocationDataInvalid as error:
            report = FileReport(path.name, Outcome.REFUSED, error.reason, error.detail)
            if error.reason in _UNDECIDED:
                plan.seen.pop(path.name, None)
        plan.reports[path.name] = report


def _choose(plan: _Plan, known: Edition | None, found: Heading, path: Path, now: datetime) -> Outcome:
    """Put a verified file into *plan* where it is newer than what is known; a delta where it fits, too."""
    current = _current(plan, known, found.scope)
    is_over = found.next_update < now
    if is_over and (found.base is not None or (current is not None and current.next_update >= now)):
        raise RevocationDataInvalid(
            RevocationDefect.STALE, f"it counted until {found.next_update:%Y-%m-%d %H:%M}"
        )
    if found.base is not None and (current is None or current.number < found.base):
        raise RevocationDataInvalid(
            RevocationDefect.WITHOUT_BASE, "the list that the delta starts from is missing"
        )
    if current is not None:
        number, this_update = current.number, current.this_update
        if (found.number > number) != (found.this_update > this_update) and (
            found.number,
            found.this_update,
        ) != (number, this_update):
            # Numbers never decrease (RFC 5280 §5.2.3), and time neither: one of the two was rolled back.
            raise RevocationDataInvalid(
                RevocationDefect.ROLLED_BACK, "the list's number and time contradict each other"
            )
        if found.number <= number:
            return Outcome.SUPERSEDED
    if found.base is None:
        plan.chosen[found.scope] = [(found, path)]
    else:
        plan.chosen.setdefault(found.scope, []).append((found, path))
    return Outcome.ENDED if is_over else Outcome.IMPORTED


def _current(plan: _Plan, known: Edition | None, scope: Scope) -> Heading | Listing | None:
    """Return the newest that is known of *scope*."""
    if scope in plan.chosen:
        return plan.chosen[scope][-1][0]
    return None if known is None else known.listings.get(scope)


def _write(writer: Writer, plan: _Plan, known: Edition | None, anchors: Anchors, now: datetime) -> None:
    """Write the lists of *plan*, and those of *known* that it does not touch."""
    for scope in tuple(plan.chosen):
        while files := plan.chosen.get(scope):
            try:
                _add(writer, _Reading(files, plan.only, anchors, now), known)
                break
            except _Unusable as error:
                # It was changed, or its entries cannot be read. The others count as if it were not there.
                name = error.path.name
                plan.reports[name] = FileReport(name, Outcome.REFUSED, error.reason, error.detail)
                plan.seen.pop(name, None)
                plan.verified[scope] = [pair for pair in plan.verified[scope] if pair[1] != error.path]
                _choose_all(plan, known, scope, now)
    for name in plan.reports.keys() - plan.seen.keys():
        writer.forget(name)
    if known is not None:
        for scope, listing in known.listings.items():
            if scope not in plan.chosen:
                # The last good list stays.
                writer.keep(known, listing)


class _Unusable(Exception):
    """The file at *path* was verified, and cannot be read to its end."""

    def __init__(self, path: Path, error: RevocationDataInvalid | ValueError) -> None:
        super().__init__(path)
        self.path = path
        self.reason, self.detail = (
            (error.reason, error.detail)
            if isinstance(error, RevocationDataInvalid)
            else (RevocationDefect.MALFORMED, "its entries cannot be read")
        )


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Say of what fails in the block that the file at *path* is to blame."""
    try:
        yield
    except (RevocationDataInvalid, ValueError) as error:
        raise _Unusable(path, error) from error


@dataclass(frozen=True, slots=True)
class _Reading:
    """The *files* of one list, read when it is written: the complete one, and deltas."""

    files: list[tuple[Heading, Path]]
    only: Crl | None
    anchors: Anchors
    now: datetime

    def read(self, heading: Heading, path: Path) -> Crl:
        """Return the verified CRL of *heading* in *path*."""
        if self.only is not None and self.only.heading == heading:
            return self.only
        found = crl.verify(_read(path), self.anchors, self.now, ended=True)
        if found.heading != heading:
            raise RevocationDataInvalid(
                RevocationDefect.MALFORMED, "the file was changed while it was imported"
            )
        return found


def _add(writer: Writer, reading: _Reading, known: Edition | None) -> None:
    files = reading.files
    newest, digests = files[-1][0], tuple(heading.digest for heading, _ in files)
    added: set[int] = set()
    removed: set[int] = set()
    for heading, path in files:
        if heading.base is not None:
            with _blamed(path):
                more, less = reading.read(heading, path).changes()
                if min(more, default=0) < 0:
                    raise ValueError("a serial number is not negative")
            added, removed = (added - less) | more, (removed | less) - more
    first, origin = files[0]
    if first.base is None:
        with _blamed(origin):
            complete, serials = first.number, reading.read(first, origin).serials()
    elif known is not None:
        listing = known.listings[first.scope]
        complete, serials = listing.complete, known.serials(first.scope)
        digests = (*listing.digests, *digests)
    else:
        raise ValueError("a delta was chosen without a list to start from")
    if added or removed:
        serials = chain(
            (serial for serial in serials if serial not in removed and serial not in added), added
        )
    made = Listing(
        newest.scope.issuer,
        newest.scope.point,
        newest.number,
        complete,
        newest.this_update,
        newest.next_update,
        digests,
    )
    # A complete list is read while it is written; the deltas are read by now.
    with _blamed(origin):
        writer.add(made, serials)


def candidates(folder: Path) -> list[Path]:
    """Return the files that may be CRLs; those being written have names that begin with a dot."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise RevocationUnavailable(
            f"the folder with revocation lists cannot be read: {error.strerror}"
        ) from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > crl.LARGEST:
            raise RevocationDataInvalid(RevocationDefect.TOO_LARGE, f"a CRL has at most {crl.LARGEST} bytes")
        return path.read_bytes()
    except OSError as error:
        raise RevocationDataInvalid(
            RevocationDefect.MALFORMED, f"it cannot be read: {error.strerror}"
        ) from error


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Let one import at a time write into *state*."""
    with (state / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
