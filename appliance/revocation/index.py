"""
The index of revoked serial numbers: one file for all lists, read through the page cache.

    preamble     magic (8) ‖ offset of the directory (8) ‖ its length (8) ‖ its SHA-256 (32)
    arrays       per list: its serial numbers sorted, each as wide as the largest of the list
    directory    JSON: per list scope, number, times, digests, place, and the array's SHA-256

The file is never changed: an import writes the next edition beside it, copies the lists that stay, and renames. A
look-up therefore sees one whole edition, a crash leaves the last good one, and a restart opens it and parses nothing.
An array is checked against its SHA-256 when it is first looked into.

Why not SQLite: with the same 5,000,000 entries in 2,000 lists a table (list, serial) WITHOUT ROWID needed 3.3 times
the space and, from run to run, two to seven times the time to fill; a look-up took 1.4 to 2.2 times as long at the
median (docs/revocation.md; `bench revocation` measures it each time). A sorted array also leaves nothing to migrate, to
vacuum or to recover, and one list's damage is one list's.
"""

import mmap
import os
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from heapq import merge
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Final, Self

import msgspec

from appliance.errors import RevocationUnavailable
from appliance.trust.revocation import Scope

MAGIC: Final = b"jpkirvk1"
_PREAMBLE: Final = 8 + 8 + 8 + 32
_RUN: Final = 1 << 18
"""Serial numbers that are sorted at once: 10 MB of Python's numbers."""
_CHUNK: Final = 1 << 16
"""Serial numbers that are written at once."""
_PACKED: Final = {4: "I", 8: "Q"}
"""Widths that Python's arrays have."""
_SMALL: Final = 1 << 64


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the directory says of one list. *complete* is the number of the last complete list in it."""

    issuer: str
    point: str
    number: int
    complete: int
    this_update: datetime
    next_update: datetime
    digests: tuple[str, ...]
    offset: int = 0
    count: int = 0
    width: int = 1
    checksum: str = ""

    @property
    def scope(self) -> Scope:
        """What the list is for."""
        return Scope(self.issuer, self.point)


class SeenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that an import has dealt with, so that the next one need not read it."""

    size: int
    mtime_ns: int


class _Directory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listings: tuple[Listing, ...]
    files: dict[str, SeenFile]


@dataclass(slots=True)
class Edition:
    """One edition of the index, open for reading."""

    listings: Mapping[Scope, Listing]
    files: Mapping[str, SeenFile]
    identity: tuple[int, int]
    _map: mmap.mmap = field(repr=False)
    _checked: set[Scope] = field(default_factory=set)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return the edition in *path*, or raise RevocationUnavailable where there is none that is whole."""
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise RevocationUnavailable("there is no index of revoked certificates yet") from error
        start, length = (int.from_bytes(content[place : place + 8]) for place in (8, 16))
        directory = content[start : start + length]
        if (
            content[:8] != MAGIC
            or len(directory) != length
            or sha256(directory).digest() != content[24:_PREAMBLE]
        ):
            raise RevocationUnavailable("the index of revoked certificates is damaged")
        try:
            found = msgspec.json.decode(directory, type=_Directory)
        except msgspec.DecodeError as error:
            raise RevocationUnavailable(
                "the index of revoked certificates is damaged, or of another version of the appliance"
            ) from error
        by_scope = {listing.scope: listing for listing in found.listings}
        return cls(by_scope, found.files, (status.st_ino, status.st_mtime_ns), content)

    def sound(self) -> Self:
        """Return the edition with those lists alone that are whole, and without its files where that are not all."""
        whole = {}
        for scope, listing in self.listings.items():
            with suppress(RevocationUnavailable):
                self._check(scope, listing)
                whole[scope] = listing
        return self if len(whole) == len(self.listings) else replace(self, listings=whole, files={})

    def contains(self, scope: Scope, serial: int) -> bool:
        """Tell whether *serial* is in the list of *scope*; KeyError where there is no such list."""
        listing = self.listings[scope]
        if scope not in self._checked:
            self._check(scope, listing)
        if serial.bit_length() > 8 * listing.width or serial < 0:
            return False
        content, start, width = self._map, listing.offset, listing.width
        wanted = serial.to_bytes(width)

        def at(place: int) -> bytes:
            begin = start + place * width
            return content[begin : begin + width]

        place = bisect_left(range(listing.count), wanted, key=at)
        return place < listing.count and at(place) == wanted

    def serials(self, scope: Scope) -> Iterator[int]:
        """Yield the serial numbers in the list of *scope* in ascending order."""
        listing = self.listings[scope]
        for place in range(listing.count):
            begin = listing.offset + place * listing.width
            yield int.from_bytes(self._map[begin : begin + listing.width])

    def copy(self, listing: Listing, file: BinaryIO) -> None:
        """Append the array of *listing* to *file*."""
        self._check(listing.scope, listing)
        end = listing.offset + listing.count * listing.width
        file.writelines(
            self._map[begin : min(begin + (1 << 20), end)] for begin in range(listing.offset, end, 1 << 20)
        )

    def _check(self, scope: Scope, listing: Listing) -> None:
        end = listing.offset + listing.count * listing.width
        with memoryview(self._map) as view, view[listing.offset : end] as content:
            if sha256(content).hexdigest() != listing.checksum:
                raise RevocationUnavailable("a list in the index of revoked certificates is damaged")
        self._checked.add(scope)


class Index:
    """The index in *path*, always its newest edition."""

    __slots__ = ("_edition", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._edition: Edition | None = None

    @property
    def edition(self) -> Edition:
        """The newest edition. What was renamed into place since the last look is opened."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise RevocationUnavailable("there is no index of revoked certificates yet") from error
        known = self._edition
        if known is None or known.identity != (status.st_ino, status.st_mtime_ns):
            known = self._edition = Edition.open(self.path)
        return known


class Writer:
    """
    The next edition of the index in *path*; a context manager that puts it in its place, or leaves no trace.

    One process writes at a time; the caller holds the lock.
    """

    def __init__(self, path: Path, files: Mapping[str, SeenFile]) -> None:
        self._path = path
        self._beside = path.with_suffix(".next")
        self._files = dict(files)
        self._listings: list[Listing] = []

    def __enter__(self) -> Self:
        self._file = self._beside.open("wb")
        self._file.write(bytes(_PREAMBLE))
        return self

    def add(self, listing: Listing, serials: Iterable[int]) -> None:
        """Add the list that *listing* describes, with *serials* in any order."""
        ordered, count, largest = _sorted(serials)
        width = max(4, (largest.bit_length() + 7) // 8)
        if width < 8:
            width = 4 if width == 4 else 8
        offset, digest = self._file.tell(), sha256()
        while chunk := _pack(islice(ordered, _CHUNK), width):
            digest.update(chunk)
            self._file.write(chunk)
        self._listings.append(
            msgspec.structs.replace(
                listing, offset=offset, count=count, width=width, checksum=digest.hexdigest()
            )
        )

    def keep(self, edition: Edition, listing: Listing) -> None:
        """Take *listing* over from *edition* as it is."""
        offset = self._file.tell()
        edition.copy(listing, self._file)
        self._listings.append(msgspec.structs.replace(listing, offset=offset))

    def forget(self, file: str) -> None:
        """Have the next import read *file* again."""
        self._files.pop(file, None)

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        with self._file as file:
            if failure is None:
                directory = msgspec.json.encode(_Directory(tuple(self._listings), self._files))
                start = file.tell()
                file.write(directory)
                file.seek(0)
                file.write(
                    MAGIC + start.to_bytes(8) + len(directory).to_bytes(8) + sha256(directory).digest()
                )
                file.flush()
                os.fsync(file.fileno())
        if failure is None:
            self._beside.replace(self._path)
            _sync(self._path.parent)
        else:
            self._beside.unlink()


def _pack(serials: Iterable[int], width: int) -> bytes:
    """Return *serials*, each as *width* bytes with the highest first, so that bytes sort as numbers do."""
    if width not in _PACKED:
        return b"".join(serial.to_bytes(width) for serial in serials)
    packed = array(_PACKED[width], serials)
    if sys.byteorder == "little":
        packed.byteswap()
    return packed.tobytes()


def _sorted(serials: Iterable[int]) -> tuple[Iterator[int], int, int]:
    """
    Return *serials* in ascending order, how many there are, and the largest.

    Sorted runs of eight bytes a number, merged: a list of five million Python numbers would need 200 MB. Numbers
    beyond 64 bits are rare enough, and long enough in the list itself, to be kept as they are.
    """
    remaining = iter(serials)
    runs: list[array[int]] = []
    large: list[int] = []
    count = largest = 0
    while chunk := sorted(islice(remaining, _RUN)):
        count, largest = count + len(chunk), max(largest, chunk[-1])
        if chunk[0] < 0:
            raise ValueError("a serial number is not negative")
        small = bisect_left(chunk, _SMALL)
        runs.append(array("Q", chunk[:small]))
        large += chunk[small:]
    large.sort()
    ordered = chain(runs[0], large) if len(runs) == 1 else merge(*runs, large)
    return iter(ordered), count, largest


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
