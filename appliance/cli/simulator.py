"""`jpki-appliance simulator`: a card, a reader and a CA for integrators. Never for production."""

import signal
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance.config import read_bounded
from appliance.simulator import faults
from appliance.simulator.card_data import Atr
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.pki import Hierarchy
from appliance.simulator.reader import serve_card

_CARD = "card"


class FaultType(click.ParamType[faults.Fault]):
    """A fault as text."""

    name = "fault"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> faults.Fault:
        """Return the fault that *value* describes."""
        try:
            return faults.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class InstitutionKeyType(click.ParamType[rsa.RSAPublicKey]):
    """An RSA public key in a PEM file."""

    name = "file"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> rsa.RSAPublicKey:
        """Return the key in the file *value*."""
        try:
            key = load_pem_public_key(read_bounded(Path(value)))
        except ValueError as error:
            self.fail(f"{value} holds no PEM public key: {error}", param, ctx)
        if not isinstance(key, rsa.RSAPublicKey):
            self.fail(f"{value} holds no RSA key", param, ctx)
        return key


@click.group()
def simulator() -> None:
    """Play a My Number card and its CAs, for tests, demonstrations and integrators."""


@simulator.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--institution-key",
    type=InstitutionKeyType(),
    help="PEM public key of an institution key made in an HSM, to be certified as leaf.cvc.",
)
@click.option("--institution-code", default="9912345", show_default=True, help="Its code, seven digits.")
@click.option("--pin", default="1234", show_default=True, help="PIN of the card. It is nobody's secret.")
def pki(folder: Path, institution_key: rsa.RSAPublicKey | None, institution_code: str, pin: str) -> None:
    """
    Make a test hierarchy in FOLDER, and a card in FOLDER/card.

    \b
    institution/  root, intermediate and, with --institution-key, leaf certificate of an institution
    holders/      two generations of the holders' CA, an OCSP responder
    card/         a card of a made-up person, for `simulator card`

    A hierarchy that is already in FOLDER is used and added to.
    """  # noqa: D301  # click wants the character, not its name
    now = datetime.now(UTC)
    if (folder / "institution").exists():
        hierarchy = Hierarchy.load(folder)
    else:
        hierarchy = Hierarchy.create(now)
        hierarchy.save(folder)
    if institution_key is not None:
        leaf = hierarchy.issue_institution(institution_key, institution_code)
        (folder / "institution" / "leaf.cvc").write_bytes(leaf.to_bytes())
    if not (folder / _CARD).exists():
        hierarchy.issue_card(folder / _CARD, now=now, pin=pin, atr=Atr.CONTACT)
    click.echo(f"{folder}: institution/ holders/ card/")


@simulator.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where a vpcd reader listens.")
@click.option(
    "--port", type=click.IntRange(1, 65_535), help="Its port. Without it, a pcscd of our own is started."
)
@click.option(
    "--fault", "fault_list", type=FaultType(), multiple=True, help="A fault, told below; may be repeated."
)
def card(folder: Path, host: str, port: int | None, fault_list: tuple[faults.Fault, ...]) -> None:
    """
    Put the card kept in FOLDER on a virtual reader, until it is interrupted or a fault removes it.

    With --port it goes on a vpcd reader that is there (Debian's default is 35963). Without, a private pcscd with one
    reader is started, and the line to be set in other programs' environment is printed.

    \b
    Faults (STEP counts commands from 1 after each power-on):
      wrong-signature     every signature comes with one bit flipped
      pin-for-pinless     an institution gets a signature as one by PIN is made, without its code
      removed@STEP        the card leaves the reader
      mute@STEP           no answer comes
      slow@STEP=SECONDS   the answer comes late
      truncated@STEP      half of the answer is missing
      garbage@STEP        the answer is no answer
      status@STEP=XXXX    the answer is this status word
    """  # noqa: D301  # click wants the character, not its name
    stop = threading.Event()
    with ExitStack() as parts:
        for number in (signal.SIGINT, signal.SIGTERM):
            parts.callback(signal.signal, number, signal.signal(number, lambda *_: stop.set()))
        if port is None:
            pcscd = parts.enter_context(PrivatePcscd(["Virtual PCD"]))
            host, port = pcscd.readers[0].host, pcscd.readers[0].port
            click.echo(f"PCSCLITE_CSOCK_NAME={pcscd.socket_path}")
        click.echo(f"card {folder} on {host}:{port}", err=True)
        departure = serve_card(folder, host, port, fault_list, stop)
        click.echo(f"card {folder}: {departure.value}", err=True)
