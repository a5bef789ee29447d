"""`jpki-appliance ledger`: verify, prove, export, prune, back up what is remembered."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from appliance import config
from appliance.cli.choice import Choice
from appliance.cli.installed import config_option
from appliance.config import Configuration, read_bounded
from appliance.errors import LedgerEntryAbsent
from appliance.ledger import audit, backup, checkpoint, entries, export, place, proof, retention
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.note import VerifierKey
from appliance.ledger.store import Reader, Store, fetching, stored_entries

_DAY = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]
_INDEX = click.IntRange(0, (1 << 53) - 1)
"""As large as an entry can say it."""
_INCOMPLETE: Final = 3
"""Exit status where a ledger was restored, and entries are missing that were signed after it."""


class Ledger:
    """The ledger that the configuration in *file* describes. It is read when it is needed: help is told without one."""

    def __init__(self, file: Path, origin: str | None, public_key: Path | None) -> None:
        self._file, self._named, self._public_key = file, origin, public_key

    @cached_property
    def configuration(self) -> Configuration:
        """What the file says."""
        return config.load(self._file)

    @property
    def _origin(self) -> str:
        return self._named or self.configuration.settings.ledger.origin

    @property
    def store(self) -> Store:
        """Where it is."""
        return place.store(self.configuration).with_origin(self._origin)

    @property
    def key(self) -> VerifierKey:
        """What its checkpoints verify with."""
        return replace(place.verifier_key(self.configuration, self._public_key), name=self._origin)

    def saved(self, path: Path | None) -> Checkpoint | None:
        """Return the checkpoint in the file *path*."""
        return None if path is None else checkpoint.verified(read_bounded(path), self.key)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Open it for reading."""
        with self.store.reading() as reader:
            yield reader


@click.group()
@config_option()
@click.option(
    "--origin", help="Another ledger in the same database: one that was restored. [default: ledger.origin]"
)
@click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    help="Key of that ledger (PEM), from before it was changed. [default: ledger.key]",
)
@click.pass_context
def ledger(context: click.Context, file: Path, origin: str | None, public_key: Path | None) -> None:
    """Verify, prove, export, prune and back up the record of all authentications."""
    context.obj = Ledger(file, origin, public_key)


@ledger.command()
@click.option("--checkpoint", "saved", type=click.Path(path_type=Path), help="One that was kept elsewhere.")
@click.option(
    "--contents", is_flag=True, help="Also read every entry: its spelling, and that each is finished once."
)
@click.pass_obj
def verify(this: Ledger, saved: Path | None, *, contents: bool) -> None:
    """
    Hash the whole ledger again and compare it with what was signed.

    Only a checkpoint from elsewhere shows that nothing was cut off or written anew from the start.
    """
    known = this.saved(saved)
    with this.reading() as reader, _bar() as bar:
        task = bar.add_task(this.store.origin, total=reader.head().size)
        report = audit.verify(
            reader,
            this.key,
            saved=known,
            contents=contents,
            progress=lambda done: bar.update(task, completed=done),
        )
    click.echo(f"{report.size} entries in order, root {report.root.hex()}")
    click.echo(
        f"{report.checkpoints} checkpoints verified; {report.size - report.covered} entries after the newest"
    )
    if report.pruned:
        click.echo(f"entries below {report.pruned} are pruned")
    if contents and report.pruned > report.pruned_said:
        click.echo(
            f"the ledger itself says so of those below {report.pruned_said}: of the others it is the database's word"
            " alone, unless they were pruned just now or the ledger is closed"
        )
    if report.unfinished is not None:
        click.echo(f"{report.unfinished} unfinished, clock went back {report.clock_steps} times")
        click.echo(
            f"emergency windows opened: {report.windows}; authentications with nobody's check in them: {report.unchecked}"
        )
    if known is None:
        click.echo(
            "No saved checkpoint was given: a ledger that was cut off or rewritten as a whole would not show."
        )


@ledger.command("proof")
@click.argument("index", type=_INDEX)
@click.pass_obj
def prove(this: Ledger, index: int) -> None:
    """Print a proof that the entry INDEX is in the ledger, with the entry and a signed checkpoint (C2SP tlog-proof)."""
    with this.reading() as reader:
        newest = reader.newest_checkpoint()
        found = [content for _, content in stored_entries(reader, index, index + 1)]
        if newest is None or not found:
            raise LedgerEntryAbsent(
                f"entry {index} is not there, was pruned, or no checkpoint was signed yet"
            )
        made = proof.prove(index, found[0], newest.note, fetching(reader))
    made.verify(this.key)
    click.echo(made.to_bytes(), nl=False)


@ledger.command("export")
@click.option("--format", "form", type=Choice(export.Format), default=export.Format.JSONL, show_default=True)
@click.option("--from", "start", type=_INDEX, default=0, help="First index.")
@click.option("--to", "stop", type=_INDEX, help="Index after the last.")
@click.pass_obj
def write_out(this: Ledger, form: export.Format, start: int, stop: int | None) -> None:
    """Print the entries, one a line: as JSON, as syslog messages, or as FHIR R4 AuditEvents."""
    with this.reading() as reader:
        for line in export.lines(reader, this.store.origin, form, start, stop):
            click.echo(line)


@ledger.command("checkpoint")
@click.option("--key", is_flag=True, help="Print the verifier key instead, as NAME+ID+KEY.")
@click.pass_obj
def show_checkpoint(this: Ledger, *, key: bool) -> None:
    """Print the newest signed checkpoint. Keep it where nobody who can write the ledger can reach it."""
    if key:
        click.echo(this.key.to_text())
        return
    with this.reading() as reader:
        newest = reader.newest_checkpoint()
    if newest is None:
        raise LedgerEntryAbsent("no checkpoint was signed yet")
    checkpoint.verified(newest.note, this.key)
    click.echo(newest.note, nl=False)


@ledger.command()
@click.option("--before", type=click.DateTime(_DAY), help="Time (UTC). [default: ledger.keep_days ago]")
@click.pass_obj
def prune(this: Ledger, before: datetime | None) -> None:
    """Remove the content of old entries. Their hashes stay, and with them every proof about the rest."""
    if before is None:
        before = datetime.now(UTC) - timedelta(days=this.configuration.settings.ledger.keep_days)
    first = retention.prune(this.store, entries.milliseconds(before.replace(tzinfo=UTC)))
    click.echo(f"the content of the entries below {first} is gone")


@ledger.command("backup")
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_obj
def back_up(this: Ledger, path: Path) -> None:
    """Write the whole ledger to the new file PATH, while the appliance works on."""
    click.echo(f"{backup.back_up(this.store, path)} entries")


@ledger.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint", "saved", type=click.Path(path_type=Path), help="The newest one that was kept elsewhere."
)
@click.pass_context
def restore(context: click.Context, path: Path, saved: Path | None) -> None:
    """
    Restore the ledger in the backup PATH, closed for good: it can be read and never grows again.

    Then set a new ledger.origin. The new ledger begins by saying where the old one ended. Ends with status 3 where the
    given checkpoint shows that the backup is older: all it has was restored, and what came after it is lost.
    """
    this: Ledger = context.obj
    known = None if saved is None else read_bounded(saved)
    with _bar() as bar:
        task = bar.add_task(path.name, total=None)
        restored = backup.restore(
            path, this.store, this.key, known, lambda done: bar.update(task, completed=done)
        )
    size = restored.report.size
    click.echo(f"{size} entries restored and verified; the ledger is closed, set a new ledger.origin")
    if restored.missing:
        click.echo(
            f"{restored.missing} entries are missing, from {size} on: the checkpoint was signed over"
            f" {size + restored.missing}, and the backup is older"
        )
        context.exit(_INCOMPLETE)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
