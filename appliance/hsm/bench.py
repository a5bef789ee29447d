"""
How much of the HSM's own speed reaches the callers: the workers beside a bare C_Sign loop.

Machines drift, and other programs come and go. So the bare loop and the workers take turns, slot by slot, on the same
token; each slot of the workers is compared with the bare slots around it, and what is told is the median of those
comparisons. Processor time per signature is told too: it hardly depends on who else is running.

The workers sign challenges of the profile's length by the one path there is. The bare loop signs canaries and gives
no signature away (`bare`).
"""

import asyncio
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final, Self

import msgspec

from appliance.errors import BY_CODE, HsmUnavailable
from appliance.hsm.messages import Request, fingerprint, frame
from appliance.hsm.place import Hsm
from appliance.hsm.pool import Pool

CALLERS: Final = (1, 2, 4, 8)
CREWS: Final = (1, 2)
"""How many workers there are."""
_SLOT_SECONDS: Final = 0.5
_QUEUE_LIMIT: Final = 64
_PER_MINUTE: Final = 100_000
"""The rate that a bench allows its own workers: the most a worker can be told."""
_BARE: Final = (sys.executable, "-I", "-m", "appliance.hsm.bare")
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured: *callers* at once on *workers*; the bare loop has none."""

    workers: int
    callers: int


BARE: Final = Cell(0, 1)
CELLS: Final = tuple(Cell(workers, callers) for callers in (*CALLERS, _QUEUE_LIMIT) for workers in CREWS)


class Slot(msgspec.Struct, frozen=True):
    """What one turn has shown: how long each signature took, how long all of it, and what *processor* time it cost."""

    latencies: list[float]
    seconds: float
    processor: float

    @property
    def rate(self) -> float:
        """Signatures per second."""
        return len(self.latencies) / self.seconds


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, times in milliseconds. The bare loop has no *workers*."""

    workers: int
    callers: int
    signatures: int
    per_second: float
    p50: float
    p99: float
    processor: float
    """Processor time of all our processes per signature."""
    of_bare: float
    """Signatures per second beside the bare loop's: median over neighbouring slots."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal: the *value* reached, the *limit* it has to reach, or to keep to, and whether it does."""

    name: str
    value: float
    limit: float
    at_least: bool
    met: bool

    @classmethod
    def at_most(cls, name: str, value: float, limit: float) -> Self:
        """Return a goal that is met by small values."""
        return cls(name, value, limit, at_least=False, met=value <= limit)

    @classmethod
    def reaching(cls, name: str, value: float, limit: float) -> Self:
        """Return a goal that is met by large values."""
        return cls(name, value, limit, at_least=True, met=value >= limit)


@dataclass(frozen=True, slots=True)
class Report:
    """The whole bench. The rows with *queue_limit* callers show a pool just before it refuses."""

    rounds: int
    queue_limit: int
    rows: Sequence[Row]
    goals: Sequence[Goal]


class BareLoop:
    """The process of `bare` at the other end of a socket, waiting for its next turn. Made by `bare_loop`."""

    def __init__(self, channel: socket.socket, answers: BinaryIO) -> None:
        self._channel = channel
        self._answers = answers

    def sign_for(self, seconds: float) -> Slot:
        """Have it sign for *seconds*, and wait for it; raise what stopped it."""
        return msgspec.convert(self.ask(f"{seconds}\n".encode()), Slot)

    def ask(self, words: bytes) -> Mapping[str, object]:
        """Say *words* and return the answer, or raise what it reports."""
        try:
            self._channel.sendall(words)
            line = self._answers.readline()
        except ConnectionError as error:
            raise HsmUnavailable("the bare loop has ended") from error
        if not line:
            raise HsmUnavailable("the bare loop has ended")
        answer: Mapping[str, object] = msgspec.json.decode(line)
        if "code" in answer:
            raise BY_CODE[str(answer["code"])](str(answer["detail"]))
        return answer


@contextmanager
def bare_loop(hsm: Hsm) -> Iterator[BareLoop]:
    """Give a bare loop on the token of *hsm*, logged in; raise what stopped it."""
    ours, theirs = socket.socketpair()
    with ours, ours.makefile("rb") as answers:
        with theirs:
            process = subprocess.Popen(
                _BARE,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env={**_ENVIRONMENT, **hsm.environment},
                start_new_session=True,  # a terminal's Ctrl-C must not hit it in its login
            )
        try:
            loop = BareLoop(ours, answers)
            loop.ask(frame(Request(0, hsm.setup)))
            yield loop
        finally:
            # It ends by itself when it hears nothing more. It is never killed: it may be logging in.
            ours.shutdown(socket.SHUT_RDWR)
            process.wait()


@dataclass(slots=True)
class Record:
    """The slots of one cell, and the rate of each beside the bare loop's."""

    slots: list[Slot] = field(default_factory=list)
    of_bare: list[float] = field(default_factory=list)

    def row(self, cell: Cell) -> Row:
        """Return the line of the table for *cell*."""
        latencies = sorted(latency for slot in self.slots for latency in slot.latencies)
        return Row(
            workers=cell.workers,
            callers=cell.callers,
            signatures=len(latencies),
            per_second=statistics.median(slot.rate for slot in self.slots),
            p50=1000 * _percentile(latencies, 50),
            p99=1000 * _percentile(latencies, 99),
            processor=1000 * sum(slot.processor for slot in self.slots) / len(latencies),
            of_bare=statistics.median(self.of_bare),
        )


async def measure(
    hsm: Hsm, state: Path, seconds: float, progress: Callable[[float], None] = lambda _: None
) -> Report:
    """
    Measure *hsm* for about *seconds*; *progress* is told the part that is done. Raises what the HSM or a worker reports.

    The token is logged in to four times: by the workers of both pools, which look for the marker of a rejected PIN in
    the folder *state* before they do and leave one there, and then by the bare loop.
    """
    hsm = replace(hsm, setup=msgspec.structs.replace(hsm.setup, challenges_per_minute=_PER_MINUTE))
    slots_in_round = 2 * len(CELLS)
    slot_seconds = min(_SLOT_SECONDS, seconds / slots_in_round)
    rounds = max(1, round(seconds / slots_in_round / slot_seconds))
    records = {cell: Record() for cell in (BARE, *CELLS)}
    async with AsyncExitStack() as parts:
        pools = {
            workers: await parts.enter_async_context(
                Pool([replace(hsm, workers=workers)], state=state, queue_limit=_QUEUE_LIMIT)
            )
            for workers in CREWS
        }
        # The last one to log in: by now the PIN is known to be right.
        bare = parts.enter_context(bare_loop(hsm))
        before = await asyncio.to_thread(bare.sign_for, slot_seconds)
        for number in range(rounds):
            # Back and forth, so that no cell is always the first after a pause.
            for place, cell in enumerate(CELLS if number % 2 == 0 else reversed(CELLS)):
                slot = await _pool_slot(pools[cell.workers], hsm, cell.callers, slot_seconds)
                after = await asyncio.to_thread(bare.sign_for, slot_seconds)
                records[cell].slots.append(slot)
                records[cell].of_bare.append(2 * slot.rate / (before.rate + after.rate))
                records[BARE].slots.append(after)
                records[BARE].of_bare.append(1.0)
                before = after
                progress((number + (place + 1) / len(CELLS)) / rounds)
    return Report(
        rounds, _QUEUE_LIMIT, [record.row(cell) for cell, record in records.items()], _goals(records)
    )


async def _pool_slot(pool: Pool, hsm: Hsm, callers: int, seconds: float) -> Slot:
    """Have *callers* sign challenges one after another for *seconds*."""
    key = fingerprint(hsm.setup.institution_keys[0])
    length = hsm.setup.challenge_bytes
    latencies: list[float] = []
    began = time.perf_counter()
    processor = _processor_seconds()

    async def call() -> None:
        now = began
        while now < began + seconds:
            asked = time.perf_counter()
            await pool.sign_challenge(secrets.token_bytes(length), key)
            now = time.perf_counter()
            latencies.append(now - asked)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(call())
    return Slot(latencies, time.perf_counter() - began, _processor_seconds() - processor)


def _goals(records: Mapping[Cell, Record]) -> list[Goal]:
    most = CALLERS[-1]
    one, two = records[Cell(1, most)], records[Cell(2, most)]
    doubled = [second.rate / first.rate for first, second in zip(one.slots, two.slots, strict=True)]
    tail = max(
        row.p99 / row.p50
        for row in (records[cell].row(cell) for cell in CELLS)
        if row.callers == _QUEUE_LIMIT
    )
    return [
        Goal.reaching("one worker beside the bare loop", statistics.median(one.of_bare), 0.9),
        Goal.reaching("two workers beside one", statistics.median(doubled), 1.8),
        Goal.at_most("p99 beside p50 at the queue limit", tail, 3.0),
    ]


def _processor_seconds() -> float:
    """Return the processor time that this process and its children have used up to now."""
    nanoseconds = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            nanoseconds += int(Path(f"/proc/{child}/schedstat").read_text().split()[0])
    return time.process_time() + nanoseconds / 1e9


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
