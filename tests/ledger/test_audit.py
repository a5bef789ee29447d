"""
Attackers with the files: what `verify` finds with a saved checkpoint, which is everything, and what without one.

Each attack has full use of the database. *Recomputing* attackers also make all hashes fit again, and take away the
stored checkpoints that would tell: against those, nothing but a checkpoint kept elsewhere helps.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import LedgerDamaged, LedgerError, LedgerRolledBack
from appliance.ledger import audit, checkpoint, entries
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.entries import Finished, Reserved
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.merkle import Frontier, leaf_hash
from appliance.ledger.recorder import Recorder
from appliance.ledger.store import Store, stored_entries
from appliance.ledger.tables import Tables
from appliance.ledger.tiles import bundle, entries_of
from tests.ledger.conftest import ORIGIN, MemoryKey, NewStore

AUTHENTICATIONS = 160
"""Two entries each: more than a full row of 256."""


def reserved(number: int) -> Reserved:
    """Return an entry that reserves."""
    return Reserved(time=number, mode="pinless", terminal="desk-1", check="visual", checked_by="operator-3")


async def filled(store: Store, key: MemoryKey) -> Checkpoint:
    """Fill *store* with authentications, checkpoints among them; return the last checkpoint, saved elsewhere."""
    async with Log(store, seconds=10) as log:
        recorder = Recorder(log, lambda: 1)
        keeper = Keeper(recorder, key, key.verifier(store.origin), monotonic=lambda: 0.0)
        await keeper.start()

        async def authenticate(number: int) -> None:
            index = await recorder.reserve(reserved(number))
            await recorder.finish(
                Finished(time=number, reserved=index, outcome="refused", code="card_removed")
            )

        for part in range(4):
            await asyncio.gather(*(authenticate(part * 40 + number) for number in range(40)))
            note = await keeper.checkpoint()
    return checkpoint.verified(note, key.verifier(store.origin))


@dataclass(frozen=True, slots=True)
class Attack:
    """Something done to the tables, and whether it is found without a saved checkpoint."""

    do: Callable[[Tables, int], None]
    found_alone: bool


def flip_entry(tables: Tables, place: int) -> None:
    """Flip one bit of one batch's content."""
    _change(tables, "entries", place)


def flip_hash(tables: Tables, place: int) -> None:
    """Flip one bit of one stored leaf hash."""
    _change(tables, "hashes", place)


def flip_node(tables: Tables, _place: int) -> None:
    """Put another hash above the leaves."""
    tables.rows("UPDATE nodes SET hash = ? WHERE number = 0", b"\0" * 32)


def flip_checkpoint(tables: Tables, place: int) -> None:
    """Flip one bit of a stored checkpoint."""
    notes = tables.rows("SELECT size, note FROM checkpoints ORDER BY size")
    size, note = notes[place % len(notes)]
    tables.rows("UPDATE checkpoints SET note = ? WHERE size = ?", flipped(note, place), size)


def drop_batch(tables: Tables, place: int) -> None:
    """Take a batch out of the middle."""
    firsts = [first for (first,) in tables.rows("SELECT first FROM batches ORDER BY first")][:-1]
    tables.rows("DELETE FROM batches WHERE first = ?", firsts[place % len(firsts)])


def swap_entries(tables: Tables, _place: int) -> None:
    """Exchange the first two entries and their leaf hashes."""
    rewrite(tables, lambda kept: [kept[1], kept[0], *kept[2:]], tree=False)


def truncate_only(tables: Tables, _place: int) -> None:
    """Cut the log off, and leave the checkpoints."""
    tables.rows("DELETE FROM batches WHERE first >= 200")


def truncate(tables: Tables, _place: int) -> None:
    """Cut the log off, and everything that tells of it."""
    rewrite(tables, lambda kept: kept[:200], tree=True)
    tables.rows("DELETE FROM checkpoints WHERE size > 200")


def recompute(tables: Tables, place: int) -> None:
    """Change one entry into another good one, make all hashes fit, take the checkpoints away."""

    def another(kept: list[bytes]) -> list[bytes]:
        index = place % len(kept)
        entry = entries.decode(kept[index])
        forged = entries.encode(msgspec.structs.replace(entry, time=99_999))
        return [*kept[:index], forged, *kept[index + 1 :]]

    rewrite(tables, another, tree=True)
    tables.rows("DELETE FROM checkpoints")


def recompute_and_leave_checkpoints(tables: Tables, place: int) -> None:
    """Change one entry and make all hashes fit, but forget the stored checkpoints."""
    notes = tables.rows("SELECT log, size, note FROM checkpoints")
    recompute(tables, place)
    for note in notes:
        tables.rows("INSERT INTO checkpoints (log, size, note) VALUES (?, ?, ?)", *note)


def forge_pruning(tables: Tables, _place: int) -> None:
    """Take content away without saying that it was pruned."""
    tables.rows("UPDATE batches SET entries = NULL WHERE first = 0")


def lengthen(tables: Tables, place: int) -> None:
    """Have a batch's last entry say that it is longer than it is."""
    found = tables.rows("SELECT first, entries FROM batches ORDER BY first")
    first, content = found[place % len(found)]
    *before, last = entries_of(content)
    changed = bundle(before) + (len(last) + 1).to_bytes(2) + last
    tables.rows("UPDATE batches SET entries = ? WHERE first = ?", changed, first)


def forge_mark(tables: Tables, _place: int) -> None:
    """Take all content away, and say that all was pruned."""
    forge_pruning(tables, 0)
    tables.rows("UPDATE batches SET entries = NULL")
    tables.rows("UPDATE logs SET pruned = 1000000")


ATTACKS = [
    Attack(flip_entry, found_alone=True),
    Attack(lengthen, found_alone=True),
    Attack(flip_hash, found_alone=True),
    Attack(flip_node, found_alone=True),
    Attack(flip_checkpoint, found_alone=True),
    Attack(drop_batch, found_alone=True),
    Attack(swap_entries, found_alone=True),
    Attack(truncate_only, found_alone=True),
    Attack(forge_pruning, found_alone=True),
    Attack(forge_mark, found_alone=True),
    Attack(recompute_and_leave_checkpoints, found_alone=True),
    Attack(truncate, found_alone=False),
    Attack(recompute, found_alone=False),
]


def flipped(content: bytes, place: int) -> bytes:
    """Return *content* with one bit changed."""
    changed = bytearray(content)
    changed[place // 8 % len(changed)] ^= 1 << place % 8
    return bytes(changed)


def _change(tables: Tables, column: str, place: int) -> None:
    found = tables.rows(f"SELECT first, {column} FROM batches ORDER BY first")  # noqa: S608 - ours
    first, content = found[place % len(found)]
    tables.rows(f"UPDATE batches SET {column} = ? WHERE first = ?", flipped(content, place), first)  # noqa: S608


def rewrite(tables: Tables, change: Callable[[list[bytes]], list[bytes]], *, tree: bool) -> None:
    """Write all entries anew after *change*, as one batch with hashes that fit; above them too, where *tree*."""
    found = tables.rows("SELECT log, entries FROM batches ORDER BY first")
    kept = change([entry for _, content in found for entry in entries_of(content)])
    hashes = [leaf_hash(entry) for entry in kept]
    log = found[0][0]
    tables.rows("DELETE FROM batches")
    tables.rows(
        "INSERT INTO batches (log, first, hashes, entries) VALUES (?, 0, ?, ?)",
        *(log, b"".join(hashes), bundle(kept)),
    )
    if tree:
        tables.rows("DELETE FROM nodes")
        for node in Frontier().append(hashes):
            tables.rows(
                "INSERT INTO nodes (log, level, number, hash) VALUES (?, ?, ?, ?)",
                *(log, node.row, node.number, node.hash),
            )


def verified(store: Store, key: MemoryKey, saved: Checkpoint | None = None) -> audit.Report:
    """Verify everything in *store*."""
    with store.reading() as reader:
        return audit.verify(reader, key.verifier(), saved=saved, contents=True)


async def test_an_untouched_log_is_in_order(store: Store, key: MemoryKey) -> None:
    """What nobody has touched verifies, and the report says what it covers."""
    saved = await filled(store, key)
    report = verified(store, key, saved)
    assert (report.size, report.covered, report.checkpoints) == (2 * AUTHENTICATIONS, 2 * AUTHENTICATIONS, 4)
    assert (report.unfinished, report.pruned) == (0, 0)
    assert report.root == saved.root


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.do.__name__)
async def test_each_attack_is_found(new_store: NewStore, key: MemoryKey, attack: Attack) -> None:
    """With a saved checkpoint every attack is found; without one, all but those that leave nothing to compare."""
    saved = await filled(new_store(), key)
    with new_store().pruning() as log:
        assert isinstance(log, Tables)
        attack.do(log, 1234)
    with pytest.raises(LedgerError) as found:
        verified(new_store(), key, saved)
    assert isinstance(found.value, LedgerDamaged | LedgerRolledBack)
    if attack.found_alone:
        with pytest.raises(LedgerError):
            verified(new_store(), key)
    else:
        verified(new_store(), key)


async def test_a_forged_mark_of_pruning_is_not_the_logs_own_word(new_store: NewStore, key: MemoryKey) -> None:
    """Up to the newest entry the mark is believed; but the log says itself up to where it was pruned."""
    await filled(new_store(), key)
    with new_store().pruning() as log:
        assert isinstance(log, Tables)
        log.rows("UPDATE logs SET pruned = ?", 2 * AUTHENTICATIONS - 1)
    report = verified(new_store(), key)
    assert (report.pruned, report.pruned_said) == (2 * AUTHENTICATIONS - 1, 0)


async def test_an_older_copy_is_found(new_store: NewStore, key: MemoryKey) -> None:
    """A store from yesterday verifies in itself, and not against today's checkpoint; no writer starts on it."""
    saved = await filled(new_store(), key)
    with new_store().pruning() as log:
        assert isinstance(log, Tables)
        truncate(log, 0)
    assert verified(new_store(), key).size == 200
    with pytest.raises(LedgerRolledBack):
        verified(new_store(), key, saved)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), attack=st.sampled_from([one for one in ATTACKS if one.found_alone]))
def test_wherever_it_is_done(tmp_path_factory: pytest.TempPathFactory, place: int, attack: Attack) -> None:
    """It does not matter which bit, batch or entry it is."""
    from appliance.ledger.sqlite import SqliteStore  # noqa: PLC0415 - the quicker store is enough here

    key = MemoryKey()
    store = SqliteStore(tmp_path_factory.mktemp("ledger") / "ledger.sqlite3", ORIGIN)
    asyncio.run(filled(store, key))
    with store.pruning() as log:
        attack.do(log, place)
    with pytest.raises(LedgerError):
        verified(store, key)


async def test_what_comes_after_the_newest_checkpoint_is_named(store: Store, key: MemoryKey) -> None:
    """Entries that no checkpoint covers yet are counted, so that nobody takes them for protected."""
    saved = await filled(store, key)
    async with Log(store, seconds=20) as log:
        await log.append(entries.encode(reserved(1)))
    report = verified(store, key, saved)
    assert (report.size - report.covered, report.unfinished) == (1, 1)


async def test_entries_that_make_no_sense_are_found(store: Store, key: MemoryKey) -> None:
    """A second outcome, or one of nothing, is damage even where all hashes fit."""
    async with Log(store, seconds=20) as log:
        index = await log.append(entries.encode(reserved(1)))
        for _ in range(2):
            await log.append(entries.encode(Finished(time=1, reserved=index, outcome="interrupted")))
    with pytest.raises(LedgerDamaged, match="not an open one"):
        verified(store, key)


async def test_a_clock_that_went_back_is_counted_and_no_damage(store: Store, key: MemoryKey) -> None:
    """The order of entries is their index; times are what the clock said."""
    async with Log(store, seconds=20) as log:
        for time in (5, 3, 4):
            await log.append(entries.encode(reserved(time)))
    assert verified(store, key).clock_steps == 1
    with store.reading() as reader:
        assert len(list(stored_entries(reader, 0, 3))) == 3
