"""`jpki-appliance bench revocation`: import, look-up, and verification, against bare measures in the same run."""

import random
import secrets
import sqlite3
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from math import log2
from operator import truediv
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, perf_counter_ns
from typing import Final, TypeVar

import click
import msgspec
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from rich.console import Console
from rich.table import Table

from appliance.card.algorithm import Algorithm
from appliance.card.jpki import HolderProof, Mode
from appliance.card.nonce import Nonce
from appliance.revocation.importing import INDEX
from appliance.revocation.index import Edition, Listing, Writer
from appliance.simulator.crl import issue
from appliance.simulator.key_files import new_key
from appliance.simulator.people import AOBA
from appliance.simulator.pki import Hierarchy
from appliance.trust import proof
from appliance.trust.certificates import Anchors
from appliance.trust.proof import Expectation
from appliance.trust.revocation import Scope

T = TypeVar("T")

_MIB: Final = 1 << 20
_SERIALS: Final = 1 << 31
"""Real serial numbers have four bytes."""
_ROUNDS: Final = 5
"""Of look-ups."""
_WIDTH: Final = 110
_IMPORT: Final = """
import sys
from appliance.revocation.importer import main
status = main()
with open("/proc/self/status") as file:
    sys.stderr.write(next(line for line in file if line.startswith("VmHWM")).split()[1])
sys.exit(status)
"""


class Goal(msgspec.Struct, frozen=True):
    """One figure beside what it may be at most."""

    name: str
    figure: float
    at_most: float | None
    unit: str

    @property
    def met(self) -> bool:
        """Whether the goal was met; true where there is none."""
        return self.at_most is None or self.figure <= self.at_most


@click.command()
@click.option(
    "--entries", type=click.IntRange(min=1_000), default=1_000_000, show_default=True, help="Of the CRL."
)
@click.option(
    "--index-entries",
    type=click.IntRange(min=10_000),
    default=5_000_000,
    show_default=True,
    help="Of the index.",
)
@click.option("--lists", type=click.IntRange(min=1), default=2_000, show_default=True, help="In the index.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Of imports and verifications."
)
@click.option(
    "--look-ups",
    type=click.IntRange(min=100),
    default=100_000,
    show_default=True,
    help="In each round of them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
def revocation(  # noqa: PLR0913 - one parameter for each option
    *, entries: int, index_entries: int, lists: int, rounds: int, look_ups: int, as_json: bool
) -> None:
    """
    Measure revocation at national scale; exit status 1 where a goal is missed.

    Everything is made for it in a folder of its own. OpenSSL is the measure for imports, bare RSA verifications that for
    path and proof, SQLite the alternative for the index. Each figure is the median of its rounds, a ratio that of the
    rounds' own ratios; memory is the most of any round.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    hierarchy = Hierarchy.create(now)
    with tempfile.TemporaryDirectory(prefix="jpki-bench-") as name:
        folder = Path(name)
        goals = [
            *_import(folder, hierarchy, now, entries, rounds),
            *_look_up(folder, index_entries, lists, look_ups, now),
            *_verify(hierarchy, now, rounds),
        ]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(goals)).decode())
    else:
        _show(goals)
    if not all(goal.met for goal in goals):
        raise SystemExit(1)


def _import(folder: Path, hierarchy: Hierarchy, now: datetime, entries: int, rounds: int) -> list[Goal]:
    drawn = random.Random(1).sample(range(1, _SERIALS), entries)  # noqa: S311  # a measurement, not a secret
    generation = hierarchy.holders.generations[-1]
    lists = folder / "lists"
    lists.mkdir()
    file = lists / "list.crl"
    file.write_bytes(issue(generation, AOBA, drawn, now=now, number=1).public_bytes(Encoding.DER))
    del drawn
    anchor = hierarchy.ca_certificates[-1].public_bytes(Encoding.PEM)
    bare, ours, peaks = [], [], []
    for number in range(rounds):
        start = perf_counter()
        subprocess.run(("openssl", "crl", "-inform", "DER", "-noout", "-in", file), check=True)
        bare.append(perf_counter() - start)
        state = folder / f"state-{number}"
        job = {"folder": str(lists), "state": str(state), "anchors": b64encode(anchor).decode()}
        start = perf_counter()
        finished = subprocess.run(
            (sys.executable, "-c", _IMPORT), input=msgspec.json.encode(job), capture_output=True, check=True
        )
        ours.append(perf_counter() - start)
        peaks.append(int(finished.stderr) / 1024)
    size = file.stat().st_size / _MIB
    told = f"{entries:,} entries"
    return [
        Goal(f"openssl crl -noout, {told}", median(bare), None, "s"),
        Goal(f"import, {told}", median(ours), None, "s"),
        Goal("import / openssl", median(map(truediv, ours, bare)), 3.0, "x"),
        Goal(f"peak memory of the import of {size:.1f} MiB", max(peaks), 2 * size + 64, "MiB"),
    ]


def _look_up(folder: Path, most: int, lists: int, asked: int, now: datetime) -> list[Goal]:
    sizes = [size for size in (10_000, 100_000, 1_000_000) if size < most] + [most]
    goals: list[Goal] = []
    made = []
    for size in sizes:
        measured = _Measured.of(folder / f"{size}-in-1-{INDEX}", size, 1, asked, now)
        made.append(measured)
        goals += measured.goals(f"{size:,} entries in one list")
    # Smallest and largest once more, taking turns, so that what else the machine does meets both alike.
    turns = [(made[0].again(), made[-1].again()) for _ in range(5 * _ROUNDS)]
    ratio = median(large / small for small, large in turns)
    growth = log2(sizes[-1]) / log2(sizes[0])
    goals.append(Goal(f"median at {sizes[-1]:,} / at {sizes[0]:,}, log n", ratio, growth, "x"))
    measured = _Measured.of(folder / f"{most}-in-{lists}-{INDEX}", most, lists, asked, now)
    goals += measured.goals(f"{most:,} entries in {lists:,} lists", p99=50.0, grown=64.0)
    return [*goals, *_sqlite(folder, most, lists, asked)]


class _Measured(msgspec.Struct):
    """Look-ups of serial numbers drawn at random in an index: *times* (us), MiB the memory *grown* and of the *file*."""

    times: list[float]
    grown: float
    file: float
    filled: float
    look: Callable[[tuple[Scope, int]], bool]
    asked: list[tuple[Scope, int]]

    def again(self) -> float:
        """Return the median of another round."""
        return median(_timed(self.look, self.asked[: len(self.asked) // 10]))

    @classmethod
    def of(cls, path: Path, size: int, lists: int, count: int, now: datetime) -> "_Measured":
        """Make the index in *path*, and measure *count* look-ups."""
        drawn = random.Random(size)  # noqa: S311  # a measurement, not a secret
        scopes = [
            Scope(sha256(b"issuer").hexdigest(), sha256(str(n).encode()).hexdigest()) for n in range(lists)
        ]
        start = perf_counter()
        with Writer(path, {}) as writer:
            for scope in scopes:
                serials = (drawn.randrange(1, _SERIALS) for _ in range(size // lists))
                end = now + timedelta(days=1)
                writer.add(Listing(scope.issuer, scope.point, 1, 1, now, end, ()), serials)
        filled = perf_counter() - start
        asked = [(drawn.choice(scopes), drawn.randrange(1, _SERIALS)) for _ in range(count)]
        before = _resident()
        edition = Edition.open(path).sound()
        look = partial(_contains, edition)
        times = _usual(look, asked)
        return cls(times, _resident() - before, path.stat().st_size / _MIB, filled, look, asked)

    def goals(self, told: str, p99: float | None = None, grown: float | None = None) -> list[Goal]:
        """Return the figures as goals."""
        return [
            Goal(f"look-up, {told}, median", median(self.times), None, "us"),
            Goal("    p99", quantiles(self.times, n=100)[98], p99, "us"),
            Goal("    resident memory", self.grown, grown, "MiB"),
            Goal("    file", self.file, None, "MiB"),
            Goal("    filled in", self.filled, None, "s"),
        ]


def _contains(edition: Edition, pair: tuple[Scope, int]) -> bool:
    return edition.contains(*pair)


def _sqlite(folder: Path, size: int, lists: int, count: int) -> list[Goal]:
    """Measure the alternative: one table in SQLite, the serial numbers in its key."""
    path, drawn = folder / "revoked.sqlite", random.Random(size)  # noqa: S311  # a measurement, not a secret
    start = perf_counter()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE revoked (list INTEGER, serial INTEGER, PRIMARY KEY (list, serial)) WITHOUT ROWID"
        )
        for number in range(lists):
            serials = sorted({drawn.randrange(1, _SERIALS) for _ in range(size // lists)})
            connection.executemany(
                "INSERT INTO revoked VALUES (?, ?)", ((number, serial) for serial in serials)
            )
    filled = perf_counter() - start
    asked = [(drawn.randrange(lists), drawn.randrange(1, _SERIALS)) for _ in range(count)]

    def look(pair: tuple[int, int]) -> object:
        return connection.execute("SELECT 1 FROM revoked WHERE list = ? AND serial = ?", pair).fetchone()

    times = _usual(look, asked)
    connection.close()
    return [
        Goal(f"SQLite instead: look-up, {size:,} entries, median", median(times), None, "us"),
        Goal("    p99", quantiles(times, n=100)[98], None, "us"),
        Goal("    file", path.stat().st_size / _MIB, None, "MiB"),
        Goal("    filled in", filled, None, "s"),
    ]


def _verify(hierarchy: Hierarchy, now: datetime, rounds: int) -> list[Goal]:
    """Measure path and proof against the two RSA verifications in them, taking turns."""
    key = new_key()
    card = hierarchy.issue_card(now=now, private_key=key)
    expected = Expectation(
        Mode.PINLESS,
        Nonce.from_random(secrets.token_bytes(32)),
        "9912345",
        Algorithm.RSA_2048_PKCS1_SHA256,
    )
    message = expected.message(Mode.PINLESS)
    answer = HolderProof(expected.nonce, key.sign(message, padding.PKCS1v15(), SHA256()), card.certificate)
    anchors = Anchors(hierarchy.ca_certificates)
    known, encoded = (
        key.public_key(),
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )

    def check(public: object) -> None:
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(answer.signature, message, padding.PKCS1v15(), SHA256())

    def bare(_: int) -> None:
        # The CA's key is known; a holder's is another one each time, and the library makes it ready at its first use.
        check(known)
        check(load_der_public_key(encoded))

    def barest(_: int) -> None:
        check(known)
        check(known)

    def ours(_: int) -> object:
        return proof.verify(answer, expected, anchors, now)

    alone: list[float] = []
    whole: list[float] = []
    known_alone: list[float] = []
    for _ in range(rounds):
        # Taking turns, so that what else the machine does meets all three alike.
        times = [(_timed(barest, [0])[0], _timed(bare, [0])[0], _timed(ours, [0])[0]) for _ in range(2_000)]
        for figures, column in zip((known_alone, alone, whole), zip(*times, strict=True), strict=True):
            figures.append(median(column))
    return [
        Goal("two bare RSA verifications, both keys used before", median(known_alone), None, "us"),
        Goal("two bare RSA verifications, the holder's key new", median(alone), None, "us"),
        Goal("path and proof", median(whole), None, "us"),
        Goal("path and proof / bare", median(map(truediv, whole, alone)), 3.0, "x"),
    ]


def _usual(do: Callable[[T], object], inputs: Sequence[T]) -> list[float]:
    """Return the times of the median round, by its p99."""
    rounds = sorted(
        (_timed(do, inputs) for _ in range(_ROUNDS)), key=lambda times: quantiles(times, n=100)[98]
    )
    return rounds[_ROUNDS // 2]


def _timed(do: Callable[[T], object], inputs: Iterable[T]) -> list[float]:
    """Return how many microseconds each of *inputs* took."""
    times = []
    for given in inputs:
        start = perf_counter_ns()
        do(given)
        times.append((perf_counter_ns() - start) / 1000)
    return times


def _resident() -> float:
    """Return how many MiB of this process are in memory, mapped files included."""
    with Path("/proc/self/status").open() as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) / 1024


def _show(goals: list[Goal]) -> None:
    table = Table("what", "figure", "at most", "", box=None, pad_edge=False)
    for goal in goals:
        limit = "" if goal.at_most is None else f"{goal.at_most:,.2f} {goal.unit}"
        mark = "" if goal.at_most is None else ("met" if goal.met else "MISSED")
        table.add_row(goal.name, f"{goal.figure:,.2f} {goal.unit}", limit, mark)
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=_WIDTH)).print(table)
