"""`jpki-appliance verify`: is a result token or a piece of evidence genuine, and what does it show."""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance.card.algorithm import PublicKey
from appliance.config import read_bounded
from appliance.errors import ConfigInvalid, EvidenceInvalid
from appliance.gateway import token as tokens
from appliance.trust import openssl
from appliance.trust.certificates import Anchors
from appliance.trust.crl import LARGEST
from appliance.trust.decision import STEPS, Trust, decide
from appliance.trust.evidence import Evidence

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_JWKS = "jwks.json"


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--trust",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder with what is believed: CA certificates (*.pem), lists (*.crl), the appliance's keys (jwks.json).",
)
@click.option(
    "--crl",
    "lists",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="A list that the evidence names (DER), to repeat that step; more than one for deltas.",
)
@click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]),
    help="Time (UTC) to decide for, but for revocation. [default: now for a token, for evidence the time it was made]",
)
@click.option(
    "--jwks",
    type=click.Path(path_type=Path),
    help="File with the appliance's public keys, as JSON Web Key Set.",
)
@click.option("--audience", help="For whom the token has to be.")
@click.option("--nonce", help="What the request for the token has named as its nonce.")
@click.option(
    "--token", type=click.File("rb"), help="The token that belongs to the evidence: is its hash this one's?"
)
@click.option(
    "--institution-root",
    type=click.Path(path_type=Path),
    help="PEM public key of the institutions' root, where it is known.",
)
@click.option(
    "--openssl", "as_script", is_flag=True, help="Print the shell script that checks evidence by OpenSSL."
)
def verify(file: BinaryIO, trust: Path | None, at: datetime | None, **options: Any) -> None:  # noqa: ANN401
    """
    Verify the result token or the evidence in FILE (- for standard input).

    A token needs the appliance's keys and its audience, and its claims are printed. Evidence needs the CA
    certificates, and the decision is repeated step by step. Nothing else is needed: no HSM, no daemon, no network.
    Exit status 1 where it does not hold.
    """
    content = file.read()
    when = None if at is None else at.replace(tzinfo=UTC)
    jwks = options["jwks"] or (trust / _JWKS if trust is not None else None)
    if not content.lstrip().startswith(b"{"):
        claims = _token(content, jwks, options, when or datetime.now(UTC))
        click.echo(msgspec.json.format(msgspec.json.encode(claims)).decode())
        return
    if options["as_script"]:
        click.echo(openssl.script(Evidence.from_bytes(content)), nl=False)
        return
    if trust is None:
        raise click.UsageError("evidence needs --trust")
    given = tuple(read_bounded(path, LARGEST) for path in options["lists"])
    _evidence(content, _trust(trust, options["institution_root"], given), when)
    _require_named(Evidence.from_bytes(content), given)
    if options["token"] is not None:
        made = Evidence.from_bytes(content).time
        when = when or datetime.fromisoformat(made)
        claims = _token(options["token"].read(), jwks, options, when)
        if claims["evidence"] != sha256(content).hexdigest():
            raise EvidenceInvalid("token", "the token belongs to other evidence")
        click.echo("✓ token: it names this evidence by its SHA-256")


def _token(content: bytes, jwks: Path | None, options: dict[str, Any], now: datetime) -> dict[str, Any]:
    audience, nonce = options["audience"], options["nonce"]
    if jwks is None or audience is None:
        raise click.UsageError("a token needs --audience, and --jwks or --trust")
    text = content.decode("ascii", errors="replace").strip()
    return dict(tokens.verify(text, read_bounded(jwks), audience, now, nonce))


def _evidence(document: bytes, trust: Trust, at: datetime | None) -> None:
    """Repeat the decision, and tell each step as it is passed."""
    for number, step in enumerate(decide(document, trust, at), start=1):
        click.echo(f"✓ {number}/{len(STEPS)} {step.name}: {step.finding}")


def _require_named(evidence: Evidence, given: tuple[bytes, ...]) -> None:
    """Refuse lists that say nothing about this evidence: whoever gave them believes that they were looked into."""
    named = evidence.revocation.lists
    digests = () if named is None else named.digests
    if any(sha256(der).hexdigest() not in digests for der in given):
        raise EvidenceInvalid("revocation", "a list given with --crl is not one that the evidence names")


def _trust(folder: Path, root: Path | None, given: tuple[bytes, ...]) -> Trust:
    pems = [
        content for path in sorted(folder.glob("*.pem")) if _CERTIFICATE in (content := read_bounded(path))
    ]
    lists = tuple(read_bounded(path, LARGEST) for path in sorted(folder.glob("*.crl")))
    return Trust(Anchors.from_pem(pems), None if root is None else _root(root), (*given, *lists))


def _root(path: Path) -> PublicKey:
    try:
        key = load_pem_public_key(read_bounded(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigInvalid(f"{path} holds no PEM public key") from error
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ConfigInvalid(f"{path} holds neither an RSA nor an elliptic curve key")
    return key
