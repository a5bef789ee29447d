"""Retention, backup, restore, export, proofs: what happens to a log in its life."""

import asyncio
import json
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from appliance.errors import (
    LedgerBackupExists,
    LedgerDamaged,
    LedgerEntryAbsent,
    LedgerProofInvalid,
    LedgerUnusable,
)
from appliance.ledger import audit, backup, export, retention, sqlite, tables
from appliance.ledger.entries import Continued, Entry, Pruned, decode, encode
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.merkle import root_from_inclusion
from appliance.ledger.proof import InclusionProof, prove
from appliance.ledger.recorder import Recorder
from appliance.ledger.sqlite import SqliteLog, SqliteStore
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
    async with Log(store, seconds=20) as log:
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
    async with Log(new_store(), seconds=20) as log:
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
    restored = backup.restore(path, elsewhere, key.verifier("other.example.jp/log"), newest.note)
    assert (restored.report.size, restored.report.root, restored.missing) == (SIZE, saved.root, 0)
    with pytest.raises(LedgerUnusable, match="closed"):
        await Log(elsewhere.with_origin(ORIGIN)).start()
    with pytest.raises(LedgerUnusable):
        backup.restore(path, elsewhere, key.verifier(), None)
    async with Log(elsewhere, seconds=20) as log:
        await Recorder(log, lambda: 9).start()
    with elsewhere.reading() as reader:
        ((_, first),) = stored_entries(reader, 0, 1)
    assert decode(first) == Continued(time=9, origin=ORIGIN, size=SIZE, root=saved.root.hex())


async def test_an_old_backup_is_known_to_be_old(new_store: NewStore, tmp_path: Path, key: MemoryKey) -> None:
    """Restored beside a newer checkpoint, it is there and closed all the same, and how much is missing is known."""
    async with Log(new_store(), seconds=20) as log:
        await log.append(b"{}")
    backup.back_up(new_store(), tmp_path / "backup")
    later = SqliteStore(tmp_path / "later.sqlite3", ORIGIN)
    await filled(later, key)
    with later.reading() as reader:
        newest = reader.newest_checkpoint()
    assert newest is not None
    elsewhere = SqliteStore(tmp_path / "elsewhere.sqlite3", ORIGIN)
    restored = backup.restore(tmp_path / "backup", elsewhere, key.verifier(), newest.note)
    assert (restored.report.size, restored.missing) == (1, SIZE - 1)
    with pytest.raises(LedgerUnusable, match="closed"):
        await Log(elsewhere).start()


async def backed_up(path: Path, key: MemoryKey, origin: str = ORIGIN) -> Path:
    """Return the backup of a log *origin* that was filled for it."""
    store = SqliteStore(path.with_suffix(".sqlite3"), origin)
    await filled(store, key)
    backup.back_up(store, path)
    return path


async def begun(store: Store) -> list[Entry]:
    """Start the log in *store*, and return all entries that it has then."""
    async with Log(store, seconds=10) as log:
        await Recorder(log, lambda: 9).start()
    with store.reading() as reader:
        return [decode(content) for _, content in stored_entries(reader, 0, reader.head().size)]


async def test_a_restore_that_is_killed_leaves_nothing(
    new_store: NewStore, tmp_path: Path, key: MemoryKey
) -> None:
    """Wherever it ends, no part of a log is there that anybody could go on with; done again, all of it is."""
    source = SqliteStore(tmp_path / "source.sqlite3", ORIGIN)
    async with Log(source, seconds=10) as log:
        await asyncio.gather(*(log.append(b"%d" % number) for number in range(3_000)))
    backup.back_up(source, tmp_path / "backup")
    store = new_store()
    place = str(store.path) if isinstance(store, SqliteStore) else store.conninfo  # type: ignore[attr-defined]
    for nth in (1, 2, 3):
        died = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.ledger.restoring", place),
            *(str(tmp_path / "backup"), key.verifier().to_text(), str(nth)),
        )
        assert await died.wait() == -9
        with new_store().reading() as reader:
            assert (reader.head().size, reader.head().closed) == (0, False)
    assert backup.restore(tmp_path / "backup", new_store(), key.verifier(), None).report.size == 3_000
    with pytest.raises(LedgerUnusable, match="closed"):
        await Log(new_store()).start()


async def test_small_batches_are_restored_as_large_ones(
    new_store: NewStore, tmp_path: Path, key: MemoryKey
) -> None:
    """A quiet clinic's log, an entry in each batch, comes back in a few rows, with all that was pruned and was not."""
    source = SqliteStore(tmp_path / "source.sqlite3", ORIGIN)
    async with Log(source, seconds=10) as log:
        for time in range(300):
            await log.append(encode(Pruned(time=time, before=0)))
        keeper = Keeper(Recorder(log, lambda: 9), key, key.verifier(), monotonic=lambda: 0.0)
        note = await keeper.checkpoint()
    assert retention.prune(source, 100) == 100
    backup.back_up(source, tmp_path / "backup")
    assert backup.restore(tmp_path / "backup", new_store(), key.verifier(), note).report.pruned == 100
    with new_store().reading() as reader:
        assert [batch.first for batch in reader.batches(0, 300)] == [0, 100]
        assert [index for index, _ in stored_entries(reader, 0, 300)] == list(range(100, 300))
    assert verified(new_store(), key).root == verified(source, key).root


async def test_a_damaged_batch_is_not_joined_with_others(
    new_store: NewStore, tmp_path: Path, key: MemoryKey
) -> None:
    """What was damaged when it was backed up comes back as it was: `verify` names it, the rest can be read."""
    source = SqliteStore(tmp_path / "source.sqlite3", ORIGIN)
    async with Log(source, seconds=10) as log:
        for number in range(9):
            await log.append(b"%d" % number)
    with source.pruning() as tables:
        tables.rows("UPDATE batches SET entries = ? WHERE first = 4", b"\xff\xff4")
    backup.back_up(source, tmp_path / "backup")
    with pytest.raises(LedgerDamaged, match="the batch at entry 4 is cut off"):
        backup.restore(tmp_path / "backup", new_store(), key.verifier(), None)
    with new_store().reading() as reader:
        assert [batch.first for batch in reader.batches(0, 9)] == [0, 4, 5]


async def test_what_was_restored_is_pruned_like_any_other(
    new_store: NewStore, tmp_path: Path, key: MemoryKey
) -> None:
    """A closed log keeps nothing for longer: nobody will finish what was open in it."""
    path = await backed_up(tmp_path / "backup", key)
    backup.restore(path, new_store(), key.verifier(), None)
    assert retention.prune(new_store(), 10**15) == SIZE - 1
    assert verified(new_store(), key).pruned == SIZE - 1


async def test_each_closed_log_is_gone_on_from_once(
    new_store: NewStore, tmp_path: Path, key: MemoryKey
) -> None:
    """Of new logs each goes on from a closed one of its own, begun at once or not; one too many from none."""
    names = ["a.example.jp/log", "b.example.jp/log"]
    for number, name in enumerate(names):
        path = await backed_up(tmp_path / f"{number}.backup", key, name)
        backup.restore(path, new_store(), key.verifier(name), None)
    new = [new_store().with_origin(f"{name}-2") for name in names]
    if isinstance(new[0], SqliteStore):
        found = [await begun(store) for store in new]
    else:
        found = await asyncio.gather(*(begun(store) for store in new))
    firsts = [entry for entries in found for entry in entries]
    assert sorted(entry.origin for entry in firsts if isinstance(entry, Continued)) == names
    assert len(firsts) == 2
    assert await begun(new_store().with_origin("c.example.jp/log")) == []


async def require_second_gone_on_from(new_store: NewStore, key: MemoryKey, second: Path, first: Path) -> None:
    """Bring both logs back, and check that a new one goes on from the *second* and that no other one goes on from the *first*."""
    for path in (second, first):
        backup.restore(path, new_store(), key.verifier(), None)
    (entry,) = await begun(new_store().with_origin("third"))
    assert isinstance(entry, Continued)
    assert entry.origin == "second"
    assert await begun(new_store().with_origin("fourth")) == []


async def test_a_restored_log_still_has_gone_on_from_its_own(
    new_store: NewStore, tmp_path: Path, key: MemoryKey
) -> None:
    """What a restored log had gone on from is nobody else's, in whatever order the two are brought back."""
    first = await backed_up(tmp_path / "first.backup", key)
    place = SqliteStore(tmp_path / "place.sqlite3", "second")
    backup.restore(first, place, key.verifier("second"), None)
    assert len(await begun(place)) == 1
    second = tmp_path / "second.backup"
    backup.back_up(place, second)
    await require_second_gone_on_from(new_store, key, second, first)


async def test_a_log_that_died_before_its_first_entry_keeps_its_predecessor(
    new_store: NewStore, tmp_path: Path, key: MemoryKey
) -> None:
    """Between taking a closed log and saying so a process may end: the next start says so."""
    backup.restore(await backed_up(tmp_path / "backup", key), new_store(), key.verifier(), None)
    later = new_store().with_origin("later")
    writer = later.write()
    assert writer.predecessor() == ORIGIN
    writer.close()
    assert await begun(new_store().with_origin("another")) == []
    (entry,) = await begun(later)
    assert isinstance(entry, Continued)


async def test_a_backup_that_fails_leaves_no_file(new_store: NewStore, tmp_path: Path) -> None:
    """Neither an empty file nor a part of one: the next try finds its place free. What is there already stays."""
    folder = tmp_path / "backups"
    folder.mkdir()
    async with Log(new_store(), seconds=10) as log:
        for number in range(3):
            await log.append(b"%d" % number)
    with pytest.raises(LedgerUnusable):
        backup.back_up(new_store().with_origin("another"), folder / "backup")
    with new_store().pruning() as tables:
        ((whole,),) = tables.rows("SELECT hashes FROM batches WHERE first = 1")  # type: ignore[attr-defined]
        change = "UPDATE batches SET hashes = ? WHERE first = 1"
        tables.rows(change, whole[:-1])  # type: ignore[attr-defined]
    with pytest.raises(LedgerDamaged):
        backup.back_up(new_store(), folder / "backup")
    assert list(folder.iterdir()) == []
    with new_store().pruning() as tables:
        tables.rows(change, whole)  # type: ignore[attr-defined]
    assert backup.back_up(new_store(), folder / "backup") == 3
    before = (folder / "backup").read_bytes()
    with pytest.raises(LedgerBackupExists, match="left as it is"):
        backup.back_up(new_store(), folder / "backup")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"backup": before}


async def test_a_log_is_pruned_beside_its_writer(
    new_store: NewStore, key: MemoryKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches there are, and while others are appended."""
    # What a disk that stalls needs.
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 20.0)
    async with Log(new_store(), seconds=20) as log:
        keeper = Keeper(Recorder(log, lambda: 1), key, key.verifier(), monotonic=lambda: 0.0)
        await keeper.start()
        for _ in range(600):
            await log.append(encode(Pruned(time=1, before=0)))
        await keeper.checkpoint()
        pruning = asyncio.ensure_future(asyncio.to_thread(retention.prune, new_store(), 2))
        while not pruning.done():
            await log.append(encode(Pruned(time=2, before=0)))
            # Who appends without a pause would keep the lock from the prune.
            await asyncio.sleep(0.02)
        kept = await pruning
    assert kept in {599, 600}
    assert verified(new_store(), key).pruned == kept


async def test_who_appends_beside_a_long_prune_gets_a_turn(
    tmp_path: Path, key: MemoryKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece is slow, as on a slow disk, and all together take longer than anybody waits for the file's lock."""
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 1.0)
    monkeypatch.setattr(tables, "_PRUNED_AT_ONCE", 1)
    store = SqliteStore(tmp_path / "ledger.sqlite3", ORIGIN)
    async with Log(store, seconds=20) as log:
        keeper = Keeper(Recorder(log, lambda: 1), key, key.verifier(), monotonic=lambda: 0.0)
        await keeper.start()
        for _ in range(60):
            await log.append(encode(Pruned(time=1, before=0)))
        await keeper.checkpoint()
        commit = SqliteLog.commit

        def slowly(log: SqliteLog) -> None:
            if not threading.current_thread().name.startswith("ledger "):
                time.sleep(0.03)
            commit(log)

        monkeypatch.setattr(SqliteLog, "commit", slowly)
        pruning = asyncio.ensure_future(asyncio.to_thread(retention.prune, store, 2))
        appended = 0
        while not pruning.done():
            await log.append(encode(Pruned(time=2, before=0)))
            appended += 1
            # Who appends without a pause would keep the lock from the prune.
            await asyncio.sleep(0.02)
        assert await pruning >= 59
    assert appended > 10


async def test_the_mark_of_pruning_never_goes_back(new_store: NewStore, key: MemoryKey) -> None:
    """Of two that prune at once, the one with the earlier time changes nothing that the other has done."""
    await filled(new_store(), key)
    with new_store().pruning() as one, new_store().pruning() as other:
        while other.prune(200):
            pass
        assert not one.prune(100)
    report = verified(new_store(), key)
    assert report.pruned == 200


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


async def short(store: Store, key: MemoryKey) -> None:
    """Give *store* a log of few entries under a checkpoint; the first says what it goes on from, where there is something."""
    async with Log(store, seconds=20) as log:
        recorder = Recorder(log, lambda: 9)
        await recorder.start()
        await recorder.pruned(0)
        await recorder.pruned(0)
        await Keeper(recorder, key, key.verifier(store.origin), time.monotonic).checkpoint()


async def test_a_backup_with_any_byte_changed_is_refused(tmp_path: Path, key: MemoryKey) -> None:
    """Whatever a flipped bit makes of it, text that is none among it: nothing is understood before the digest fits."""
    store = SqliteStore(tmp_path / "ledger.sqlite3", ORIGIN)
    await short(store, key)
    path = tmp_path / "backup"
    backup.back_up(store, path)
    content = path.read_bytes()
    elsewhere = SqliteStore(tmp_path / "x.sqlite3", ORIGIN)
    for place in range(8, len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x80]) + content[place + 1 :])
        with pytest.raises(LedgerDamaged):
            backup.restore(path, elsewhere, key.verifier(), None)
    assert not (tmp_path / "x.sqlite3").exists()


@pytest.mark.parametrize(
    "opening",
    [
        backup.Opening("a b", 0, 0, None),
        backup.Opening("", 0, 0, None),
        backup.Opening(ORIGIN, 0, -3, None),
        backup.Opening(ORIGIN, 0, 0, "a b"),
        None,
    ],
)
def test_a_backup_that_somebody_has_made_up_is_refused(
    tmp_path: Path, key: MemoryKey, opening: backup.Opening | None
) -> None:
    """A digest that fits says nothing of what is in it: names and numbers are still to be of their form."""
    content = b"JPKILOG1"
    if opening is not None:
        body = msgspec.msgpack.encode(opening)
        content += len(body).to_bytes(4) + body
    body = msgspec.msgpack.encode(backup.Ending(sha256(content).digest()))
    path = tmp_path / "backup"
    path.write_bytes(content + len(body).to_bytes(4) + body)
    with pytest.raises(LedgerDamaged):
        backup.restore(path, SqliteStore(tmp_path / "x.sqlite3", ORIGIN), key.verifier(), None)


async def test_with_another_key_nothing_is_restored(
    new_store: NewStore, tmp_path: Path, key: MemoryKey
) -> None:
    """Whoever has forgotten the key of that time is told, and the command can be given again with it."""
    path = await backed_up(tmp_path / "backup", key)
    with pytest.raises(LedgerProofInvalid, match="public-key"):
        backup.restore(path, new_store(), MemoryKey().verifier(), None)
    assert backup.restore(path, new_store(), key.verifier(), None).report.size == SIZE


async def test_a_log_whose_first_entry_is_pruned_still_has_gone_on_from_its_own(
    new_store: NewStore, tmp_path: Path, key: MemoryKey
) -> None:
    """Which log it continues does not go with that entry: after both are brought back, nobody continues the older one."""
    first = await backed_up(tmp_path / "first.backup", key)
    place = SqliteStore(tmp_path / "place.sqlite3", "second")
    backup.restore(first, place, key.verifier("second"), None)
    await short(place, key)
    assert retention.prune(place, 10**15) > 0
    second = tmp_path / "second.backup"
    backup.back_up(place, second)
    await require_second_gone_on_from(new_store, key, second, first)


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


async def test_a_syslog_message_is_one_whatever_an_origin_has(store: Store) -> None:
    """What ends structured data is escaped in it (RFC 5424 §6.3.3): an origin may have it."""
    async with Log(store, seconds=20) as log:
        await log.append(encode(Continued(time=1, origin="a/]x", size=0, root="0" * 64)))
    with store.reading() as reader:
        (line,) = export.lines(reader, ORIGIN, export.Format.SYSLOG)
    assert b'origin="a/\\]x"' in line


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


@pytest.mark.parametrize(
    ("index", "options"), [(0, ()), (17, ()), (SIZE - 1, ()), (17, ("-X", "utf8=0"))], ids=str
)
async def test_an_outsider_verifies_with_sixty_lines(
    tmp_path: Path, key: MemoryKey, index: int, options: tuple[str, ...]
) -> None:
    """
    The script in `docs/`, which knows nothing of the product, verifies a proof; with a changed one it fails.

    It does so on machines whose own encoding is another than UTF-8.
    """
    store = SqliteStore(tmp_path / "ledger.sqlite3", ORIGIN)
    await filled(store, key)
    proof = proved(store, index).to_bytes()
    assert len(SCRIPT.read_text().splitlines()) <= 60
    for content, status in ((proof, 0), (proof.replace(b"extra eyJ", b"extra eyI"), 1)):
        path = tmp_path / "proof"
        path.write_bytes(content)
        done = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", *options, str(SCRIPT), str(path), key.verifier().to_text()),
            env={"LC_ALL": "C"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, _ = await done.communicate()
        assert done.returncode == status
        assert said.startswith(b"verified: entry %d of " % index) == (status == 0)
