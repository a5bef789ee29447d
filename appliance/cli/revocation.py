"""`jpki-appliance revocation`: lists of revoked certificates, imported by hand."""

import asyncio
from pathlib import Path

import click
import msgspec

from appliance import config
from appliance.cli.installed import config_argument
from appliance.errors import ConfigInvalid
from appliance.revocation.importer import import_lists
from appliance.revocation.importing import Outcome, Report
from appliance.trust.certificates import Anchors


@click.group()
def revocation() -> None:
    """Keep what is known of revoked certificates."""


@revocation.command("import")
@config_argument("CONFIGURATION")
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="Take the lists from here instead."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def import_(context: click.Context, file: Path, folder: Path | None, *, as_json: bool) -> None:
    """
    Import the lists (CRLs) that lie in the folder that CONFIGURATION names.

    Without it, that is the installed one, /etc/jpki-appliance/appliance.toml. A running daemon does so by itself; this
    is for a site without one, and for seeing what becomes of each file. Exit status 1 where a file was refused.
    """
    loaded = config.load(file)
    crl = loaded.settings.revocation.crl
    if crl is None:
        raise ConfigInvalid("there is no section [revocation.crl]")
    anchors = Anchors.from_pem(loaded.read(name) for name in loaded.settings.trust.authorities)
    report = asyncio.run(import_lists(folder or loaded.path(crl.folder), loaded.path(crl.state), anchors))
    click.echo(msgspec.json.format(msgspec.json.encode(report)).decode() if as_json else _told(report))
    context.exit(int(any(file.outcome is Outcome.REFUSED for file in report.files)))


def _told(report: Report) -> str:
    lines = [
        f"{file.outcome:<10}  {file.name}" + (f"  [{file.reason}] {file.detail}" if file.reason else "")
        for file in report.files
    ]
    end = (
        ""
        if report.earliest_end is None
        else f", the first of which counts until {report.earliest_end:%Y-%m-%d %H:%M} UTC"
    )
    if report.damaged:
        lines.append(
            f"{report.damaged} lists of the index were damaged and given up; all files were read again"
        )
    if report.unreadable:
        lines.append("the index could not be read and was given up with all lists; all files were read again")
    lines.append(
        f"{report.known} files known before; {report.lists} lists with {report.entries:,} entries{end}"
    )
    return "\n".join(lines)
