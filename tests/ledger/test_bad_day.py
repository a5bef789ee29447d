"""Full disks, connections that are cut at the worst moment, lost power: refused with a code, and healed alone."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from appliance.errors import LedgerUnavailable
from appliance.ledger.entries import Finished, Reserved, decode
from appliance.ledger.log import Log
from appliance.ledger.postgres import PostgresStore
from appliance.ledger.recorder import Recorder
from appliance.ledger.store import stored_entries
from tests.ledger.conftest import ORIGIN
from tests.ledger.server import Server

RESERVED = Reserved(time=1, mode="pinless", terminal="desk-1", check="face", checked_by="reader-1")


async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    """With a full disk appends are refused; what was acknowledged stays, and with space again it goes on."""
    script = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -m tests.ledger.filling "$1"'
    as_root = () if os.geteuid() == 0 else ("-r", "-U")
    done = await asyncio.create_subprocess_exec(
        *("unshare", *as_root, "-m", "sh", "-c", script, "sh", str(tmp_path), sys.executable),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await done.communicate()
    assert (said, done.returncode) == (b"refused 3 lost 0 last again\n", 0), complained.decode()


@dataclass(slots=True)
class Wire:
    """A socket in front of PostgreSQL that can lose the server's answers: all of them, or the next *lost*."""

    server: Path
    deaf: bool = False
    lost: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self, folder: Path) -> AsyncIterator[None]:
        """Stand in for the server in *folder*."""
        server = await asyncio.start_unix_server(self._serve, folder / ".s.PGSQL.5432")
        try:
            yield
        finally:
            server.close()
            for writer in self.writers:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self.server / ".s.PGSQL.5432")
        self.writers += [writer, far_writer]
        await asyncio.gather(self._pass(reader, far_writer), self._answer(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.deaf or self.lost:
                    self.lost = max(self.lost - 1, 0)
                    # The server has answered, so it has committed; nobody will hear of it.
                    break
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_a_connection_cut_between_commit_and_answer(postgres_server: Server, tmp_path: Path) -> None:
    """The caller is refused, the entry is there all the same, and it is closed as interrupted."""
    conninfo = postgres_server.database()
    wire = Wire(postgres_server.folder)
    through = conninfo.replace(str(postgres_server.folder), str(tmp_path))
    async with wire.listening(tmp_path), Log(PostgresStore(through, ORIGIN), seconds=20) as log:
        recorder = Recorder(log, lambda: 2)
        await recorder.start()
        assert await recorder.reserve(RESERVED) == 0
        wire.deaf = True
        with pytest.raises(LedgerUnavailable):
            await recorder.reserve(RESERVED)
        wire.deaf = False
        assert await recorder.finish(Finished(time=2, reserved=0, outcome="authenticated")) == 2
        await recorder.sweep()
        assert recorder.settled == log.size == 4
    with PostgresStore(conninfo, ORIGIN).reading() as reader:
        kept = [decode(content) for _, content in stored_entries(reader, 0, 4)]
    assert kept[1] == RESERVED
    assert kept[3] == Finished(time=2, reserved=1, outcome="interrupted")


async def test_a_lost_answer_is_looked_up(postgres_server: Server, tmp_path: Path) -> None:
    """Where only the answer was lost, the caller gets the index that the entry has; it is not written twice."""
    conninfo = postgres_server.database()
    wire = Wire(postgres_server.folder)
    through = conninfo.replace(str(postgres_server.folder), str(tmp_path))
    async with wire.listening(tmp_path), Log(PostgresStore(through, ORIGIN), seconds=20) as log:
        orphans: list[int] = []
        log.on_orphan(lambda index, _entry: orphans.append(index))
        assert await log.append(b"one") == 0
        wire.lost = 1
        assert await log.append(b"two") == 1
        assert await log.append(b"three") == 2
        assert orphans == []
    with PostgresStore(conninfo, ORIGIN).reading() as reader:
        assert dict(stored_entries(reader, 0, 4)) == {0: b"one", 1: b"two", 2: b"three"}


async def test_a_restarted_server_refuses_nobody(postgres_server: Server) -> None:
    """A connection that died while nobody used it is replaced, for entries and for everything else."""
    async with Log(PostgresStore(postgres_server.database(), ORIGIN), seconds=20) as log:
        for number in range(2):
            assert await log.append(b"before") == 2 * number
            postgres_server.stop()
            postgres_server.start()
            if number:
                size = await log.run(lambda writer, _frontier: writer.head().size)
                assert size == 3
            assert await log.append(b"after") == 2 * number + 1


async def test_a_server_that_loses_its_power_has_what_it_acknowledged(postgres_server: Server) -> None:
    """After an immediate stop in the middle of work nothing that was acknowledged is missing."""
    store = PostgresStore(postgres_server.database(), ORIGIN)
    async with Log(store, seconds=20) as log:
        done = await asyncio.gather(*(log.append(b"%d" % number) for number in range(500)))
        postgres_server.stop("immediate")
        postgres_server.start()
        done.append(await log.append(b"500"))
    with store.reading() as reader:
        assert {index for index, _ in stored_entries(reader, 0, 501)} >= set(done)


async def test_a_read_only_database_refuses(postgres_server: Server) -> None:
    """A database that has become read-only refuses with a code, and goes on when it is writable again."""
    conninfo = postgres_server.database()
    async with Log(PostgresStore(conninfo, ORIGIN), seconds=20) as log:
        await log.append(b"one")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            name = connection.info.dbname
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
            # Sessions take the setting when they begin: end the writer's.
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
            connection.execute(end, (name,))
            for entry in (b"two", b"three"):
                with pytest.raises(LedgerUnavailable, match="read-only"):
                    await log.append(entry)
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
        assert await log.append(b"four") == 1
