"""`jpki-appliance verify`: is a result token genuine, and what does it say."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click
import msgspec

from appliance.config import read_bounded
from appliance.gateway import token as tokens


@click.command()
@click.argument("token", type=click.File())
@click.option(
    "--jwks",
    required=True,
    type=click.Path(path_type=Path),
    help="File with the appliance's public keys, as JSON Web Key Set.",
)
@click.option("--audience", required=True, help="For whom the token has to be.")
@click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]),
    help="Time (UTC) at which the token has to be valid; now, if not given.",
)
def verify(token: TextIO, jwks: Path, audience: str, at: datetime | None) -> None:
    """
    Verify the result token in the file TOKEN (- for standard input) and print its claims.

    Needs no HSM, no daemon and no network. Exit status 1 where the token is not valid.
    """
    now = datetime.now(UTC) if at is None else at.replace(tzinfo=UTC)
    claims = tokens.verify(token.read().strip(), read_bounded(jwks), audience, now)
    click.echo(msgspec.json.format(msgspec.json.encode(claims)).decode())
