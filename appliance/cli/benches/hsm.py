"""`jpki-appliance hsm bench`: how much of the HSM's speed reaches the callers."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from appliance import config, daemon
from appliance.hsm import softhsm
from appliance.hsm.bench import Goal, Report, Row, measure
from appliance.hsm.messages import TokenSetup
from appliance.hsm.place import Hsm
from appliance.hsm.vendor import SOFTHSM

_CHALLENGE_BYTES = 16
_WIDTH = 100
"""Characters of a line where there is no terminal to ask."""


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Measure the HSM of this configuration. [default: a SoftHSM token made for it]",
)
@click.option(
    "--seconds", type=click.FloatRange(min=2), default=60.0, show_default=True, help="How long to measure."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
def bench(file: Path | None, seconds: float, *, as_json: bool) -> None:
    """
    Measure signatures beside a bare C_Sign loop on the same token.

    Signs many random challenges with the institution key, in workers of its own; the ledger records none of them. Do
    not run it on an HSM that serves: the two would slow each other down, and there are four logins more.
    """
    with _hsm(file) as (hsm, state), Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=1.0)
        report = asyncio.run(measure(hsm, state, seconds, lambda part: progress.update(task, completed=part)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _show(report)


@contextmanager
def _hsm(file: Path | None) -> Iterator[tuple[Hsm, Path]]:
    """Give the first HSM of the configuration in *file* and its state, or a new token that is gone afterwards."""
    if file is not None:
        configuration = config.load(file)
        yield daemon.hsms(configuration)[0], configuration.path(configuration.settings.hsm.state)
        return
    with tempfile.TemporaryDirectory(prefix="jpki-bench-") as folder:
        token = Path(folder) / "softhsm"
        softhsm.provision_softhsm(token)
        yield Hsm("softhsm", _setup(token), softhsm.environment(token)), Path(folder) / "state"


def _setup(folder: Path) -> TokenSetup:
    return TokenSetup(
        vendor=SOFTHSM,
        module=str(softhsm.MODULE),
        token=softhsm.TOKEN_LABEL,
        pin_file=str(folder / softhsm.USER_PIN),
        institution_keys=(_spki(folder / softhsm.INSTITUTION_KEY),),
        token_key=_spki(folder / softhsm.TOKEN_KEY),
        challenge_bytes=_CHALLENGE_BYTES,
        challenges_per_minute=1,
        issuer="bench",
        token_lifetime_seconds=1,
    )


def _spki(file: Path) -> bytes:
    return load_pem_public_key(file.read_bytes()).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def _show(report: Report) -> None:
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=_WIDTH)
    table = Table("", "callers", "signatures/s", "of bare", "p50 ms", "p99 ms", "CPU ms", "signatures")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in report.rows:
        table.add_row(*_cells(row))
    console.print(table)
    for goal in report.goals:
        console.print(_sentence(goal))


def _cells(row: Row) -> tuple[str, ...]:
    who = {0: "bare C_Sign loop", 1: "1 worker"}.get(row.workers, f"{row.workers} workers")
    return (
        who,
        str(row.callers),
        f"{row.per_second:,.0f}",
        f"{row.of_bare:.2f}",
        f"{row.p50:.2f}",
        f"{row.p99:.2f}",
        f"{row.processor:.3f}",
        f"{row.signatures:,}",
    )


def _sentence(goal: Goal) -> str:
    sign, verdict = ("≥" if goal.at_least else "≤"), ("met" if goal.met else "not met")
    return f"{goal.name}: {goal.value:.2f} (goal {sign} {goal.limit:g}: {verdict})"
