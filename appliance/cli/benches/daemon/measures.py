"""
What is measured, slot by slot.

Machines drift, and other programs come and go. So the bare loop and the daemon take turns on the same token, and the
processor time of each slot of the daemon's is compared with the bare slots around it. The latencies of the bare loop
are those it has while the daemon rests.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from appliance import config, daemon
from appliance.cli.benches.daemon.crowd import Shown
from appliance.cli.benches.daemon.processes import Used, resident, used
from appliance.cli.benches.daemon.report import Bare, Idle, Part, Report, Row, Rows, goals
from appliance.cli.benches.daemon.running import Crowd, Node, crowd, running
from appliance.cli.benches.daemon.site import Clinic
from appliance.hsm.bench import BareLoop, Slot, bare_loop

_WORKERS: Final = 2
_USUAL: Final = 8
"""Callers at once where nothing else is said: a busy clinic."""
_WARM_TERMINALS: Final = 16
"""Connected before memory is looked at, so that what is made once is not counted as theirs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How much is measured: *rounds* of slots of *seconds* for each row, *terminals* that only are connected, for
    *watched* seconds. *at_once* authentications are let in; *crews* are numbers of workers beside the usual one.
    """

    rounds: int = 3
    seconds: float = 2.0
    at_once: int = 32
    terminals: int = 2000
    watched: float = 20.0
    crews: tuple[int, ...] = (1, 3)

    @property
    def beyond(self) -> int:
        """How many callers come where more come than are let in."""
        return 2 * self.at_once


QUICK: Final = Plan(rounds=1, seconds=0.5, at_once=4, terminals=20, watched=0.5, crews=())
Progress = Callable[[str], None]


@dataclass(slots=True)
class Measured:
    """The slots of one row: how long cards *waited*, what the daemon used in each, and that beside the bare slots around it."""

    shown: list[Shown] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    used: list[Used] = field(default_factory=list)
    of_bare: list[float] = field(default_factory=list)

    def row(self, workers: int, callers: int, rate: float | None) -> Row:
        """Return the line of the table."""
        answered = sorted(one for shown in self.shown for one in shown.answered)
        waited = sorted(self.waited)
        whole = sorted(one for shown in self.shown for one in shown.whole)
        refused = sorted(one for shown in self.shown for one in shown.refused)
        outcomes: Counter[str] = Counter()
        for shown in self.shown:
            outcomes.update(shown.outcomes)
        count = max(1, len(whole))
        return Row(
            workers=workers,
            callers=callers,
            rate=rate,
            authentications=len(whole),
            per_second=statistics.median(len(one.whole) / one.seconds for one in self.shown),
            processor=1000 * sum(one.total for one in self.used) / count,
            of_bare=statistics.median(self.of_bare),
            waited_p50=_percentile(waited, 50),
            waited_p99=_percentile(waited, 99),
            answered_p50=_percentile(answered, 50),
            answered_p99=_percentile(answered, 99),
            whole_p50=_percentile(whole, 50),
            whole_p99=_percentile(whole, 99),
            refused=len(refused),
            refused_p50=_percentile(refused, 50),
            refused_p99=_percentile(refused, 99),
            round_trips=sum(one.scenarios for one in self.shown) / count,
            frames=sum(one.frames for one in self.shown) / count,
            outcomes=dict(outcomes),
        )


class Bench:
    """Slots on one *node*, by one *crowd*, with bare slots between them."""

    def __init__(self, node: Node, load: Crowd, bare: BareLoop, plan: Plan) -> None:
        self._node, self._load, self._bare, self._plan = node, load, bare, plan
        self.bare: list[Slot] = [self._bare_slot()]

    def row(self, workers: int, callers: int, rate: float | None = None) -> Row:
        """Measure one row."""
        measured = Measured()
        for _ in range(self._plan.rounds):
            before, waits = used(self._node.pid), len(self._node.waits())
            shown = self._load.turn(self._plan.seconds, callers, rate)
            spent = used(self._node.pid).since(before)
            measured.waited += self._node.waits(waits)
            around = [self.bare[-1], self._bare_slot()]
            self.bare.append(around[-1])
            measured.shown.append(shown)
            measured.used.append(spent)
            measured.of_bare.append(spent.total / max(1, len(shown.whole)) / _one_signature(around))
        return measured.row(workers, callers, rate)

    def parts(self, callers: int) -> list[Part]:
        """
        Measure what each part of the daemon takes.

        Workers and the ledger's thread as the kernel counts them, the event loop's thread by samples (`sampling`).
        """
        sampled: dict[str, float] = {}
        before = used(self._node.pid)
        with self._node.profiled(sampled):
            shown = self._load.turn(self._plan.rounds * self._plan.seconds, callers)
        spent = used(self._node.pid).since(before)
        bare = _one_signature([self.bare[-1], self._bare_slot()])
        found = {
            "HSM workers, both signatures": spent.children,
            "ledger's thread: SQLite, the disk": spent.threads,
            **sampled,
        }
        count = max(1, len(shown.whole))
        return [
            Part(name, 1000 * seconds / count, seconds / count / bare)
            for name, seconds in sorted(found.items(), key=lambda item: -item[1])
        ]

    def _bare_slot(self) -> Slot:
        return self._bare.sign_for(min(0.5, self._plan.seconds))


def measure(folder: Path, plan: Plan, progress: Progress) -> Report:
    """Measure everything in *folder*, which is absent or empty; *progress* is told what is being measured."""
    progress("a clinic with its terminals")
    clinic = Clinic.build(folder, max(plan.terminals + _WARM_TERMINALS, plan.beyond))
    rows: list[Row] = []
    for workers in plan.crews:
        with _bench(clinic, plan, workers) as bench:
            progress(f"{workers} workers")
            rows.append(bench.row(workers, plan.at_once))
    with _bench(clinic, plan, _WORKERS) as bench:
        usual_callers = min(_USUAL, plan.at_once)

        def row(callers: int, rate: float | None = None) -> Row:
            progress(f"{_WORKERS} workers, {callers} callers")
            return bench.row(_WORKERS, callers, rate)

        one, usual, full, beyond = map(row, (1, usual_callers, plan.at_once, plan.beyond))
        # Half of what several callers at once can have.
        half = row(usual_callers, max(1.0, usual.per_second / 2))
        progress("where the time goes")
        parts = bench.parts(usual_callers)
        slots = bench.bare
    rows += (one, usual, half, full, beyond)
    progress(f"{plan.terminals} idle terminals")
    idle = _idle(clinic, plan)
    bare = _bare(slots)
    held = goals(bare, Rows(one, usual, half, full, beyond), idle)
    return Report(bare, sorted(rows, key=lambda found: found.workers), parts, idle, held)


@contextmanager
def _bench(clinic: Clinic, plan: Plan, workers: int) -> Iterator[Bench]:
    name = f"workers-{workers}"
    with (
        running(clinic, name, workers=workers, at_once=plan.at_once) as node,
        crowd(clinic) as load,
        # The last one to log in: by now the PIN is known to be right.
        bare_loop(daemon.hsms(config.load(clinic.folder / f"{name}.toml"))[0]) as bare,
    ):
        load.connect(0, plan.beyond)
        load.turn(plan.seconds, min(_USUAL, plan.at_once))
        yield Bench(node, load, bare, plan)


def _idle(clinic: Clinic, plan: Plan) -> Idle:
    with running(clinic, "idle", workers=1, at_once=plan.at_once) as node, crowd(clinic) as load:
        load.connect(0, _WARM_TERMINALS)
        load.turn(plan.seconds, min(_USUAL, plan.at_once))
        before = resident(node.pid)
        connected = load.connect(_WARM_TERMINALS, plan.terminals)
        # Let what only belonged to connecting end: nothing tells when it has.
        time.sleep(min(1.0, plan.watched))
        grown = resident(node.pid) - before
        began, spent = time.perf_counter(), used(node.pid)
        time.sleep(plan.watched)  # the time over which idling is measured
        watched = time.perf_counter() - began
        processor = used(node.pid).since(spent).total / watched
    heartbeat = config.load(clinic.folder / "idle.toml").settings.terminals.heartbeat_seconds
    return Idle(
        plan.terminals, connected.seconds, grown / 1024 / plan.terminals, heartbeat, watched, processor
    )


def _bare(slots: Sequence[Slot]) -> Bare:
    latencies = sorted(one for slot in slots for one in slot.latencies)
    return Bare(
        signatures=len(latencies),
        per_second=statistics.median(slot.rate for slot in slots),
        processor=1000 * sum(slot.processor for slot in slots) / len(latencies),
        p50=_percentile(latencies, 50),
        p99=_percentile(latencies, 99),
    )


def _one_signature(slots: Sequence[Slot]) -> float:
    """Return the seconds of processor time that one bare signature takes in *slots*."""
    return sum(slot.processor for slot in slots) / sum(len(slot.latencies) for slot in slots)


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Return a percentile in milliseconds, 0 where there is nothing."""
    return 1000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0
