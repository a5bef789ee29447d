"""The ledger as auditors get it: checkpoint, tiles, entries and proofs of a real log, while it is written."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

from appliance.errors import GatewayBusy, LedgerUnavailable
from appliance.gateway.aside import Aside
from appliance.gateway.services import PublishedLog
from appliance.ledger import checkpoint, entries, merkle
from appliance.ledger.entries import Pruned
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.merkle import WIDTH
from appliance.ledger.proof import InclusionProof
from appliance.ledger.publication import Publication
from appliance.ledger.recorder import Recorder
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.tiles import entries_of
from tests.gateway.house import House, NoLog, peer, services, serving
from tests.ledger.conftest import ORIGIN, MemoryKey

SIZE = WIDTH + 7
CONTENT = [entries.encode(Pruned(time=number, before=0)) for number in range(SIZE)]


@dataclass(slots=True)
class Audited:
    """A gateway, and the log that it shows."""

    house: House
    keeper: Keeper
    key: MemoryKey

    async def get(self, path: str) -> tuple[int, bytes]:
        """Ask for something below /v1/log/."""
        async with self.house.session().get(f"/v1/log/{path}") as answer:
            return answer.status, await answer.read()


@asynccontextmanager
async def audited(folder: Path, size: int) -> AsyncIterator[Audited]:
    """Serve a log of *size* entries under a checkpoint."""
    key = MemoryKey()
    async with Log(SqliteStore(folder / "ledger.sqlite3", ORIGIN), seconds=20) as log:
        keeper = Keeper(Recorder(log, lambda: 1), key, key.verifier(), monotonic=lambda: 0.0)
        await keeper.start()
        await asyncio.gather(*(log.append(content) for content in CONTENT[:size]))
        if size:
            await keeper.checkpoint()
        offered = services([peer(role="auditor")], log=Publication(log.store))
        async with serving(offered, folder) as house:
            yield Audited(house, keeper, key)


async def test_everything_in_the_log_can_be_checked_from_outside(tmp_path: Path) -> None:
    """From tiles and bundles alone an auditor gets the checkpoint's root, and each entry has its proof."""
    async with audited(tmp_path, SIZE) as log:
        _, note = await log.get("checkpoint")
        stated = checkpoint.verified(note, log.key.verifier())
        assert stated.size == SIZE
        leaves = b"".join([(await log.get(f"tile/0/{name}"))[1] for name in ("000", f"001.p/{SIZE - WIDTH}")])
        hashes = [leaves[place : place + 32] for place in range(0, len(leaves), 32)]
        tree = merkle.Frontier()
        tree.append(hashes)
        assert tree.root() == stated.root
        bundles = [(await log.get(f"tile/entries/{name}"))[1] for name in ("000", f"001.p/{SIZE - WIDTH}")]
        content = [entry for bundle in bundles for entry in entries_of(bundle)]
        assert content == CONTENT
        assert [merkle.leaf_hash(entry) for entry in content] == hashes
        assert (await log.get("tile/1/000.p/1"))[1] == merkle.perfect_root(hashes[:WIDTH])
        for index in (0, WIDTH - 1, WIDTH, SIZE - 1):
            assert await log.get(f"entries/{index}") == (200, CONTENT[index])
            _, proof = await log.get(f"proofs/{index}")
            proved = InclusionProof.from_bytes(proof)
            assert (proved.index, proved.entry) == (index, CONTENT[index])
            assert proved.verify(log.key.verifier()) == stated


async def test_what_no_checkpoint_covers_is_not_shown(tmp_path: Path) -> None:
    """What is durable but not signed yet is found after the next checkpoint; the writer goes on meanwhile."""
    async with audited(tmp_path, 3) as log:
        await log.keeper.log.append(CONTENT[3])
        for path in ("entries/3", "proofs/3", "tile/0/000.p/4", "tile/entries/000.p/4", "tile/0/000"):
            assert (await log.get(path))[0] == 404, path
        await log.keeper.checkpoint()
        assert await log.get("entries/3") == (200, CONTENT[3])
        assert (await log.get("tile/0/000.p/4"))[0] == 200
        # An earlier partial tile is still there for whoever has an earlier checkpoint.
        assert (await log.get("tile/0/000.p/3"))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("entries/-1", "entries/01", "entries/x", "entries/99999999999999999", "proofs/9", "proofs/1.0"),
        *("tile/0/0", "tile/0/001", "tile/64/000", "tile/00/000.p/1", "tile/0/000.p/0", "tile/0/000.p/256"),
        *("tile/entries/x000/000", "tile/..%2f..%2fetc/passwd", "tile/0/000.p/1%00", "tile/0/000.p/1/"),
    ],
)
async def test_what_there_is_not_is_absent(path: str, tmp_path: Path) -> None:
    """Numbers and paths that are none, or of which there is nothing, are 404 like everything that is not there."""
    async with audited(tmp_path, 2) as log:
        assert (await log.get(path))[0] == 404


async def test_an_empty_log_has_nothing_to_show(tmp_path: Path) -> None:
    """Before the first checkpoint there is none, and nothing under it."""
    async with audited(tmp_path, 0) as log:
        for path in ("checkpoint", "entries/0", "proofs/0", "tile/0/000.p/1"):
            assert (await log.get(path))[0] == 404


async def test_full_tiles_may_be_kept_and_nothing_else(tmp_path: Path) -> None:
    """A full tile never changes; partial ones and the checkpoint are asked for again."""
    async with audited(tmp_path, SIZE) as log:
        for path, keep in (
            ("tile/0/000", True),
            ("tile/entries/000", True),
            ("tile/0/001.p/7", False),
            ("checkpoint", False),
        ):
            async with log.house.session().get(f"/v1/log/{path}") as answer:
                assert ("immutable" in answer.headers["Cache-Control"]) is keep
                assert answer.status == 200


async def test_content_that_was_removed_is_absent_and_its_hashes_are_not(tmp_path: Path) -> None:
    """After pruning, entries are 404 and so is their bundle; the tree stays whole."""
    async with audited(tmp_path, SIZE) as log:
        with log.keeper.log.store.pruning() as writer:
            writer.prune(5)
        for path in ("entries/4", "proofs/4", "tile/entries/000"):
            assert (await log.get(path))[0] == 404, path
        assert (await log.get("tile/0/000"))[0] == 200
        assert await log.get("entries/5") == (200, CONTENT[5])


class Away(NoLog):
    """A log whose store is away."""

    def checkpoint(self) -> bytes:
        """Refuse."""
        raise LedgerUnavailable("the database does not answer")


async def test_a_store_that_is_away_is_503(tmp_path: Path) -> None:
    """With Retry-After, and without what the store said."""
    log: PublishedLog = Away()
    async with (
        serving(services([peer(role="auditor")], log=log), tmp_path) as house,
        house.session().get("/v1/log/checkpoint") as answer,
    ):
        content = await answer.json(content_type=None)
        assert (answer.status, content["code"]) == (503, "ledger_unavailable")
        assert "detail" not in content
        assert answer.headers["Retry-After"]


@pytest.fixture
def aside() -> Iterator[Aside]:
    """Return one thread, with one place to wait."""
    made = Aside("test", workers=1, waiting=1, seconds=0.2)
    yield made
    made.close()


async def test_a_store_that_hangs_holds_nobody_up_for_long(aside: Aside) -> None:
    """Who waits too long, or where too many wait, is told at once; the thread is not lost for ever."""
    gate = Event()
    results = await asyncio.gather(*(aside.run(gate.wait) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [GatewayBusy] * 3
    gate.set()
    while True:
        try:
            assert await aside.run(lambda: 7) == 7
        except GatewayBusy:
            continue
        break
