"""`jpki-appliance bench ledger`: what the ledger costs beside what it rests on."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import click
import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from appliance.cli.folders import filling
from appliance.ledger import bench as ledger_bench
from appliance.ledger.bench import Appends, Growth, Verification
from appliance.ledger.postgres import PostgresStore
from appliance.ledger.sqlite import SqliteStore

_WIDTH = 110
_LEAST_RATIO = 20.0
_MOST_P99 = 5.0
_LEAST_VERIFY = 0.5
_MOST_GROWTH = 1.2


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), help="On the disk to measure. [default: a temporary one]"
)
@click.option("--postgres", help="Connection string of an empty database, to measure PostgreSQL too.")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="For each figure."
)
@click.option(
    "--entries", type=click.IntRange(min=1000), default=1_000_000, show_default=True, help="To verify."
)
@click.option(
    "--large",
    type=click.IntRange(min=10_000),
    default=10_000_000,
    show_default=True,
    help="Log to append to.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
def ledger(  # noqa: PLR0913 - its options
    folder: Path | None, postgres: str | None, *, seconds: float, entries: int, large: int, as_json: bool
) -> None:
    """
    Measure the ledger beside the bare cost of what it rests on, in this run.

    Durable appends by 1, 10 and 100 callers beside one synced commit, verification beside bare SHA-256, and what a
    batch costs in a large log beside a small one.
    """
    with filling(folder or Path(tempfile.gettempdir())):
        made = tempfile.TemporaryDirectory(prefix="jpki-ledger-bench-", dir=folder)
    with made as name:
        place = Path(name)
        # The daemon's event loop.
        found = uvloop.run(
            ledger_bench.appends(
                "sqlite",
                SqliteStore(place / "appends.sqlite3", ledger_bench.ORIGIN),
                ledger_bench.bare_sqlite(place / "bare.sqlite3"),
                seconds,
            )
        )
        if postgres is not None:
            store = PostgresStore(postgres, ledger_bench.ORIGIN)
            found += uvloop.run(
                ledger_bench.appends("postgres", store, ledger_bench.bare_postgres(postgres), seconds)
            )
        verified = SqliteStore(place / "verified.sqlite3", ledger_bench.ORIGIN)
        ledger_bench.fill(verified, entries)
        verification = ledger_bench.verification(verified, entries)
        growth = ledger_bench.growth(place, large)
    if as_json:
        report = {
            "appends": [asdict(one) for one in found],
            "verification": {**asdict(verification), "ratio": verification.ratio},
            "growth": {**asdict(growth), "ratio": growth.ratio},
        }
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _show(found, verification, growth)


def _show(found: list[Appends], verification: Verification, growth: Growth) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    table = Table(box=None, pad_edge=False)
    for column in (
        "store",
        "callers",
        "durable/s",
        "bare commits/s",
        "ratio",
        "p50",
        "p99",
        "bare p99",
        "goal",
    ):
        table.add_column(column, justify="left" if column == "store" else "right", no_wrap=True)
    for one in found:
        goal = "-"
        if one.callers == max(ledger_bench.CALLERS):
            goal = _met(met=one.ratio >= _LEAST_RATIO and one.p99 <= _MOST_P99)
        table.add_row(
            one.store,
            str(one.callers),
            f"{one.per_second:,.0f}",
            f"{one.bare_per_second:,.0f}",
            f"{one.ratio:.2f}",
            *(f"{value:.1f}" for value in (one.median, one.p99, one.bare_p99)),
            goal,
        )
    console.print(table)
    console.print("Latencies are in bare commits. Goal at 100 callers: ratio at least 20, p99 at most 5.")
    console.print(
        f"verify {verification.size:,} entries: {verification.seconds:.2f} s, bare hashes "
        f"{verification.bare_seconds:.2f} s, {verification.ratio:.2f} of the bare rate (at least 0.5: "
        f"{_met(met=verification.ratio >= _LEAST_VERIFY)}), memory grew by {verification.grown_kib} KiB"
    )
    console.print(
        f"100 appended at {growth.small:,}: {growth.small_seconds * 1e6:.0f} us, at {growth.large:,}: "
        f"{growth.large_seconds * 1e6:.0f} us, {growth.ratio:.2f} (at most 1.2: {_met(met=growth.ratio <= _MOST_GROWTH)})"
    )


def _met(*, met: bool) -> str:
    return "met" if met else "MISSED"
