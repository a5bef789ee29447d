"""The files that a log is published as."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LedgerProofInvalid
from appliance.ledger.tiles import ENTRIES, Tile, bundle, entries_of


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(1, 1234067), "tile/1/x001/x234/067"),
        (Tile(2, 999, 17), "tile/2/999.p/17"),
        (Tile(ENTRIES, 1000, 255), "tile/entries/x001/000.p/255"),
    ],
)
def test_paths_are_those_of_the_specification(tile: Tile, path: str) -> None:
    """Paths have the form of tlog-tiles, among them its own example."""
    assert tile.path == path
    assert Tile.from_path(path) == tile


@given(st.integers(-1, 63), st.integers(0, 10**9), st.integers(1, 256))
def test_every_tile_has_one_path(row: int, number: int, width: int) -> None:
    """A tile is found under its path."""
    tile = Tile(row, number, width)
    assert Tile.from_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "tile/0/0",
            "tile/00/000",
            "tile/64/000",
            "tile/0/x000/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
        ),
        *("tile/0/000.p/01", "tile/-1/000", "tile/entry/000", "tile/0/000/", "/tile/0/000", "tile/0/../000"),
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    """Nothing else names a tile: no second spelling, nothing outside."""
    with pytest.raises(LedgerProofInvalid):
        Tile.from_path(path)


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        (70_000, [Tile(0, 272), Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]),
        (256, [Tile(0, 0), Tile(1, 0, 1)]),
    ],
)
def test_the_tiles_of_a_tree_are_those_of_the_specification(size: int, tiles: list[Tile]) -> None:
    """The specification's examples of full and partial tiles hold, and not one hash more is there."""
    for tile in tiles:
        assert tile.fits(size)
        assert not Tile(tile.row, tile.number + 1).fits(size)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_gives_its_entries_back(entries: list[bytes]) -> None:
    """Entries come out of a bundle as they went in."""
    assert list(entries_of(bundle(entries))) == entries


@given(st.binary(max_size=100))
def test_any_bytes_are_a_bundle_or_refused(content: bytes) -> None:
    """What is read as a bundle is written as the same bytes; what is cut off is refused."""
    try:
        entries = list(entries_of(content))
    except LedgerProofInvalid:
        return
    assert bundle(entries) == content
