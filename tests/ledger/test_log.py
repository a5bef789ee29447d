"""Appending: what is acknowledged is durable and in order, on both stores, whatever happens to them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.errors import LedgerContended, LedgerError, LedgerRolledBack, LedgerUnavailable, LedgerUnusable
from appliance.ledger.log import LARGEST_BATCH, Log
from appliance.ledger.merkle import EMPTY_ROOT, Frontier, leaf_hash
from appliance.ledger.postgres import PostgresStore
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import Store, Writer, fetching, stored_entries
from tests.ledger.conftest import ORIGIN, NewStore
from tests.ledger.server import Server


def entry(number: int) -> bytes:
    """Return a small entry."""
    return b"entry %d" % number


def content(store: Store) -> list[bytes]:
    """Return all entries in *store*."""
    with store.reading() as reader:
        return [stored for _, stored in stored_entries(reader, 0, reader.head().size)]


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over *leaves*."""
    frontier = Frontier()
    frontier.append([leaf_hash(leaf) for leaf in leaves])
    return frontier.root()


async def test_an_index_is_a_place_in_the_log(store: Store) -> None:
    """Whoever is told an index finds the entry there, in the order in which it was asked for."""
    async with Log(store, seconds=20) as log:
        indices = await asyncio.gather(*(log.append(entry(number)) for number in range(300)))
    assert indices == list(range(300))
    assert content(store) == [entry(number) for number in range(300)]


async def test_many_callers_share_a_commit(store: Store) -> None:
    """Those who ask at once are written as one batch."""
    async with Log(store, seconds=20) as log:
        await asyncio.gather(*(log.append(entry(number)) for number in range(100)))
    with store.reading() as reader:
        assert len(list(reader.batches(0, 100))) < 10


async def test_a_batch_has_a_bound(store: Store) -> None:
    """However many ask at once, a commit stays small enough to be quick."""
    async with Log(store, seconds=20) as log:
        await asyncio.gather(*(log.append(entry(number)) for number in range(LARGEST_BATCH * 2 + 1)))
    with store.reading() as reader:
        assert max(batch.stop - batch.first for batch in reader.batches(0, 5000)) <= LARGEST_BATCH


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 1000])
async def test_a_new_writer_goes_on_where_the_last_one_ended(new_store: NewStore, size: int) -> None:
    """A restart loses nothing: neither entries nor what the tree needs to grow."""
    async with Log(new_store(), seconds=20) as log:
        await asyncio.gather(*(log.append(entry(number)) for number in range(size)))
    async with Log(new_store(), seconds=20) as log:
        assert log.size == size
        assert await log.append(b"next") == size
        found = await log.run(lambda _writer, frontier: frontier.root())
    assert found == root([*(entry(number) for number in range(size)), b"next"])


async def test_the_stored_tree_is_that_of_the_entries(store: Store) -> None:
    """A root computed from what is stored of the tree is the root over the entries."""
    async with Log(store, seconds=20) as log:
        for _ in range(7):
            await asyncio.gather(*(log.append(entry(number)) for number in range(100)))
    leaves = content(store)
    with store.reading() as reader:
        for size in (0, 1, 255, 256, 300, 512, 700):
            assert Frontier(size, fetching(reader)).root() == (root(leaves[:size]) if size else EMPTY_ROOT)


async def test_two_writers_are_refused(new_store: NewStore) -> None:
    """A second process on the same log is told so, and the first one writes on."""
    async with Log(new_store(), seconds=20) as first:
        with pytest.raises(LedgerContended):
            await Log(new_store()).start()
        assert await first.append(b"mine") == 0


async def test_two_nodes_share_a_database(store: Store) -> None:
    """Each node has a log of its own, and neither sees the other's entries."""
    other = store.with_origin("jpki.example.jp/ledger/node-2")
    async with Log(store, seconds=20) as first, Log(other, seconds=20) as second:
        results = await asyncio.gather(first.append(b"one"), second.append(b"two"))
    assert list(results) == [0, 0]
    assert (content(store), content(other)) == ([b"one"], [b"two"])


async def test_a_writer_that_was_overtaken_writes_no_more(new_store: NewStore) -> None:
    """Should the lock ever fail, an older writer's next commit is refused by the database itself."""
    async with Log(new_store(), seconds=20) as log:
        await log.append(b"mine")
        with new_store().pruning() as other:
            other.take_over()  # type: ignore[attr-defined]
        for _ in range(2):
            with pytest.raises(LedgerContended):
                await log.append(b"mine too")
    assert content(new_store()) == [b"mine"]


async def test_a_lock_held_for_a_moment_does_not_stop_a_log_for_good(new_store: NewStore) -> None:
    """Who opens a lost session anew and finds the lock taken is refused, and goes on once it is free."""
    async with Log(new_store(), seconds=10) as log:
        await log.append(b"first")
        log._scribe.leave()
        other = new_store().write()
        with pytest.raises(LedgerUnavailable):
            await log.append(b"refused")
        other.close()
        assert await log.append(b"second") == 1


async def test_a_closed_log_answers_at_once(store: Store) -> None:
    """Nobody waits for a log that is no more."""
    async with Log(store, seconds=20) as log:
        await log.append(b"first")
    with pytest.raises(LedgerUnavailable, match="closed"):
        await log.append(b"second")


async def test_tables_of_an_earlier_version_are_brought_up_to_date(new_store: NewStore) -> None:
    """A log of the first version goes on with all it has; until then it is not read in a form that it has not."""
    async with Log(new_store(), seconds=20) as log:
        await log.append(b"one")
    with new_store().pruning() as tables:
        for column in ("copied", "continues"):
            tables.rows(f"ALTER TABLE logs DROP COLUMN {column}")  # type: ignore[attr-defined]
        tables.rows("UPDATE ledger_schema SET version = 1")  # type: ignore[attr-defined]
    with pytest.raises(LedgerUnusable, match="version 1"):
        content(new_store())
    async with Log(new_store(), seconds=20) as log:
        assert await log.append(b"two") == 1
    assert content(new_store()) == [b"one", b"two"]


async def test_a_store_that_has_lost_entries_is_not_written(tmp_path: Path) -> None:
    """Where an older copy of the file is put under a running appliance, nothing is appended to it."""
    path = tmp_path / "ledger.sqlite3"
    async with Log(SqliteStore(path, ORIGIN), seconds=20) as log:
        await log.append(b"one")
    older = path.read_bytes()
    log = Log(SqliteStore(path, ORIGIN))
    await log.start()
    await log.append(b"two")
    # The thread looks again only after a failure: have it open the file anew.
    log._scribe.leave()
    path.write_bytes(older)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    for _ in range(2):
        with pytest.raises(LedgerRolledBack):
            await log.append(b"three")
    await log.close()


def closed_for_good(writer: Writer, _frontier: Frontier) -> None:
    """Close the log as a restore does that has nothing to bring back."""
    with writer.restoring(pruned=0, continues=None):
        pass


async def test_a_closed_log_never_grows_again(new_store: NewStore) -> None:
    """What was closed for good refuses its writer."""
    async with Log(new_store(), seconds=20) as log:
        await log.append(b"last")
        await log.run(closed_for_good)
        with pytest.raises(LedgerError):
            await log.append(b"one more")
    with pytest.raises(LedgerUnusable, match="closed"):
        await Log(new_store()).start()
    assert content(new_store()) == [b"last"]


async def test_tables_of_a_newer_version_are_left_alone(new_store: NewStore) -> None:
    """A program that is older than the database refuses to start on it."""
    async with Log(new_store()):
        pass
    with new_store().pruning() as log:
        log.rows("UPDATE ledger_schema SET version = 99")  # type: ignore[attr-defined]
    with pytest.raises(LedgerUnusable, match="newer"):
        await Log(new_store()).start()


async def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    """An SQLite file of something else is not made a ledger of."""
    import sqlite3  # noqa: PLC0415 - only here

    path = tmp_path / "ledger.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    connection.close()
    with pytest.raises(LedgerUnusable, match="something else"):
        await Log(SqliteStore(path, ORIGIN)).start()


async def test_a_restarted_database_is_found_again(postgres_server: Server) -> None:
    """While the database is away, appends are refused with a code; when it is back, they go on by themselves."""
    async with Log(PostgresStore(postgres_server.database(), ORIGIN), seconds=5) as log:
        assert await log.append(b"one") == 0
        postgres_server.stop("immediate")
        with pytest.raises(LedgerUnavailable):
            await log.append(b"two")
        postgres_server.start()
        assert await log.append(b"three") == 1


async def test_too_many_waiting_callers_are_refused_at_once(store: Store) -> None:
    """A store that has fallen behind makes no queue without end."""
    async with Log(store, seconds=20, most=3) as log:
        results = await asyncio.gather(
            *(log.append(entry(number)) for number in range(5)), return_exceptions=True
        )
    assert [type(result) for result in results] == [int, int, int, LedgerUnavailable, LedgerUnavailable]
