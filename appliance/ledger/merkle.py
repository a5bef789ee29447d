"""
The Merkle tree of RFC 6962 §2.1 over SHA-256, and proofs in it. Pure.

A tree is kept as rows: row 0 holds leaf hashes, row *l* the roots of full subtrees of 256^l leaves. That is the
division of C2SP tlog-tiles, and everything between the rows is one of 255 hashes away. Nothing in a row ever
changes, so whoever can fetch hashes out of rows can compute any root and any proof of any size:

    row 2                                   ●  65,536 leaves
    row 1    ● ● ● ●  …  256 leaves each    ● ●
    row 0    · · · ·  …  leaves                  · · ·
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeAlias

from appliance.errors import LedgerProofInvalid

HASH_BYTES: Final = 32
WIDTH: Final = 256
"""Children of a row's node in the row below (C2SP tlog-tiles: tiles of height 8)."""
HEIGHT: Final = 8
EMPTY_ROOT: Final = sha256(b"").digest()
"""MTH({}) (RFC 6962 §2.1)."""

_LEAF: Final = sha256(b"\x00")
_NODE: Final = sha256(b"\x01")
"""Begun hashes: OpenSSL copies one faster than it begins one."""

Fetch: TypeAlias = Callable[[int, int, int], Sequence[bytes]]
"""Gives, of a *row*, the hashes from *start* on, *count* of them."""


@dataclass(frozen=True, slots=True)
class Node:
    """The *hash* at place *number* of a *row* above the leaves."""

    row: int
    number: int
    hash: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256 over 0x00 and the *entry* (RFC 6962 §2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256 over 0x01 and both children (RFC 6962 §2.1)."""
    return sha256(b"\x01" + left + right).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Return the hashes of the leaves *entries*."""
    begin, found = _LEAF.copy, []
    for entry in entries:
        digest = begin()
        digest.update(entry)
        found.append(digest.digest())
    return found


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over *hashes*, whose number is a power of two."""
    begin = _NODE.copy
    while len(hashes) > 1:
        pairs, above = iter(hashes), []
        # The hot loop of `verify`: written out, because a call would cost as much as the hash.
        for left, right in zip(pairs, pairs, strict=True):
            digest = begin()
            digest.update(left + right)
            above.append(digest.digest())
        hashes = above
    return hashes[0]


class Frontier:
    """The right edge of a growing tree: what is needed to append and to know the root, and no more."""

    __slots__ = ("_rows", "size")

    def __init__(self, size: int = 0, fetch: Fetch | None = None) -> None:
        self.size = size
        self._rows: list[list[bytes]] = [[]]
        if fetch is not None:
            self._rows = [list(fetch(*place)) for place in edge(size)] or [[]]

    def append(self, hashes: Sequence[bytes]) -> list[Node]:
        """Add leaves by their *hashes*; return the nodes above them that this has completed."""
        complete: list[Node] = []
        row, number = 0, self.size
        self.size += len(hashes)
        while True:
            edge_row = self._rows[row]
            edge_row.extend(hashes)
            full = len(edge_row) // WIDTH
            if full == 0:
                return complete
            hashes = [
                perfect_root(edge_row[start : start + WIDTH]) for start in range(0, full * WIDTH, WIDTH)
            ]
            del edge_row[: full * WIDTH]
            row, number = row + 1, number // WIDTH
            complete += (Node(row, number + place, digest) for place, digest in enumerate(hashes))
            if row == len(self._rows):
                self._rows.append([])

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        return _joined([piece for row in reversed(self._rows) for piece in _perfect_pieces(row)])


def edge(size: int) -> list[tuple[int, int, int]]:
    """Return row, start and count of the hashes of each row that no full subtree above covers."""
    places, row = [], 0
    while size:
        places.append((row, size // WIDTH * WIDTH, size % WIDTH))
        size //= WIDTH
        row += 1
    return places


def range_hash(low: int, high: int, fetch: Fetch) -> bytes:
    """Return the hash of the leaves from *low* up to *high*, a subtree of some tree of ours."""
    pieces = []
    while low < high:
        height = (high - low).bit_length() - 1
        row, rest = divmod(height, HEIGHT)
        pieces.append(perfect_root(fetch(row, low >> HEIGHT * row, 1 << rest)))
        low += 1 << height
    return _joined(pieces)


def inclusion_proof(index: int, size: int, fetch: Fetch) -> list[bytes]:
    """Return PATH(*index*, D[*size*]) of RFC 6962 §2.1.1, from the leaf's sibling upwards."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    low, high = 0, size
    path = []
    while high - low > 1:
        split = low + _left_size(high - low)
        if index < split:
            path.append((split, high))
            high = split
        else:
            path.append((low, split))
            low = split
    return [range_hash(*place, fetch) for place in reversed(path)]


def consistency_proof(old: int, new: int, fetch: Fetch) -> list[bytes]:
    """Return PROOF(*old*, D[*new*]) of RFC 6962 §2.1.2; it is empty from an empty tree and to the same tree."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves is no later state of one of {old}")
    if old in {0, new}:
        return []
    low, high, from_the_left = 0, new, True
    path = []
    while old != high:
        split = low + _left_size(high - low)
        if old <= split:
            path.append((split, high))
            high = split
        else:
            path.append((low, split))
            low, from_the_left = split, False
    if not from_the_left:
        path.append((low, high))
    return [range_hash(*place, fetch) for place in reversed(path)]


def root_from_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """Return the root that *proof* leads to from the hash *leaf* (RFC 9162 §2.1.3.2), or raise LedgerProofInvalid."""
    if not 0 <= index < size:
        raise LedgerProofInvalid(f"a tree of {size} leaves has no leaf {index}")
    _require_hashes(proof)
    place, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise LedgerProofInvalid("the inclusion proof is too long")
        if place & 1 or place == last:
            root = node_hash(sibling, root)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise LedgerProofInvalid("the inclusion proof is too short")
    return root


def require_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of *new* leaves continues that of *old* (RFC 9162 §2.1.4.2); raise LedgerProofInvalid."""
    if not 0 <= old <= new:
        raise LedgerProofInvalid(f"a tree of {new} leaves is no later state of one of {old}")
    _require_hashes(proof)
    if old in {0, new}:
        _require_trivial(old, new, old_root, new_root, proof)
        return
    # A tree of a power of two is itself the first node of the path.
    path = ([old_root] if old & (old - 1) == 0 else []) + list(proof)
    if len(path) < 2:
        raise LedgerProofInvalid("the consistency proof is too short")
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise LedgerProofInvalid("the consistency proof is too long")
        if place & 1 or place == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        place, last = place >> 1, last >> 1
    if last or first != old_root or second != new_root:
        raise LedgerProofInvalid("the consistency proof does not lead from the one root to the other")


def _require_trivial(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    if proof:
        raise LedgerProofInvalid("from an empty tree and to the same tree the consistency proof is empty")
    if old_root != (EMPTY_ROOT if old == 0 else new_root) or (new == 0 and new_root != EMPTY_ROOT):
        raise LedgerProofInvalid("two trees of one size have different roots")


def _left_size(size: int) -> int:
    """Return the largest power of two smaller than *size* (RFC 6962 §2.1: k < n <= 2k)."""
    return int(1 << (size - 1).bit_length() - 1)


def _perfect_pieces(row: Sequence[bytes]) -> Iterable[bytes]:
    start = 0
    for height in reversed(range(HEIGHT)):
        length = 1 << height
        if len(row) & length:
            yield perfect_root(row[start : start + length])
            start += length


def _joined(pieces: Sequence[bytes]) -> bytes:
    """Return the root over perfect subtrees of falling size."""
    if not pieces:
        return EMPTY_ROOT
    root = pieces[-1]
    for piece in reversed(pieces[:-1]):
        root = node_hash(piece, root)
    return root


def _require_hashes(proof: Sequence[bytes]) -> None:
    if any(len(digest) != HASH_BYTES for digest in proof):
        raise LedgerProofInvalid("a proof has a hash of the wrong length")
