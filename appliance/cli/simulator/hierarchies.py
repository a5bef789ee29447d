"""Hierarchies of CAs, and what is made from them: whole sites, cards, lists of revoked certificates."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.card.algorithm import PublicKey
from appliance.cli.choice import Choice
from appliance.cli.demonstration.site import build
from appliance.cli.folders import filling
from appliance.cli.simulator.options import DigitsType, InstitutionKeyType
from appliance.simulator import crl
from appliance.simulator.kinds import Kind
from appliance.simulator.pki import Hierarchy

_CARD = "card"


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--days", type=click.IntRange(1, 365), default=2, show_default=True, help="For which they count."
)
def lists(folder: Path, target: Path, days: int) -> None:
    """
    Issue the lists of revoked certificates (CRLs) of the hierarchy in FOLDER into the folder TARGET.

    One for each made-up municipality and generation of the CA, newer than all before it, with a certificate on it that no card has. Each appears
    whole, as a delivery has to.
    """
    now, holders = datetime.now(UTC), Hierarchy.load(folder).holders
    number, life = int(now.timestamp() * 1000), timedelta(days=days)
    with filling(target):
        target.mkdir(parents=True, exist_ok=True)
        issued = dict(crl.complete(holders, [1], now=now, number=number, life=life))
        for name, made in issued.items():
            unfinished = target / f".{name}"
            unfinished.write_bytes(made.public_bytes(Encoding.DER))
            unfinished.replace(target / name)
    click.echo(f"{target}: {len(issued)} lists")
