"""
The files a log is published as (C2SP tlog-tiles): tiles of hashes, and bundles of entries. Pure.

    tile/0/x001/x234/067          256 leaf hashes
    tile/1/000.p/17               17 hashes so far of row 1
    tile/entries/000              256 entries, each after its length as two bytes
"""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from appliance.errors import LedgerProofInvalid
from appliance.ledger.merkle import WIDTH, Fetch

ENTRIES: Final = -1
"""What stands for `entries` in the place of a row."""
LARGEST_ENTRY: Final = (1 << 16) - 1
_HIGHEST_ROW: Final = 63
_PATH: Final = re.compile(
    r"tile/(?:(?P<row>[1-9]?\d)|entries)/(?P<number>(?:x\d{3}/)*\d{3})(?:\.p/(?P<width>[1-9]\d{0,2}))?"
)
_LENGTH: Final = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Tile:
    """The tile *number* of a *row*, of which *width* places are filled. Row ENTRIES holds the entries themselves."""

    row: int
    number: int
    width: int = WIDTH

    def __post_init__(self) -> None:
        if not (ENTRIES <= self.row <= _HIGHEST_ROW and self.number >= 0 and 1 <= self.width <= WIDTH):
            raise ValueError(f"there is no tile {self.number} of width {self.width} in row {self.row}")

    @classmethod
    def from_path(cls, path: str) -> "Tile":
        """Return the tile that is published under *path*, or raise LedgerProofInvalid."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise LedgerProofInvalid("this is no path of a tile")
        row = ENTRIES if match["row"] is None else int(match["row"])
        tile = (row, int(match["number"].replace("x", "").replace("/", "")), int(match["width"] or WIDTH))
        # One tile has one path: neither a full tile called partial nor zeros in front.
        if row > _HIGHEST_ROW or tile[2] > WIDTH or Tile(*tile).path != path:
            raise LedgerProofInvalid("this is no path of a tile")
        return cls(*tile)

    @property
    def path(self) -> str:
        """Where the tile is published."""
        digits = str(self.number)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[place : place + 3] for place in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        row = "entries" if self.row == ENTRIES else self.row
        return f"tile/{row}/{number}" + (f".p/{self.width}" if self.width < WIDTH else "")

    def fits(self, size: int) -> bool:
        """Return whether a tree of *size* leaves has this tile, filled so far."""
        return self.number * WIDTH + self.width <= size >> 8 * max(self.row, 0)

    def hashes(self, fetch: Fetch) -> bytes:
        """Return the tile's content."""
        return b"".join(fetch(self.row, self.number * WIDTH, self.width))


def bundle(entries: Iterable[bytes]) -> bytes:
    """Return *entries* as one bundle: big-endian uint16 lengths before them."""
    return b"".join([_LENGTH.pack(len(entry)) + entry for entry in entries])


def entries_of(content: bytes) -> Iterator[bytes]:
    """Yield the entries of a bundle, or raise LedgerProofInvalid where it ends in the middle of one."""
    place, end = 0, len(content)
    while place < end:
        try:
            (length,) = _LENGTH.unpack_from(content, place)
        except struct.error as error:
            raise LedgerProofInvalid("a bundle ends in the middle of a length") from error
        place += 2
        entry = content[place : place + length]
        if len(entry) != length:
            raise LedgerProofInvalid("a bundle ends in the middle of an entry")
        yield entry
        place += length
