"""`jpki-appliance simulator`: cards, readers and CAs for integrators. Never for production."""

import io
import queue
import re
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import click
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from appliance.card.algorithm import PublicKey
from appliance.cli.choice import Choice
from appliance.cli.demonstration.site import build
from appliance.cli.folders import filling
from appliance.config import read_bounded
from appliance.simulator import control, crl, fault_text
from appliance.simulator.card_data import Atr
from appliance.simulator.faults import Fault, FaultyCard
from appliance.simulator.kinds import Kind
from appliance.simulator.pcscd import MOST_READERS, PrivatePcscd, VirtualReader
from appliance.simulator.people import MUNICIPALITIES
from appliance.simulator.pki import Hierarchy
from appliance.simulator.reader import load_card
from appliance.simulator.table import Left, Table

_CARD = "card"
_STDIN: Final = 0


class _Stop:
    """Somebody has interrupted the command."""


_Events: TypeAlias = "queue.SimpleQueue[_Stop | Left | str]"


class FaultType(click.ParamType[tuple[int | None, Fault]]):
    """A fault as text, for every card or, with its number in front, for one."""

    name = "fault"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, Fault]:
        """Return which card *value* is about, None for every one, and the fault that it describes."""
        number, fault = re.fullmatch(r"(?:([1-9]):)?(.*)", value, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches any text
        try:
            return (int(number) if number else None), fault_text.parse(fault)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class DigitsType(click.ParamType[str]):
    """So many digits."""

    name = "digits"

    def __init__(self, length: int) -> None:
        self._length = length

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return *value*, which has so many digits."""
        if len(value) != self._length or not (value.isascii() and value.isdigit()):
            self.fail(f"'{value}' has not {self._length} digits", param, ctx)
        return value


class InstitutionKeyType(click.ParamType[PublicKey]):
    """A public key in a PEM file, of a kind that institutions have."""

    name = "file"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> PublicKey:
        """Return the key in the file *value*."""
        try:
            key = load_pem_public_key(read_bounded(Path(value)))
        except ValueError as error:
            self.fail(f"{value} holds no PEM public key: {error}", param, ctx)
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            self.fail(f"{value} holds neither an RSA nor an elliptic curve key", param, ctx)
        return key


@click.group()
def simulator() -> None:
    """Play My Number cards, their readers and CAs, for tests, demonstrations and integrators."""


@simulator.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--institution-key",
    type=InstitutionKeyType(),
    help="PEM public key of an institution key made in an HSM, to be certified as leaf.cvc.",
)
@click.option(
    "--institution-code",
    type=DigitsType(7),
    default="9912345",
    show_default=True,
    help="Its code, seven digits.",
)
@click.option(
    "--pin",
    type=DigitsType(4),
    default="1234",
    show_default=True,
    help="PIN of the card. It is nobody's secret.",
)
def pki(folder: Path, institution_key: PublicKey | None, institution_code: str, pin: str) -> None:
    """
    Make a test hierarchy in FOLDER, and a card in FOLDER/card.

    \b
    institution/       root, intermediate and, with --institution-key, leaf certificate of an institution
    institution-next/  the same for the hypothetical next generation of cards, on P-384
    holders/           two generations of the holders' CA, an OCSP responder, the CA for signing
    surface/           the root that certifies municipalities, and their keys
    card/              a card of a made-up person, for `simulator card`

    A hierarchy that is already in FOLDER is used and added to. More cards, of other kinds: `simulator issue`.
    """  # noqa: D301  # click wants the character, not its name
    now = datetime.now(UTC)
    with filling(folder):
        if (folder / "institution").exists():
            hierarchy = Hierarchy.load(folder)
        else:
            hierarchy = Hierarchy.create(now)
            hierarchy.save(folder)
        if institution_key is not None:
            leaf = hierarchy.issue_institution(institution_key, institution_code)
            (folder / hierarchy.institution_folder(institution_key) / "leaf.cvc").write_bytes(leaf.to_bytes())
        if not (folder / _CARD).exists():
            hierarchy.issue_card(folder / _CARD, now=now, pin=pin)
    click.echo(f"{folder}: institution/ institution-next/ holders/ surface/ card/")


@simulator.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8443,
    show_default=True,
    help="Of the appliance, for terminals.",
)
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), default=9464, show_default=True, help="For Prometheus."
)
def site(folder: Path, port: int, metrics_port: int) -> None:
    """
    Make a whole site in FOLDER: what `serve` and `terminal` need on one machine, and a card.

    \b
    appliance.toml   for `jpki-appliance serve`; the account that runs this is its reception
    terminal.toml    for `jpki-appliance terminal`: the desk ward-1.reader-1
    card/            for `jpki-appliance simulator card`
    printed.toml     what is printed on the card: birth date, year of expiry, security code
    tls/             certificates: ca.pem, and for browsers desk-pc.p12 and gateway-pc.p12 (password: test)
    """  # noqa: D301  # click wants the character, not its name
    person = build(folder, port=port, metrics_port=metrics_port)
    click.echo(f"{folder}: appliance.toml terminal.toml card/ printed.toml tls/")
    click.echo(
        f"printed on the card: born {person.birth}, expires {person.expires.year}, security code {person.security_code}"
    )


@simulator.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("card", type=click.Path(path_type=Path))
@click.option("--kind", type=Choice(Kind), default=Kind.MY_NUMBER, show_default=True, help="Told below.")
@click.option(
    "--pin",
    type=DigitsType(4),
    default="1234",
    show_default=True,
    help="Its two PINs; the password is TEST and the PIN.",
)
@click.option("--signing", is_flag=True, help="With a signing certificate (署名用) as well.")
@click.option(
    "--generation", type=click.IntRange(1, 2), default=2, show_default=True, help="CA that certifies it."
)
@click.option("--expired", is_flag=True, help="With a certificate that has ended.")
@click.option("--foreign", is_flag=True, help="With a certificate that no CA of the hierarchy has signed.")
def issue(  # noqa: PLR0913  # each option is an argument
    folder: Path,
    card: Path,
    kind: Kind,
    pin: str,
    *,
    signing: bool,
    generation: int,
    expired: bool,
    foreign: bool,
) -> None:
    """
    Make another card, in the folder CARD, from the hierarchy in FOLDER.

    The person is made up and another one each time. What opens the card, and is printed on a real one, stands in
    CARD/card.toml: the PINs, 照合番号A (number_a, the My Number) and 照合番号B (number_b).

    \b
    Kinds:
      my-number        My Number card of today
      face-only        顔認証マイナンバーカード: no PIN can be used
      no-certificate   My Number card whose holder wanted no certificate
      android          phone: the PIN opens the certificate too; no 特定機関認証, no card front
      iphone           phone: as android, but the certificate is free
      basic-resident   住基カード of before 2016: nothing of user authentication
      other            card of another issuer: no JPKI application
      next             the hypothetical next generation (profile jpki-next): ECDSA on P-384
    """  # noqa: D301  # click wants the character, not its name
    if card.exists():
        raise click.BadParameter(f"{card} exists already", param_hint="CARD")
    try:
        with filling(card):
            Hierarchy.load(folder).issue_card(
                card,
                now=datetime.now(UTC),
                kind=kind,
                pin=pin,
                signing=signing,
                generation=generation,
                expired=expired,
                foreign=foreign,
            )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"{card}: {kind}")


@simulator.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--days", type=click.IntRange(1, 365), default=2, show_default=True, help="For which they count."
)
def lists(folder: Path, target: Path, days: int) -> None:
    """
    Issue the lists of revoked certificates (CRLs) of the hierarchy in FOLDER into the folder TARGET.

    One for each made-up municipality, newer than all before it, with a certificate on it that no card has. Each appears
    whole, as a delivery has to.
    """
    now, generation = datetime.now(UTC), Hierarchy.load(folder).holders.generations[-1]
    with filling(target):
        target.mkdir(parents=True, exist_ok=True)
        for one in MUNICIPALITIES:
            made = crl.issue(
                generation, one, [1], now=now, number=int(now.timestamp() * 1000), life=timedelta(days=days)
            )
            unfinished = target / f".{one.code}.crl"
            unfinished.write_bytes(made.public_bytes(Encoding.DER))
            unfinished.replace(target / f"{one.code}.crl")
    click.echo(f"{target}: {len(MUNICIPALITIES)} lists")


@simulator.command()
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
            if pcscd_folder is not None:
                with filling(pcscd_folder):
                    pcscd_folder.mkdir(parents=True, exist_ok=True)
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
