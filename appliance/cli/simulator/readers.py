"""Virtual readers, on which cards come and go by commands."""

import io
import queue
import signal
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, TypeAlias

import click

from appliance.cli.folders import filling
from appliance.cli.simulator.options import FaultType
from appliance.simulator import control
from appliance.simulator.card_data import Atr
from appliance.simulator.faults import Fault, FaultyCard
from appliance.simulator.pcscd import MOST_READERS, PrivatePcscd, VirtualReader
from appliance.simulator.reader import load_card
from appliance.simulator.table import Left, Table

_STDIN: Final = 0


class _Stop:
    """Somebody has interrupted the command."""


_Events: TypeAlias = "queue.SimpleQueue[_Stop | Left | str]"


@click.command()
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where vpcd readers listen.")
@click.option(
    "--port",
    "ports",
    type=click.IntRange(1, 65_535),
    multiple=True,
    help="Port of such a reader, once for each card. Without it, a pcscd of our own is started.",
)
@click.option(
    "--atr",
    type=click.Choice([each.name.lower() for each in Atr]),
    help="The side on which the cards are read; else as each card has it.",
)
@click.option(
    "--fault", "fault_list", type=FaultType(), multiple=True, help="A fault, told below; may be repeated."
)
@click.option(
    "--pcscd",
    "pcscd_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the private pcscd, whose socket is pcscd/pcscd.comm in it. [default: a temporary one]",
)
@click.option("--control", "controlled", is_flag=True, help="Take commands on standard input, told below.")
def card(  # noqa: PLR0913, PLR0917  # each option is an argument
    folders: tuple[Path, ...],
    host: str,
    ports: tuple[int, ...],
    pcscd_folder: Path | None,
    atr: str | None,
    fault_list: tuple[tuple[int | None, Fault], ...],
    *,
    controlled: bool,
) -> None:
    """
    Put the cards kept in each FOLDER on virtual readers, until it is interrupted or no card is left.

    With --port they go on vpcd readers that are there (Debian's default is 35963). Without, a private pcscd with
    one reader for each card is started, and the line to be set in other programs' environment is printed first:
    PCSCLITE_CSOCK_NAME=...

    \b
    Cards are made by `simulator pki` and `simulator issue`. Counts of tries stay in FOLDER/tries.toml;
    without that file all tries are there again.

    \b
    Control (--control): a line is a command; the answer ends with `ok` or `error: REASON`.
      insert [CARD [READER]]   put a card on its reader or another; without number, all that are on none
      remove [CARD]            take a card away; without number, all
      status                   where each card is
      quit                     end; so does the end of the input
    Cards and readers are numbered from 1, in the order of the FOLDERs. pcscd looks at a reader every 0.4 s.

    \b
    Faults are for every card; `2:FAULT` is for the second alone.
    STEP counts commands from 1 after each power-on and reset, SELECT included.
      wrong-signature            every signature comes with one bit flipped
      pin-for-pinless            an institution gets a signature as one by PIN is made, without its code
      wrong-front-signature      the municipality's signature on the front comes with one bit flipped
      foreign-front=CARD         the front is that of the card in the folder CARD
      foreign-certificate=CARD   the certificate is that of the card in the folder CARD
      removed@STEP               the card leaves the reader
      mute@STEP                  no answer comes
      slow@STEP=SECONDS          the answer comes late
      truncated@STEP             half of the answer is missing
      garbage@STEP               the answer is no answer
      status@STEP=XXXX           the answer is this status word
      state-lost@STEP            before this step the card has lost its state, and nobody noticed
    """  # noqa: D301  # click wants the character, not its name
    if ports and len(ports) != len(folders):
        raise click.UsageError("there must be one --port for each FOLDER")
    if len(folders) > MOST_READERS:
        raise click.UsageError(f"there can be at most {MOST_READERS} cards")
    if len({folder.resolve() for folder in folders}) != len(folders):
        raise click.UsageError("a card can be on one reader only")
    if nobody := {only for only, _ in fault_list if only is not None and only > len(folders)}:
        raise click.UsageError(f"a fault is for card {min(nobody)}, and there are {len(folders)}")
    side = None if atr is None else Atr[atr.upper()]
    cards = [
        (folder, _card(folder, side, [fault for only, fault in fault_list if only in {None, number}]))
        for number, folder in enumerate(folders, start=1)
    ]
    with ExitStack() as parts:
        events: _Events = queue.SimpleQueue()
        for interrupt in (signal.SIGINT, signal.SIGTERM):
            parts.callback(signal.signal, interrupt, signal.signal(interrupt, lambda *_: events.put(_Stop())))
        readers: Sequence[VirtualReader]
        if ports:
            readers = [VirtualReader("vpcd", port, host) for port in ports]
        else:
            with filling(pcscd_folder or Path(tempfile.gettempdir())):
                pcscd = parts.enter_context(PrivatePcscd(_reader_names(len(cards)), pcscd_folder))
            readers = pcscd.readers
            click.echo(f"PCSCLITE_CSOCK_NAME={pcscd.socket_path}")
        table = parts.enter_context(Table(cards, readers, events.put))
        for number in table.numbers:
            table.insert(number)
            click.echo(table.status(number), err=True)
        if controlled:
            threading.Thread(target=_read_lines, args=(events,), name="control", daemon=True).start()
        _attend(table, events, controlled=controlled)


def _card(folder: Path, side: Atr | None, fault_list: Sequence[Fault]) -> FaultyCard:
    try:
        return load_card(folder, fault_list, side)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from error


def _reader_names(count: int) -> list[str]:
    """Return what the readers of a pcscd of our own are called: one alone needs no number."""
    return ["Virtual PCD"] if count == 1 else [f"Virtual PCD {number}" for number in range(1, count + 1)]


def _attend(table: Table, events: _Events, *, controlled: bool) -> None:
    """Deal with *events* until there is nothing more to wait for, and clear the table."""
    while controlled or any(table.is_inserted(number) for number in table.numbers):
        try:
            _deal(table, events.get())
        except control.Quit:
            break
    table.clear()
    while not events.empty():
        with suppress(control.Quit):
            _deal(table, events.get())


def _deal(table: Table, event: _Stop | Left | str) -> None:
    match event:
        case _Stop():
            raise control.Quit
        case Left(number, departure):
            click.echo(f"card {number}: {departure.value}", err=True)
        case line:
            for said in control.answer(table, line):
                click.echo(said)


def _read_lines(events: _Events) -> None:
    """Pass on what comes on standard input; its end is a `quit`."""
    # without Python's own buffer, whose lock a thread that waits would hold while the program ends
    with io.FileIO(_STDIN, closefd=False) as lines:
        for line in lines:
            events.put(line.decode("utf-8", errors="replace"))
    events.put("quit")
