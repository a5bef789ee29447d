"""`jpki-appliance bench daemon`: what a whole authentication costs beside the one signature that it is about."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from appliance.cli.benches.daemon.crowd import more_files
from appliance.cli.benches.daemon.measures import QUICK, Plan, measure
from appliance.cli.benches.daemon.report import Bare, Idle, Part, Report, Row
from appliance.hsm.bench import Goal

_WIDTH = 160


@click.command()
@click.option("--quick", is_flag=True, help="Show that it works; the figures mean nothing.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.5, max=60),
    default=2.0,
    show_default=True,
    help="Of each slot; there are three for each row.",
)
@click.option(
    "--terminals",
    type=click.IntRange(min=1, max=4000),
    default=2000,
    show_default=True,
    help="Idle terminals.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the tables.")
def daemon(seconds: float, terminals: int, *, quick: bool, as_json: bool) -> None:
    """
    Measure the whole daemon beside a bare C_Sign loop on the same token.

    Everything is made for it and gone afterwards: a SoftHSM token, a clinic with terminals over TLS, a load that is a
    process of its own. The exit status is 1 where a goal is missed, and 0 with --quick.
    """
    more_files()
    plan = QUICK if quick else Plan(seconds=seconds, terminals=terminals)
    tell = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="jpki-bench-") as folder,
        tell.status("starting") as status,
    ):
        report = measure(Path(folder) / "site", plan, status.update)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _show(report)
    if not quick and not all(goal.met for goal in report.goals):
        click.get_current_context().exit(1)


def _show(report: Report) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    console.print(_bare(report.bare))
    console.print(_rows(report.rows))
    console.print(
        "Times in ms. CPU is of all our processes for one authentication. Card is how long the card waited for the"
    )
    console.print(
        "appliance's signature, challenge the same seen from the terminal, whole from a reception's request to its token.\n"
    )
    console.print(_parts(report.parts))
    console.print(_idle(report.idle))
    for goal in report.goals:
        console.print(_sentence(goal))


def _bare(bare: Bare) -> str:
    return (
        f"bare C_Sign: {bare.per_second:,.0f}/s, CPU {bare.processor:.3f} ms, p50 {bare.p50:.2f} ms, "
        f"p99 {bare.p99:.2f} ms, {bare.signatures:,} signatures\n"
    )


def _rows(rows: Sequence[Row]) -> Table:
    table = _table(
        "workers", "callers", "asked/s", "done/s", "CPU", "of bare", "card p50", "p99", "challenge p50", "p99", "whole p50", "p99",
        "refused", "in p50", "p99", "trips", "frames",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            str(row.workers),
            str(row.callers),
            "-" if row.rate is None else f"{row.rate:,.0f}",
            f"{row.per_second:,.0f}",
            f"{row.processor:.2f}",
            f"{row.of_bare:.2f}",
            f"{row.waited_p50:.1f}",
            f"{row.waited_p99:.1f}",
            f"{row.answered_p50:.1f}",
            f"{row.answered_p99:.1f}",
            f"{row.whole_p50:.1f}",
            f"{row.whole_p99:.1f}",
            f"{row.refused:,}",
            f"{row.refused_p50:.1f}" if row.refused else "-",
            f"{row.refused_p99:.1f}" if row.refused else "-",
            f"{row.round_trips:.2f}",
            f"{row.frames:.1f}",
        )
    return table


def _parts(parts: Sequence[Part]) -> Table:
    table = _table("part", "CPU ms", "of bare")
    table.columns[0].justify = "left"
    for part in parts:
        table.add_row(part.name, f"{part.processor:.3f}", f"{part.of_bare:.2f}")
    return table


def _idle(idle: Idle) -> str:
    return (
        f"\n{idle.terminals:,} idle terminals over TLS, connected in {idle.connected_in:.1f} s: {idle.kib_each:.1f} KiB "
        f"each, {100 * idle.processor:.2f} % of a core, a heartbeat every {idle.heartbeat_seconds:.0f} s\n"
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _sentence(goal: Goal) -> str:
    sign, verdict = ("≥" if goal.at_least else "≤"), ("met" if goal.met else "MISSED")
    return f"{goal.name}: {goal.value:.2f} (goal {sign} {goal.limit:g}: {verdict})"
