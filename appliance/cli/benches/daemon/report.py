"""What the bench tells: rows as they were measured, and the goals they are held to. Times in milliseconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from appliance.hsm.bench import Goal

MOST_OF_BARE: Final = 2.5
MOST_ADDED_P50: Final = 1.0
MOST_ADDED_P99: Final = 10.0
ROUND_TRIPS: Final = 2.0
MOST_KIB_EACH: Final = 60.0
MOST_HEARTBEAT: Final = 5.0
MOST_GROWTH_OF_P99: Final = 2.0


@dataclass(frozen=True, slots=True)
class Bare:
    """The bare C_Sign loop on the same token: *processor* milliseconds of one signature, and how long it takes."""

    signatures: int
    per_second: float
    processor: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Row:
    """
    One way of asking. *processor* is that of all our processes for one authentication, and *of_bare* that beside the
    bare signature of the neighbouring slots; *waited* is from the challenge's arrival at the daemon until the signed answer
    left it, *answered* the same seen from the terminal.
    """

    workers: int
    callers: int
    rate: float | None
    authentications: int
    per_second: float
    processor: float
    of_bare: float
    waited_p50: float
    waited_p99: float
    answered_p50: float
    answered_p99: float
    whole_p50: float
    whole_p99: float
    refused: int
    refused_p50: float
    refused_p99: float
    round_trips: float
    frames: float
    outcomes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """What one part takes of an authentication: *processor* in milliseconds, and beside one bare signature."""

    name: str
    processor: float
    of_bare: float


@dataclass(frozen=True, slots=True)
class Idle:
    """What terminals cost that only are connected; *processor* is the part of one core. The load's own is not in it."""

    terminals: int
    connected_in: float
    kib_each: float
    heartbeat_seconds: float
    watched_seconds: float
    processor: float


@dataclass(frozen=True, slots=True)
class Report:
    """The whole bench."""

    bare: Bare
    rows: Sequence[Row]
    parts: Sequence[Part]
    idle: Idle
    goals: Sequence[Goal]


@dataclass(frozen=True, slots=True)
class Rows:
    """
    The rows that goals are about.

    *usual* has several callers at once, *half* half of what those are able to, *full* as many as are let in at once,
    *beyond* more than that.
    """

    one: Row
    usual: Row
    half: Row
    full: Row
    beyond: Row


def goals(bare: Bare, rows: Rows, idle: Idle) -> list[Goal]:
    """Return the goals, with what was measured of each."""
    usual, half, full, beyond = rows.usual, rows.half, rows.full, rows.beyond
    return [
        Goal.at_most("processor time of one authentication, in bare signatures", usual.of_bare, MOST_OF_BARE),
        Goal.at_most(
            "challenge to signed answer at half load, p50 above bare, ms",
            half.waited_p50 - bare.p50,
            MOST_ADDED_P50,
        ),
        Goal.at_most(
            "challenge to signed answer at half load, p99 above bare, ms",
            half.waited_p99 - bare.p99,
            MOST_ADDED_P99,
        ),
        Goal.at_most("round trips to the terminal", usual.round_trips, ROUND_TRIPS),
        Goal.at_most("memory of an idle terminal, KiB", idle.kib_each, MOST_KIB_EACH),
        Goal.at_most("processor time of idle terminals, % of a core", 100 * idle.processor, MOST_HEARTBEAT),
        Goal.at_most(
            "p99 with more callers than are let in, beside p99 with as many",
            beyond.whole_p99 / full.whole_p99 if full.whole_p99 else 0.0,
            MOST_GROWTH_OF_P99,
        ),
    ]
