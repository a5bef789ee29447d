"""`jpki-appliance config`: is the configuration file, and what it names, in order."""

from pathlib import Path

import click
import msgspec

from appliance import config as configuration
from appliance.catalogue import error_text
from appliance.cli import language
from appliance.cli.installed import config_argument
from appliance.daemon.check import Checked, examine
from appliance.errors import EX_CONFIG, ApplianceError

_FILE = "file"


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A finding as a program reads it."""

    key: str
    ok: bool
    code: str | None = None
    detail: str | None = None


@click.group()
def config() -> None:
    """Look after the configuration file."""


@config.command()
@config_argument()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def check(context: click.Context, file: Path, *, as_json: bool) -> None:
    """
    Check FILE and everything it names: profile, certificates, keys, secrets' permissions, TLS, peers.

    Without FILE it is the installed one, /etc/jpki-appliance/appliance.toml.
    Neither the HSM nor a reader nor the network is touched. Run it as the account that the appliance runs under.
    Exit status 78 where something is wrong.
    """
    findings = _findings(file)
    if as_json:
        lines = [_line(finding) for finding in findings]
        click.echo(
            msgspec.json.format(msgspec.json.encode({"ok": all(one.ok for one in lines), "findings": lines}))
        )
    else:
        for finding in findings:
            _tell(finding)
    if any(finding.error is not None for finding in findings):
        context.exit(EX_CONFIG)


def _findings(file: Path) -> list[Checked]:
    try:
        loaded = configuration.load(file)
    except ApplianceError as error:
        return [Checked(_FILE, error)]
    return [Checked(_FILE), *examine(loaded)]


def _line(finding: Checked) -> _Line:
    if finding.error is None:
        return _Line(finding.key, ok=True)
    return _Line(finding.key, ok=False, code=finding.error.code, detail=finding.error.detail)


def _tell(finding: Checked) -> None:
    if finding.error is None:
        click.echo(f"[ok]     {finding.key}")
        return
    text = error_text(finding.error.code)
    click.echo(f"[failed] {finding.key}: [{finding.error.code}] {finding.error.detail}")
    click.echo(f"         {text.operator.in_language(language.spoken())}")
