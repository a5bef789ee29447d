"""`jpki-appliance hsm conformance`: what a PKCS#11 module really does, and the vendor profile that follows."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from appliance import config
from appliance.errors import ConfigInvalid, HsmPinRejected
from appliance.hsm.conformance.profile import as_toml
from appliance.hsm.conformance.results import Report
from appliance.hsm.conformance.runner import Conformance, Target
from appliance.hsm.conformance.table import no_profile, rows
from appliance.hsm.marker import Marker, Rejection
from appliance.hsm.vendor import Vendor, load_vendor
from appliance.ledger.durable import appearing


@click.command()
@click.option(
    "--config",
    "configured",
    type=click.Path(path_type=Path),
    help="The appliance's configuration: probes its first HSM, instead of the three options below.",
)
@click.option("--vendor", "named", metavar="NAME|FILE", help="Profile to start from.")
@click.option("--token", metavar="LABEL", help="Label of the token.")
@click.option("--pin-file", metavar="FILE", help="File with the user PIN, mode 0600.")
@click.option("--module", metavar="FILE", help="The PKCS#11 module, where it is not the profile's.")
@click.option(
    "--versions", metavar="TEXT", help="What was tested, where the module's own word is not enough."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Write VENDOR.json and VENDOR.toml there."
)
def conformance(  # noqa: PLR0913 - one parameter for each option
    *,
    configured: Path | None,
    named: str | None,
    token: str | None,
    pin_file: str | None,
    module: str | None,
    versions: str | None,
    as_json: bool,
    out: Path | None,
) -> None:
    """
    Probe a PKCS#11 module, each question in a process of its own, and print what it does.

    Makes throw-away keys on the token, destroys them, and touches nothing else there. Not for a token in production:
    a module under probe may lose more than it says.
    """
    if configured is not None:
        if named or token or pin_file or module:
            raise click.UsageError("--config already says which HSM is probed")
        target, guarded = _configured(configured)
    elif named and token and pin_file:
        vendor = load_vendor(named)
        pin = str(Path(pin_file).absolute())
        target, guarded = (
            Target(vendor, module or vendor.module, token, pin, environment(vendor)),
            nullcontext(),
        )
    else:
        raise click.UsageError("either --config, or all of --vendor, --token and --pin-file")
    if out is not None:
        # Before minutes of probing, and not after them.
        _write(out, {})
    with guarded:
        report = Conformance(target, progress=lambda name: click.echo(f"· {name}", err=True)).report(
            datetime.now(UTC).date(), versions
        )
    if out is not None:
        files = {f"{target.named.name}.json": encoded(report)}
        if report.profile is not None:
            files[f"{target.named.name}.toml"] = as_toml(report.profile).encode()
        _write(out, files)
    if as_json:
        click.echo(encoded(report).decode(), nl=False)
    else:
        _print(report)


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write *files* into the folder *out*, made if need be, each as a whole; or raise ConfigInvalid."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK | os.X_OK):
            raise ConfigInvalid(f"nothing can be written into {out}")
        for name, content in files.items():
            with appearing(out / name) as file:
                file.write(content)
    except OSError as error:
        raise ConfigInvalid(f"{error.filename or out} cannot be written: {error.strerror}") from error


def _configured(file: Path) -> tuple[Target, AbstractContextManager[None]]:
    """
    Return the preferred HSM of the configuration in *file*, and what has to surround its probes.

    Raises HsmPinRejected where its PIN was rejected before.
    """
    configuration = config.load(file)
    first = configuration.settings.hsm
    vendor = load_vendor(first.vendor, configuration.folder)
    module = first.module or vendor.module
    variables, state = configuration.environment(first), configuration.path(first.state)
    marker = Marker.of_token(module, first.token, variables, state)
    if marker.is_set():
        raise HsmPinRejected(f"no other login is tried, {marker.path} is there")
    target = Target(
        vendor,
        module,
        first.token,
        str(configuration.path(first.pin_file)),
        environment(vendor, variables),
    )
    return target, _marking(marker, first.alias, target)


@contextmanager
def _marking(marker: Marker, alias: str, target: Target) -> Iterator[None]:
    """Leave *marker* where the token rejects the PIN: neither this command nor the appliance may try it again."""
    marker.prepare()
    try:
        yield
    except HsmPinRejected as error:
        rejection = Rejection(
            hsm=alias,
            token=target.token,
            module=target.module,
            pin_file=target.pin_file,
            time=datetime.now(UTC).replace(microsecond=0),
            detail=error.detail,
        )
        try:
            marker.set(rejection)
        except OSError as failed:
            raise HsmPinRejected(
                f"{error.detail}; {marker.path} cannot be written ({failed.strerror}): "
                "start neither this command nor the appliance before the PIN is right"
            ) from error
        raise HsmPinRejected(f"{error.detail}; {marker.path} is left") from error


def encoded(report: Report) -> bytes:
    """Return *report* as JSON for people and programs, always in the same order."""
    return msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=2) + b"\n"


def environment(vendor: Vendor, configured: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    Return the variables the module reads; raise ConfigInvalid where one is missing.

    They are those *configured*, where there is a configuration, else our own, else the profile's.
    """
    given = os.environ if configured is None else configured
    found = dict(configured or {})
    for name, variable in vendor.environment.items():
        value = given.get(name, variable.default)
        if value is not None:
            found[name] = value
        elif variable.required:
            raise ConfigInvalid(f"the module of profile {vendor.name} needs {name}: {variable.purpose}")
    return found


def _print(report: Report) -> None:
    console = Console(highlight=False)
    table = Table(title=f"{report.vendor}, {report.versions}", show_lines=False)
    table.add_column("Question", overflow="fold")
    table.add_column("Answer", overflow="fold")
    for question, answer in rows(report):
        table.add_row(question, answer)
    console.print(table)
    if report.profile is None:
        console.print(no_profile(report))
        return
    console.print("The profile that follows:\n")
    console.print(as_toml(report.profile), markup=False, soft_wrap=True)
