"""Retention, backup, restore, export, proofs: what happens to a log in its life."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from appliance.errors import (
    LedgerDamaged,
    LedgerEntryAbsent,
    LedgerProofInvalid,
    LedgerRolledBack,
    LedgerUnusable,
)
from appliance.ledger import audit, backup, export, retention
from appliance.ledger.entries import Continued, Pruned, decode
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.merkle import root_from_inclusion
from appliance.ledger.proof import InclusionProof, prove
from appliance.ledger.recorder import Recorder
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import Store, fetching, stored_entries
from appliance.ledger.tiles import ENTRIES, Tile
from tests.ledger.conftest import ORIGIN, MemoryKey, NewStore
from tests.ledger.test_audit import AUTHENTICATIONS, filled, verified

SIZE = 2 * AUTHENTICATIONS
SCRIPT = Path(__file__).parents[2] / "docs" / "verify_checkpoint.py"


def everything_in(folder: Path) -> bytes:
    """Return the content of all files in *folder*."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def proved(store: Store, index: int) -> InclusionProof:
    """Return the proof of entry *index* under the newest checkpoint."""
    with store.reading() as reader:
        newest = reader.newest_checkpoint()
        assert newest is not None
        ((_, content),) = stored_entries(reader, index, index + 1)
        return prove(index, content, newest.note, fetching(reader))


async def test_each_entry_can_be_proved(store: Store, key: MemoryKey) -> None:
    """A proof is one file with entry, path and checkpoint; it verifies with the key alone, and only unchanged."""
    saved = await filled(store, key)
    for index in (0, 1, 255, 256, SIZE - 1):
        proof = proved(store, index)
        again = InclusionProof.from_bytes(proof.to_bytes())
        assert again == proof
        assert again.verify(key.verifier()) == saved
        for wrong in (
            proof.to_bytes().replace(b"index ", b"index 1"),
            proof.to_bytes().replace(b"extra e", b"extra f"),
        ):
            with pytest.raises(LedgerProofInvalid):
                InclusionProof.from_bytes(wrong).verify(key.verifier())


async def test_what_no_checkpoint_covers_cannot_be_proved_yet(store: Store, key: MemoryKey) -> None:
    """The newest entries wait for their checkpoint."""
    await filled(store, key)
    async with Log(store) as log:
        await log.append(b"{}")
    with pytest.raises(LedgerEntryAbsent, match="yet"):
        proved(store, SIZE)


async def test_what_is_old_goes_and_its_hashes_stay(new_store: NewStore, key: MemoryKey) -> None:
    """Pruned entries are gone; the log verifies, the rest can be proved, and it grows on."""
    saved = await filled(new_store(), key)
    kept = retention.prune(new_store(), 50)
    assert 0 < kept < SIZE
    report = verified(new_store(), key, saved)
    assert (report.size, report.pruned) == (SIZE, kept)
    with new_store().reading() as reader:
        left = [index for index, _ in stored_entries(reader, 0, SIZE)]
        assert left == list(range(kept, SIZE))
        assert all(decode(content).time >= 50 for index, content in stored_entries(reader, kept, kept + 1))
    assert proved(new_store(), SIZE - 1).verify(key.verifier()) == saved
    assert retention.prune(new_store(), 50) == kept
    async with Log(new_store()) as log:
        assert log.size == SIZE


async def test_pruning_is_remembered(new_store: NewStore, key: MemoryKey) -> None:
    """That content was removed stands in the log, under the next checkpoint."""
    await filled(new_store(), key)
    async with Log(new_store(), seconds=10) as log:
        keeper = Keeper(Recorder(log, lambda: 9), key, key.verifier(), monotonic=lambda: 0.0)
        await keeper.start()
        kept = retention.prune(new_store(), 50)
        for _ in range(2):
            await keeper.turn()
        assert log.size == SIZE + 1
    with new_store().reading() as reader:
        ((_, last),) = stored_entries(reader, SIZE, SIZE + 1)
    assert decode(last) == Pruned(time=9, before=kept)
    assert verified(new_store(), key).covered == SIZE + 1


async def test_pruned_content_is_not_in_the_file_any_more(tmp_path: Path, key: MemoryKey) -> None:
    """What is pruned is overwritten, not only forgotten."""
    store = SqliteStore(tmp_path / "ledger.sqlite3", ORIGIN)
    await filled(store, key)
    assert retention.prune(store, 10**15) > 0
    assert b'"time":7,' not in everything_in(tmp_path)


async def test_a_restored_log_never_forks(new_store: NewStore, tmp_path: Path, key: MemoryKey) -> None:
    """What was restored verifies, is closed for good, and a new log says that it continues it."""
    saved = await filled(new_store(), key)
    path = tmp_path / "backup"
    assert backup.back_up(new_store(), path) == SIZE
    elsewhere = SqliteStore(tmp_path / "elsewhere.sqlite3", "other.example.jp/log")
    with new_store().reading() as reader:
        newest = reader.newest_checkpoint()
    assert newest is not None
    report = backup.restore(path, elsewhere, key.verifier("other.example.jp/log"), newest.note)
    assert (report.size, report.root) == (SIZE, saved.root)
    with pytest.raises(LedgerUnusable, match="closed"):
        await Log(elsewhere.with_origin(ORIGIN)).start()
    with pytest.raises(LedgerUnusable):
        backup.restore(path, elsewhere, key.verifier(), None)
    async with Log(elsewhere) as log:
        await Recorder(log, lambda: 9).start()
    with elsewhere.reading() as reader:
        ((_, first),) = stored_entries(reader, 0, 1)
    assert decode(first) == Continued(time=9, origin=ORIGIN, size=SIZE, root=saved.root.hex())


async def test_an_old_backup_is_known_to_be_old(new_store: NewStore, tmp_path: Path, key: MemoryKey) -> None:
    """Restored beside a newer checkpoint, the gap is named; the log stays closed all the same."""
    async with Log(new_store()) as log:
        await log.append(b"{}")
    backup.back_up(new_store(), tmp_path / "backup")
    later = SqliteStore(tmp_path / "later.sqlite3", ORIGIN)
    await filled(later, key)
    with later.reading() as reader:
        newest = reader.newest_checkpoint()
    assert newest is not None
    elsewhere = SqliteStore(tmp_path / "elsewhere.sqlite3", ORIGIN)
    with pytest.raises(LedgerRolledBack):
        backup.restore(tmp_path / "backup", elsewhere, key.verifier(), newest.note)
    with pytest.raises(LedgerUnusable, match="closed"):
        await Log(elsewhere).start()


async def test_a_backup_with_one_bit_changed_is_refused(tmp_path: Path, key: MemoryKey) -> None:
    """Nothing is restored out of a file that is not whole."""
    store = SqliteStore(tmp_path / "ledger.sqlite3", ORIGIN)
    await filled(store, key)
    path = tmp_path / "backup"
    backup.back_up(store, path)
    content = path.read_bytes()
    for wrong in (content[:-1], content[:1000], content[:900] + b"\x00\x01" + content[902:], b"JPKILOG1"):
        path.write_bytes(wrong)
        with pytest.raises(LedgerDamaged):
            backup.restore(path, SqliteStore(tmp_path / "x.sqlite3", ORIGIN), key.verifier(), None)
    assert not (tmp_path / "x.sqlite3").exists()


@pytest.mark.parametrize("form", list(export.Format))
async def test_entries_are_exported(store: Store, key: MemoryKey, form: export.Format) -> None:
    """Each format has one line for each entry, with its index."""
    await filled(store, key)
    with store.reading() as reader:
        lines = list(export.lines(reader, ORIGIN, form, start=10, stop=20))
    assert len(lines) == 10
    if form is export.Format.JSONL:
        assert [json.loads(line)["index"] for line in lines] == list(range(10, 20))
    elif form is export.Format.FHIR:
        assert {json.loads(line)["resourceType"] for line in lines} == {"AuditEvent"}
    else:
        assert all(b'[jpki@32473 index="1' in line for line in lines)


async def test_tiles_hold_the_tree(store: Store, key: MemoryKey) -> None:
    """From the published tiles anybody can compute the root, and with it any proof."""
    saved = await filled(store, key)
    tiles = [Tile(0, 0), Tile(0, 1, SIZE - 256), Tile(1, 0, 1)]
    with store.reading() as reader:
        content = {tile: tile.hashes(fetching(reader)) for tile in tiles}
        audit.verify(reader, key.verifier(), saved=saved)
    leaf = content[tiles[1]][-32:]
    with store.reading() as reader:
        from appliance.ledger.merkle import inclusion_proof  # noqa: PLC0415

        path = inclusion_proof(SIZE - 1, SIZE, fetching(reader))
    assert root_from_inclusion(SIZE - 1, SIZE, leaf, path) == saved.root
    assert not Tile(ENTRIES, 1).fits(SIZE)


@pytest.mark.parametrize("index", [0, 17, SIZE - 1])
async def test_an_outsider_verifies_with_sixty_lines(tmp_path: Path, key: MemoryKey, index: int) -> None:
    """The script in `docs/`, which knows nothing of the product, verifies a proof; with a changed one it fails."""
    store = SqliteStore(tmp_path / "ledger.sqlite3", ORIGIN)
    await filled(store, key)
    proof = proved(store, index).to_bytes()
    assert len(SCRIPT.read_text().splitlines()) <= 60
    for content, status in ((proof, 0), (proof.replace(b"extra eyJ", b"extra eyI"), 1)):
        path = tmp_path / "proof"
        path.write_bytes(content)
        done = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(SCRIPT), str(path), key.verifier().to_text()),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, _ = await done.communicate()
        assert done.returncode == status
        assert said.startswith(b"verified: entry %d of " % index) == (status == 0)
