"""Checkpoints: signed over what is durable, copied elsewhere, never contradicted."""

import asyncio
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.errors import LedgerNotCopied, LedgerProofInvalid, LedgerRolledBack, LedgerUnavailable
from appliance.ledger import checkpoint
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.copies import Sink
from appliance.ledger.entries import Finished, Reserved, decode
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.merkle import require_consistency
from appliance.ledger.note import KeyType, Note, VerifierKey, cosigned
from appliance.ledger.recorder import Recorder, unfinished
from appliance.ledger.sinks import Directory, Syslog, message, octet_counted
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import Store, stored_entries
from appliance.ledger.witness import HttpWitness
from tests.ledger.conftest import ORIGIN, MemoryKey, NewStore

RESERVED = Reserved(time=1, mode="pinless", terminal="desk-1", check="face", checked_by="reader-1")
NOW = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)


@dataclass(slots=True)
class Clock:
    """A clock in seconds that stands still until it is told."""

    seconds: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


@asynccontextmanager
async def kept(store: Store, key: MemoryKey, **settings: object) -> AsyncIterator[Keeper]:
    """Give a started keeper of the log in *store*."""
    async with Log(store, seconds=10) as log:
        options: dict[str, object] = {"monotonic": Clock(), **settings}
        keeper = Keeper(Recorder(log, lambda: 1), key, key.verifier(), **options)  # type: ignore[arg-type]
        await keeper.start()
        yield keeper


async def test_a_turn_signs_what_is_new_and_nothing_twice(store: Store, key: MemoryKey) -> None:
    """There is a signature where there are new entries, and none where there are none."""
    async with kept(store, key) as keeper:
        for expected in (1, 2):
            await keeper.recorder.reserve(RESERVED)
            await keeper.turn()
            await keeper.turn()
            assert len(key.signed) == expected
    with store.reading() as reader:
        notes = [stored.note for stored in reader.checkpoints()]
    assert [checkpoint.verified(note, key.verifier()).size for note in notes] == [1, 2]


async def test_openssl_verifies_a_checkpoint(store: Store, key: MemoryKey, tmp_path: Path) -> None:
    """The signature in a checkpoint is over the note's text, as an independent program sees it."""
    async with kept(store, key) as keeper:
        await keeper.recorder.reserve(RESERVED)
        note = Note.from_bytes(await keeper.checkpoint())
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    (tmp_path / "text").write_bytes(note.text.encode())
    (tmp_path / "signature").write_bytes(note.signatures[0].signature)
    pem = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    command = ("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "text")
    done = await asyncio.create_subprocess_exec(
        *command, "-sigfile", "signature", cwd=tmp_path, stdout=subprocess.PIPE
    )
    output, _ = await done.communicate()
    assert (done.returncode, output) == (0, b"Signature Verified Successfully\n")


async def test_what_was_left_open_is_closed_at_the_next_start(new_store: NewStore, key: MemoryKey) -> None:
    """A reservation without an outcome is closed as interrupted, once."""
    async with kept(new_store(), key) as keeper:
        done = await keeper.recorder.reserve(RESERVED)
        left = await keeper.recorder.reserve(RESERVED)
        await keeper.recorder.finish(Finished(time=2, reserved=done, outcome="authenticated"))
    for _ in range(2):
        async with kept(new_store(), key) as keeper:
            assert keeper.log.size == 4
    with new_store().reading() as reader:
        assert unfinished(reader) == {}
        last = decode(dict(stored_entries(reader, 0, 4))[3])
    assert last == Finished(time=1, reserved=left, outcome="interrupted")


async def test_what_was_abandoned_is_closed_at_the_next_turn(store: Store, key: MemoryKey) -> None:
    """An authentication that was cancelled is closed while the appliance runs on."""
    async with kept(store, key) as keeper:
        index = await keeper.recorder.reserve(RESERVED)
        keeper.recorder.abandon(index)
        await keeper.turn()
        assert keeper.recorder.settled == keeper.log.size == 2


async def test_who_is_cancelled_as_it_is_acknowledged_leaves_nothing_open(
    store: Store, key: MemoryKey
) -> None:
    """In the one turn of the loop in which both happen, a reservation is closed, and an outcome stays the only one."""
    cancelled: list[asyncio.Task[int]] = []

    def cancel(point: str) -> None:
        if point == "append.acknowledged" and cancelled:
            cancelled.pop().cancel()

    async with Log(store, seconds=10, fault=cancel) as log:
        keeper = Keeper(Recorder(log, lambda: 1), key, key.verifier(), monotonic=Clock())
        await keeper.start()
        cancelled.append(asyncio.create_task(keeper.recorder.reserve(RESERVED)))
        await asyncio.wait(list(cancelled))
        index = await keeper.recorder.reserve(RESERVED)
        outcome = Finished(time=2, reserved=index, outcome="authenticated")
        cancelled.append(asyncio.create_task(keeper.recorder.finish(outcome)))
        await asyncio.wait(list(cancelled))
        await keeper.turn()
    with store.reading() as reader:
        entries = [decode(content) for _, content in stored_entries(reader, 0, reader.head().size)]
    assert not cancelled
    assert [one for one in entries if isinstance(one, Finished)] == [
        outcome,
        Finished(time=1, reserved=0, outcome="interrupted"),
    ]


async def test_a_settled_log_is_not_read_again(new_store: NewStore, key: MemoryKey) -> None:
    """A start looks at what came after the last checkpoint, however long the log is."""
    async with kept(new_store(), key) as keeper:
        index = await keeper.recorder.reserve(RESERVED)
        await keeper.recorder.finish(Finished(time=2, reserved=index, outcome="authenticated"))
        await keeper.checkpoint()
    with new_store().reading() as reader:
        assert reader.head().settled == 2


async def test_a_store_behind_its_copies_is_not_written(tmp_path: Path, key: MemoryKey) -> None:
    """An older copy of the database is refused at the start, because a checkpoint elsewhere says more."""
    copies = Directory(tmp_path / "copies", lambda: NOW)
    path = tmp_path / "ledger.sqlite3"
    async with kept(SqliteStore(path, ORIGIN), key, sinks=[copies]) as keeper:
        await keeper.recorder.reserve(RESERVED)
        await keeper.checkpoint()
    older = path.read_bytes()
    async with kept(SqliteStore(path, ORIGIN), key, sinks=[copies]) as keeper:
        await keeper.checkpoint()
    path.write_bytes(older)
    with pytest.raises(LedgerRolledBack, match="was signed"):
        async with kept(SqliteStore(path, ORIGIN), key, sinks=[copies]):
            pass


async def test_a_log_beside_its_copies_is_not_written(tmp_path: Path, key: MemoryKey) -> None:
    """A log with as many but other entries than were signed is refused: it would be a fork."""
    copies = Directory(tmp_path / "copies", lambda: NOW)
    for number, terminal in enumerate(("desk-1", "desk-2")):
        store = SqliteStore(tmp_path / f"{number}.sqlite3", ORIGIN)
        async with Log(store, seconds=20) as log:
            recorder = Recorder(log, lambda: 1)
            keeper = Keeper(recorder, key, key.verifier(), monotonic=Clock(), sinks=[copies])
            if number:
                await log.append(b'{"kind":"pruned","before":0,"time":1,"version":1}')
                await log.append(b'{"kind":"pruned","before":0,"time":1,"version":1}')
                with pytest.raises(LedgerRolledBack, match="other entries"):
                    await keeper.start()
                continue
            await keeper.start()
            await recorder.reserve(
                Reserved(time=1, mode="pin", terminal=terminal, check="pin", checked_by="desk-1")
            )
            await keeper.checkpoint()


async def test_a_log_under_a_new_name_leaves_the_copies_of_the_former_one(
    tmp_path: Path, key: MemoryKey
) -> None:
    """After a restore the folder has another log's newest checkpoint: it stays there, and keeps nobody from starting."""
    copies = Directory(tmp_path / "copies", lambda: NOW)
    notes: list[bytes] = []
    for name in (ORIGIN, f"{ORIGIN}-restored"):
        store = SqliteStore(tmp_path / f"{len(notes)}.sqlite3", name)
        for _ in range(2):
            async with Log(store, seconds=20) as log:
                keeper = Keeper(
                    Recorder(log, lambda: 1), key, key.verifier(name), monotonic=Clock(), sinks=[copies]
                )
                await keeper.start()
                await keeper.recorder.reserve(RESERVED)
                note = await keeper.checkpoint()
        notes.append(note)
    former = f"checkpoint-of-{sha256(ORIGIN.encode()).hexdigest()[:16]}"
    found = {path.name: path.read_bytes() for path in (tmp_path / "copies").iterdir()}
    assert found == {"checkpoint": notes[1], "checkpoint-2026-11-22": notes[1], former: notes[0]}


async def test_copies_lie_in_a_folder(store: Store, key: MemoryKey, tmp_path: Path) -> None:
    """The folder has the newest checkpoint, and the last one of the day."""
    copies = Directory(tmp_path / "copies", lambda: NOW)
    async with kept(store, key, sinks=[copies]) as keeper:
        await keeper.recorder.reserve(RESERVED)
        note = await keeper.checkpoint()
    found = {path.name: path.read_bytes() for path in (tmp_path / "copies").iterdir()}
    assert found == {"checkpoint": note, "checkpoint-2026-11-22": note}


async def test_a_copy_that_fails_stops_nothing(store: Store, key: MemoryKey, tmp_path: Path) -> None:
    """A second place that cannot be written is counted, and the log goes on."""
    (tmp_path / "copies").write_text("in the way")
    copies = Directory(tmp_path / "copies", lambda: NOW)
    async with kept(store, key) as keeper:
        keeper.copies.sinks = [copies]
        await keeper.recorder.reserve(RESERVED)
        await keeper.turn()
        assert keeper.failures == {"directory": 1}
        assert await keeper.recorder.reserve(RESERVED) == 1


async def test_without_copies_for_too_long_nothing_is_reserved(
    store: Store, key: MemoryKey, tmp_path: Path
) -> None:
    """Where copies have to leave and none does, authentications are refused, until one does."""
    clock = Clock()
    async with kept(store, key, monotonic=clock, copy_hours=2.0) as keeper:
        await keeper.recorder.reserve(RESERVED)
        await keeper.turn()
        clock.seconds = 2.1 * 3600
        with pytest.raises(LedgerNotCopied):
            await keeper.recorder.reserve(RESERVED)
        keeper.copies.sinks = [Directory(tmp_path, lambda: NOW)]
        await keeper.checkpoint()
        await keeper.recorder.reserve(RESERVED)


async def test_a_restart_does_not_prolong_the_time_without_copies(
    new_store: NewStore, key: MemoryKey, tmp_path: Path
) -> None:
    """How long the first entry without a copy has waited is told by the log itself; a clock set back hides nothing."""
    hour = 3_600_000
    copies = Directory(tmp_path, lambda: NOW)
    now = 10 * hour

    @asynccontextmanager
    async def started(*sinks: Sink) -> AsyncIterator[Keeper]:
        async with Log(new_store(), seconds=10) as log:
            recorder = Recorder(log, lambda: now)
            keeper = Keeper(recorder, key, key.verifier(), monotonic=Clock(), sinks=sinks, copy_hours=2.0)
            await keeper.start()
            yield keeper

    async with started(copies) as keeper:
        index = await keeper.recorder.reserve(RESERVED)
        await keeper.recorder.finish(Finished(time=now, reserved=index, outcome="interrupted"))
        await keeper.turn()
    now += 50 * hour
    async with started() as keeper:
        # A quiet time needs no copy.
        index = await keeper.recorder.reserve(msgspec.structs.replace(RESERVED, time=now))
        await keeper.recorder.finish(Finished(time=now, reserved=index, outcome="interrupted"))
        await keeper.turn()
    for passed in (3 * hour, -3 * hour):
        now += passed
        async with started() as keeper:
            with pytest.raises(LedgerNotCopied):
                await keeper.recorder.reserve(RESERVED)
        now -= passed
    async with started(copies) as keeper:
        await keeper.turn()
        now += 3 * hour
        await keeper.recorder.reserve(RESERVED)


async def test_a_copy_that_could_not_leave_is_sent_again(
    store: Store, key: MemoryKey, tmp_path: Path
) -> None:
    """Though nothing new is signed, what has no copy yet is brought to its place once that is there again."""
    clock = Clock()
    (tmp_path / "copies").write_text("in the way")
    async with kept(
        store, key, monotonic=clock, sinks=[Directory(tmp_path / "copies", lambda: NOW)]
    ) as keeper:
        await keeper.recorder.reserve(RESERVED)
        await keeper.turn()
        (tmp_path / "copies").unlink()
        (tmp_path / "copies").mkdir()
        await keeper.turn()
        assert not any((tmp_path / "copies").iterdir())
        clock.seconds = 11.0
        await keeper.turn()
        assert not keeper.copies.is_behind
    assert len(key.signed) == 1
    assert (tmp_path / "copies" / "checkpoint").exists()


async def test_it_is_known_since_when_entries_have_no_copy(
    store: Store, key: MemoryKey, tmp_path: Path
) -> None:
    """For how long the first one has waited, and how long ago a copy has left; what is covered does not wait."""
    clock, places = Clock(), [Directory(tmp_path / "copies", lambda: NOW)]
    async with kept(store, key, monotonic=clock, sinks=places) as keeper:
        copies = keeper.copies
        assert (copies.age, copies.waiting, copies.has_place) == (None, None, True)
        (tmp_path / "copies").rmdir()
        (tmp_path / "copies").write_text("in the way")
        await keeper.recorder.reserve(RESERVED)
        await keeper.turn()
        clock.seconds = 100.0
        assert (copies.age, copies.waiting) == (None, 100.0)
        (tmp_path / "copies").unlink()
        (tmp_path / "copies").mkdir()
        await keeper.turn()
        clock.seconds = 130.0
        assert (copies.age, copies.waiting, copies.covered) == (30.0, None, keeper.log.size)


async def test_a_quiet_night_of_a_new_log_is_no_time_without_copies(
    store: Store, key: MemoryKey, tmp_path: Path
) -> None:
    """The first entry waits for its copy since it was there, however long nothing had come before."""
    clock = Clock()
    sinks = [Directory(tmp_path / "copies", lambda: NOW)]
    async with kept(store, key, monotonic=clock, sinks=sinks, copy_hours=1.0) as keeper:
        await keeper.turn()
        clock.seconds = 8 * 3600.0
        await keeper.turn()
        for _ in range(2):
            await keeper.recorder.reserve(RESERVED)
        assert keeper.copies.waiting == 0.0


async def test_two_logs_in_one_folder_are_compared_each_with_its_own(tmp_path: Path, key: MemoryKey) -> None:
    """Though another node's checkpoint has taken the place of ours, a store that was set back is not written."""
    copies = Directory(tmp_path / "copies", lambda: NOW)

    async def work(name: str, times: int) -> None:
        async with Log(SqliteStore(tmp_path / f"{name}.sqlite3", name), seconds=20) as log:
            recorder = Recorder(log, lambda: 1)
            keeper = Keeper(recorder, key, key.verifier(name), monotonic=Clock(), sinks=[copies])
            await keeper.start()
            for _ in range(times):
                await recorder.reserve(RESERVED)
                await keeper.turn()

    await work("node-1", 1)
    older = (tmp_path / "node-1.sqlite3").read_bytes()
    await work("node-1", 1)
    await work("node-2", 1)
    (tmp_path / "node-1.sqlite3").write_bytes(older)
    with pytest.raises(LedgerRolledBack):
        await work("node-1", 1)


async def test_the_copy_of_another_log_is_not_replaced_by_an_older_one(
    tmp_path: Path, key: MemoryKey
) -> None:
    """Of two nodes that both put one aside, the one that has read the folder earlier takes nothing away."""
    notes = {}
    for name, size in (("node-1", 0), ("node-2", 1), ("node-2", 2)):
        text = Checkpoint(name, size, bytes(32)).to_text()
        signed = key.verifier(name).signature(key.private.sign(text.encode()))
        notes[name, size] = Note(text, (signed,)).to_bytes()
    aside = tmp_path / f"checkpoint-of-{sha256(b'node-2').hexdigest()[:16]}"
    for found, expected in ((1, 1), (2, 2), (1, 2)):
        (tmp_path / "checkpoint").write_bytes(notes["node-2", found])
        await Directory(tmp_path, lambda: NOW).publish(notes["node-1", 0])
        assert aside.read_bytes() == notes["node-2", expected]


async def test_a_damaged_note_takes_no_good_ones_place(tmp_path: Path, key: MemoryKey) -> None:
    """What a cut-off share has left of another node's note is not put in the place of one that can be read."""
    text = Checkpoint("node-2", 1, bytes(32)).to_text()
    signature = key.verifier("node-2").signature(key.private.sign(text.encode()))
    good = Note(text, (signature,)).to_bytes()
    aside = tmp_path / f"checkpoint-of-{sha256(b'node-2').hexdigest()[:16]}"
    aside.write_bytes(good)
    (tmp_path / "checkpoint").write_bytes(good[: len(text) // 2])
    await Directory(tmp_path, lambda: NOW).publish(b"node-1\n0\n")
    assert aside.read_bytes() == good


@pytest.mark.parametrize("content", [b"", b"node-1\n", b"\xff"])
async def test_a_damaged_copy_is_named(store: Store, key: MemoryKey, tmp_path: Path, content: bytes) -> None:
    """What is no checkpoint in the folder for them stops the start, and the message says which file it is."""
    (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(LedgerProofInvalid, match=str(tmp_path / "checkpoint")):
        async with kept(store, key, sinks=[Directory(tmp_path, lambda: NOW)]):
            pass


async def test_a_copy_that_nobody_has_signed_is_named(store: Store, key: MemoryKey, tmp_path: Path) -> None:
    """Another key's checkpoint of our log stops the start, and the message says where it is."""
    text = Checkpoint(ORIGIN, 0, bytes(32)).to_text()
    other = MemoryKey()
    note = Note(text, (other.verifier().signature(other.private.sign(text.encode())),))
    (tmp_path / "checkpoint").write_bytes(note.to_bytes())
    with pytest.raises(LedgerProofInvalid, match="in the directory"):
        async with kept(store, key, sinks=[Directory(tmp_path, lambda: NOW)]):
            pass


async def test_a_folder_that_has_gone_is_not_made_again(
    new_store: NewStore, key: MemoryKey, tmp_path: Path
) -> None:
    """A share that is not mounted is a failure, at the start and later: no folder of this machine stands in for it."""
    sinks = [Directory(tmp_path / "share" / "copies", lambda: NOW)]
    async with kept(new_store(), key, sinks=sinks) as keeper:
        await keeper.recorder.reserve(RESERVED)
        await keeper.turn()
        assert keeper.failures == {}
    (tmp_path / "share").rename(tmp_path / "elsewhere")
    async with kept(new_store(), key, sinks=sinks) as keeper:
        assert keeper.failures == {"directory": 1}
        await keeper.turn()
        assert keeper.failures == {"directory": 2}
    assert not (tmp_path / "share").exists()


@dataclass(slots=True)
class SlowPlace:
    """A place for copies that answers when it is let."""

    let: asyncio.Event = field(default_factory=asyncio.Event)
    copied: list[int] = field(default_factory=list)
    name: str = "slow"

    async def prepare(self) -> None:
        """Do nothing."""

    async def publish(self, note: bytes) -> None:
        """Wait, and take *note*."""
        await self.let.wait()
        self.copied.append(checkpoint.told(note).size)

    async def newest(self, origin: str) -> bytes | None:
        """Return None: it has none yet."""
        assert origin == ORIGIN
        return None


async def test_a_slow_place_keeps_no_checkpoint_waiting(store: Store, key: MemoryKey) -> None:
    """What is new is signed while a copy is on its way; the newest leaves as soon as that has come there."""
    place = SlowPlace()
    async with kept(store, key, sinks=[place], seconds=0.01) as keeper:
        for _ in range(3):
            await keeper.recorder.reserve(RESERVED)
            await keeper.turn()
        assert keeper.newest is not None
        assert (keeper.newest.size, place.copied) == (3, [])
        place.let.set()
        keeper.seconds = 10.0
        await keeper.turn()
        assert place.copied == [1, 3]
        assert not keeper.copies.is_behind


async def test_the_last_checkpoint_leaves_before_the_end(store: Store, key: MemoryKey) -> None:
    """A place that is slower than two checkpoints lie apart is waited for, and then gets the newest."""
    place = SlowPlace()
    async with kept(store, key, sinks=[place], seconds=0.01) as keeper:
        await keeper.recorder.reserve(RESERVED)
        await keeper.turn()
        await keeper.recorder.reserve(RESERVED)
        ending = asyncio.create_task(keeper.end())
        while keeper.newest is None or keeper.newest.size < 2:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        assert place.copied == []
        place.let.set()
        await ending
        assert place.copied == [1, 2]


@dataclass(slots=True)
class WitnessServer:
    """A witness as the specification describes it, for one log."""

    log_key: VerifierKey
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    known: Checkpoint | None = None
    statuses: list[int] = field(default_factory=list)

    @property
    def key(self) -> VerifierKey:
        """What it signs with."""
        return VerifierKey("witness.example.com/w1", KeyType.COSIGNATURE, self.private.public_key())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split()[0])
        status, kind, body = self._answer(await reader.readexactly(length))
        self.statuses.append(status)
        lines = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(lines.encode() + body)
        await writer.drain()
        writer.close()

    def _answer(self, body: bytes) -> tuple[int, str, bytes]:
        proof, _, note = body.partition(b"\n\n")
        first, *steps = proof.split(b"\n")
        stated = checkpoint.verified(note, self.log_key)
        size = 0 if self.known is None else self.known.size
        if first != b"old %d" % size:
            return 409, "text/x.tlog.size", b"%d\n" % size
        from base64 import b64decode  # noqa: PLC0415

        if self.known is not None:
            steps_read = [b64decode(step) for step in steps]
            require_consistency(size, stated.size, self.known.root, stated.root, steps_read)
        self.known = stated
        signature = (7).to_bytes(8) + self.private.sign(cosigned(stated.to_text(), 7))
        return 200, "text/plain", self.key.signature(signature).to_text().encode()


async def test_a_witness_signs_too(store: Store, key: MemoryKey) -> None:
    """Each checkpoint goes to the witness with the proof that it continues the last one; its cosignature is kept."""
    witness = WitnessServer(key.verifier())
    server = await asyncio.start_server(witness.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, kept(store, key) as keeper:
        for _ in range(3):
            # A new client each time: it has to ask the witness what it knows.
            keeper.copies.witnesses = [HttpWitness(f"http://127.0.0.1:{port}/", witness.key)]
            await keeper.recorder.reserve(RESERVED)
            await keeper.turn()
        assert keeper.failures == {}
    with store.reading() as reader:
        newest = reader.newest_checkpoint()
    assert newest is not None
    assert Note.from_bytes(newest.note).signed_by([key.verifier(), witness.key]) == (
        key.verifier(),
        witness.key,
    )
    assert witness.statuses == [200, 409, 200, 409, 200]


class Mover(WitnessServer):
    """A witness that signs another text, and answers so that it would fit a note made of ours and its answer."""

    def _answer(self, body: bytes) -> tuple[int, str, bytes]:
        text = Note.from_bytes(body.partition(b"\n\n")[2]).text + "\n"
        signature = (7).to_bytes(8) + self.private.sign(cosigned(text, 7))
        return 200, "text/plain", b"\n" + self.key.signature(signature).to_text().encode()


async def test_a_cosignature_is_of_our_text_alone(store: Store, key: MemoryKey) -> None:
    """What a witness has signed beside it is no copy, and is not kept."""
    witness = Mover(key.verifier())
    server = await asyncio.start_server(witness.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, kept(store, key) as keeper:
        keeper.copies.witnesses = [HttpWitness(f"http://127.0.0.1:{port}/", witness.key)]
        await keeper.recorder.reserve(RESERVED)
        await keeper.turn()
        assert keeper.failures == {witness.key.name: 1}
        assert keeper.copies.covered == 0


async def test_a_witness_that_does_not_answer_stops_nothing(store: Store, key: MemoryKey) -> None:
    """A witness that cannot be reached is counted; checkpoints go on without it."""
    witness = WitnessServer(key.verifier())
    async with kept(store, key, witnesses=[HttpWitness("http://127.0.0.1:1/", witness.key)]) as keeper:
        await keeper.recorder.reserve(RESERVED)
        await keeper.turn()
        assert keeper.failures == {witness.key.name: 1}
        assert keeper.newest is not None


async def test_a_log_server_gets_each_checkpoint(tmp_path: Path) -> None:
    """Over TLS, framed by octet count, one message for each checkpoint, nothing lost of it."""
    command = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    files = ("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"))
    made = await asyncio.create_subprocess_exec(*command, *names, *files, stderr=subprocess.DEVNULL)
    await made.wait()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "localhost", 0, ssl=server_side)
    port = server.sockets[0].getsockname()[1]
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    async with server:
        await Syslog("localhost", port, trusted, "gateway", lambda: NOW).publish(
            "a\n1\n\n— a AAAA\n".encode()
        )
        got = await received
    expected = b"<109>1 2026-11-22T05:00:00Z gateway jpki-appliance - checkpoint - a | 1 |  | -- a AAAA"
    assert got == octet_counted(expected)
    assert message("a\n1\n\n— a AAAA\n".encode(), NOW, "gateway") == expected


async def test_a_slow_store_is_refused_and_its_late_entry_closed(
    tmp_path: Path, key: MemoryKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the deadline the authentication is refused; what became durable all the same is closed as interrupted."""
    hold, gate = threading.Event(), threading.Event()

    def slow(point: str) -> None:
        if point == "append.committed" and hold.is_set():
            gate.wait(30)

    store = SqliteStore(tmp_path / "ledger.sqlite3", ORIGIN, slow)
    async with Log(store, seconds=10) as log:
        keeper = Keeper(Recorder(log, lambda: 1), key, key.verifier(), monotonic=Clock())
        await keeper.start()
        hold.set()
        with monkeypatch.context() as patch:
            patch.setattr(log, "_seconds", 0.4)
            with pytest.raises(LedgerUnavailable):
                await keeper.recorder.reserve(RESERVED)
        hold.clear()
        gate.set()
        await log.run(lambda _writer, _frontier: None)
        await keeper.turn()
        assert keeper.recorder.settled == log.size == 2


async def test_who_has_given_up_needs_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the store had not begun when its caller was refused is not written."""
    gate = threading.Event()
    async with Log(SqliteStore(tmp_path / "ledger.sqlite3", ORIGIN), seconds=10) as log:
        with monkeypatch.context() as patch:
            patch.setattr(log, "_seconds", 0.4)
            busy = asyncio.create_task(log.run(lambda _writer, _frontier: gate.wait(30)))
            await asyncio.sleep(0)
            results = await asyncio.gather(log.append(b"late"), busy, return_exceptions=True)
        assert [type(result) for result in results] == [LedgerUnavailable, LedgerUnavailable]
        gate.set()
        assert await log.append(b"next") == 0
