"""
How fast the ledger is, beside the bare cost of what it rests on: one synced commit, one SHA-256.

Machines drift, and other programs come and go. So bare slots and ledger slots take turns; each ledger slot is
compared with the bare slots around it, and the median of those comparisons is told. Before that both are used for a
while: files have their length then, and statements are prepared.

A bare commit is one row like an entry in a table of its own, in the same database with the same settings, one after
another by a program that does nothing else; its cost is the mean. A caller's latency is what a task waits from its
call to the line after it, and it calls again at once.
"""

import asyncio
import resource
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.ledger import audit
from appliance.ledger.entries import Finished, Reserved, encode
from appliance.ledger.log import Log
from appliance.ledger.merkle import Frontier, leaf_hashes
from appliance.ledger.note import VerifierKey
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import Batch, Store, Writer
from appliance.ledger.tiles import bundle

ORIGIN: Final = "bench.invalid/ledger"
CALLERS: Final = (1, 10, 100)
_ROUNDS: Final = 5
_FILLED_BATCH: Final = 1000
_COMPARED_BATCH: Final = 100
_SMALL: Final = 10_000

Bare = Callable[[], None]
"""Does one synced commit."""


@dataclass(frozen=True, slots=True)
class Appends:
    """Durable appends by so many *callers*: a second, in bare commits a second, and latencies in bare commits."""

    store: str
    callers: int
    per_second: float
    bare_per_second: float
    ratio: float
    median: float
    p99: float
    bare_p99: float


@dataclass(frozen=True, slots=True)
class Verification:
    """Verifying *size* entries, beside the bare hashes over the same bytes in as many calls."""

    size: int
    seconds: float
    bare_seconds: float
    grown_kib: int
    """By how much the most memory of the process has grown meanwhile."""

    @property
    def ratio(self) -> float:
        """Of the bare rate."""
        return self.bare_seconds / self.seconds


@dataclass(frozen=True, slots=True)
class Growth:
    """One batch of 100 appended to a log of *small* and to one of *large* entries, in seconds."""

    small: int
    large: int
    small_seconds: float
    large_seconds: float

    @property
    def ratio(self) -> float:
        """Of the costs."""
        return self.large_seconds / self.small_seconds


def sample(number: int) -> bytes:
    """Return an entry like those of real authentications."""
    digest = sha256(b"%d" % number).hexdigest()
    if number % 2:
        return encode(
            Finished(
                time=number, reserved=number - 1, outcome="authenticated", holder=digest, revocation="good"
            )
        )
    return encode(
        Reserved(
            time=number,
            mode="pinless",
            terminal="desk-1",
            check="visual",
            checked_by="operator-3",
            challenge=digest,
            key=digest,
        )
    )


def bare_sqlite(path: Path) -> Bare:
    """Return one commit of one row in SQLite, synced as the ledger's."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE bare (entry BLOB NOT NULL)")
    entry = sample(0)

    def commit() -> None:
        connection.execute("INSERT INTO bare VALUES (?)", (entry,))

    return commit


def bare_postgres(conninfo: str) -> Bare:
    """Return one commit of one row in PostgreSQL."""
    connection = psycopg.connect(conninfo, autocommit=True)
    connection.execute("CREATE TABLE bare (entry BYTEA NOT NULL)")
    entry = sample(0)

    def commit() -> None:
        connection.execute("INSERT INTO bare VALUES (%b)", (entry,))

    return commit


async def appends(name: str, store: Store, bare: Bare, seconds: float) -> list[Appends]:
    """Return what *store* does for 1, 10 and 100 callers; each takes *seconds*."""
    found = []
    async with Log(store, seconds=30) as log:
        _bare_slot(bare, seconds / _ROUNDS)
        await _slot(log, max(CALLERS), seconds)
        for callers in CALLERS:
            slot = seconds / _ROUNDS / 2
            rates, medians, tails, bares = [], [], [], [_bare_slot(bare, slot)]
            for _ in range(_ROUNDS):
                latencies, took = await _slot(log, callers, slot)
                bares.append(_bare_slot(bare, slot))
                cost = statistics.mean(statistics.mean(times) for times in bares[-2:])
                latencies.sort()
                rates.append(len(latencies) / took * cost)
                medians.append(latencies[len(latencies) // 2] / cost)
                tails.append(latencies[len(latencies) * 99 // 100] / cost)
            single = sorted(one for times in bares for one in times)
            rate = 1 / statistics.mean(single)
            found.append(
                Appends(
                    store=name,
                    callers=callers,
                    per_second=statistics.median(rates) * rate,
                    bare_per_second=rate,
                    ratio=statistics.median(rates),
                    median=statistics.median(medians),
                    p99=statistics.median(tails),
                    bare_p99=single[len(single) * 99 // 100] * rate,
                )
            )
    return found


async def _slot(log: Log, callers: int, seconds: float) -> tuple[list[float], float]:
    """Return the latency of each append by *callers*, and how long all took."""
    latencies: list[float] = []
    entry, clock = sample(0), time.perf_counter
    began = clock()
    end = began + seconds

    async def call(append: Callable[[bytes], Awaitable[int]]) -> None:
        now = clock()
        while now < end:
            await append(entry)
            before, now = now, clock()
            latencies.append(now - before)

    await asyncio.gather(*(call(log.append) for _ in range(callers)))
    return latencies, clock() - began


def _bare_slot(bare: Bare, seconds: float) -> list[float]:
    latencies = []
    now = time.perf_counter()
    end = now + seconds
    while now < end:
        bare()
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    return latencies


def fill(store: Store, size: int) -> Frontier:
    """Append *size* entries to the empty *store*, quickly; return the tree's edge."""
    frontier = Frontier()
    writer = store.write()
    try:
        while frontier.size < size:
            _append(writer, frontier, min(_FILLED_BATCH, size - frontier.size))
    finally:
        writer.close()
    return frontier


def _append(writer: Writer, frontier: Frontier, count: int) -> None:
    first = frontier.size
    entries = [sample(first + place) for place in range(count)]
    hashes = leaf_hashes(entries)
    writer.append(Batch(first, b"".join(hashes), bundle(entries)), frontier.append(hashes))


def verification(store: Store, size: int) -> Verification:
    """Return what it costs to verify the *size* entries in *store*."""
    key = VerifierKey.of_log(ORIGIN, Ed25519PrivateKey.generate().public_key())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bare = _bare_hashes(size)
    began = time.perf_counter()
    with store.reading() as reader:
        audit.verify(reader, key)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Verification(size, seconds, (bare + _bare_hashes(size)) / 2, after - before)


def _bare_hashes(size: int) -> float:
    """Return the seconds that the hashes over a log of *size* entries take in themselves: a leaf and a node each."""
    entries = [sample(number) for number in range(_FILLED_BATCH)]
    left = right = bytes(32)
    took = 0.0
    for _ in range(size // _FILLED_BATCH):
        began = time.perf_counter()
        for entry in entries:
            sha256(b"\x00" + entry).digest()
            sha256(b"\x01" + left + right).digest()
        took += time.perf_counter() - began
    return took


def growth(folder: Path, large: int) -> Growth:
    """Return what a batch costs in a log of 10,000 and in one of *large* entries, in turns."""
    costs: dict[str, list[float]] = {}
    logs = []
    # Named for the part they play: both may have the same size.
    for part, size in (("small", _SMALL), ("large", large)):
        store = SqliteStore(folder / f"{part}.sqlite3", ORIGIN)
        frontier = fill(store, size)
        logs.append((part, store.write(), frontier))
    for _ in range(300):
        for part, writer, frontier in logs:
            began = time.perf_counter()
            _append(writer, frontier, _COMPARED_BATCH)
            costs.setdefault(part, []).append(time.perf_counter() - began)
    for _, writer, _ in logs:
        writer.close()
    return Growth(_SMALL, large, statistics.median(costs["small"]), statistics.median(costs["large"]))
