"""`jpki-appliance hsm`: where keys live."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from appliance import config
from appliance.catalogue import story
from appliance.cli import language
from appliance.cli.installed import config_option
from appliance.cli.lazy import LazyGroup
from appliance.config import Configuration
from appliance.daemon import hsms
from appliance.errors import ApplianceError
from appliance.hsm.health import HsmHealth, PoolHealth
from appliance.hsm.marker import Marker
from appliance.hsm.messages import StatusReport
from appliance.hsm.pool import Pool
from appliance.hsm.softhsm import provision_softhsm


@click.group(
    cls=LazyGroup,
    elsewhere={
        "bench": "appliance.cli.benches.hsm:bench",
        "conformance": "appliance.cli.conformance:conformance",
    },
)
def hsm() -> None:
    """Set up the HSM, and measure it."""


@hsm.command("provision-softhsm")
@click.argument("folder", type=click.Path(path_type=Path))
def provision(folder: Path) -> None:
    """
    Make a SoftHSM token with new keys in FOLDER, which is absent or empty.

    For tests and demonstrations: the keys are in files there. Never touches the system's token store.
    """
    provision_softhsm(folder)
    click.echo(f"{folder}: token, PIN files, public keys")


@dataclass(frozen=True, slots=True)
class Report:
    """What `hsm status --json` prints: health, who each HSM says it is, and what stopped the first one, if none is up."""

    health: PoolHealth
    identities: Mapping[str, StatusReport]
    failure: str | None


@hsm.command("status")
@config_option()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def status(context: click.Context, /, *, file: Path, as_json: bool) -> None:
    """
    Show how each HSM is, and who it says it is.

    Logs in to each with one worker of its own, has every key sign a canary, and ends: for where no appliance runs. A
    running one tells by `jpki-appliance status`, without another login. The exit status is 0 where an HSM can serve.
    """
    report, failure = asyncio.run(_look(config.load(file)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        for health in report.health.hsms:
            click.echo(_shown(health, report.identities.get(health.alias)))
    if failure is not None:
        if not as_json:
            raise failure
        context.exit(failure.exit_status)


async def _look(configuration: Configuration) -> tuple[Report, ApplianceError | None]:
    settings = configuration.settings.hsm
    pool = Pool(
        [replace(one, workers=1) for one in hsms(configuration)],
        state=configuration.path(settings.state),
        start_seconds=settings.start_seconds,
        sign_seconds=settings.sign_seconds,
    )
    failure = None
    try:
        await pool.start()
    except ApplianceError as error:
        failure = error
    try:
        health = pool.health()
        identities = {one.alias: await pool.status(one.alias) for one in health.hsms if one.state == "up"}
    finally:
        await pool.close()
    return Report(health, identities, None if failure is None else str(failure)), failure


def _shown(health: HsmHealth, identity: StatusReport | None) -> str:
    lines = [f"{health.alias}: {health.state}"]
    if identity is not None:
        lines.append(f"  token     {identity.token}, serial {identity.serial}")
        lines.append(f"  made by   {identity.manufacturer}, {identity.model}, firmware {identity.firmware}")
        lines.append(f"  module    {identity.library}")
    for key in health.keys:
        seconds = "no canary" if key.canary_seconds is None else f"canary {key.canary_seconds * 1000:.1f} ms"
        lines.append(f"  key       {key.label}, SHA-256 {key.fingerprint[:16]}…, {seconds}")
    if health.last_failure is not None:
        failure = health.last_failure
        when = datetime.fromtimestamp(failure.at, UTC)
        value = f" ({failure.ckr})" if failure.ckr else ""
        lines.append(f"  failed    {when:%Y-%m-%d %H:%M:%S} UTC [{failure.code}]{value} {failure.detail}")
    if health.marker is not None:
        lines.append(f"  marker    {health.marker}")
    return "\n".join(lines)


@hsm.command("unlock-marker")
@config_option()
@click.option("--yes", is_flag=True, help="Do not ask.")
def unlock_marker(*, file: Path, yes: bool) -> None:
    """Remove what a rejected PIN has left, so that the appliance may log in again. Explains, and asks."""
    configuration = config.load(file)
    state = configuration.path(configuration.settings.hsm.state)
    markers = {one.alias: Marker.of(one, state) for one in hsms(configuration)}
    left = {alias: marker for alias, marker in markers.items() if marker.is_set()}
    if not left:
        click.echo(_say("unlock-none"))
        return
    for alias, marker in left.items():
        click.echo(f"{alias}: {marker.path}")
        if (said := marker.read()) is not None:
            click.echo(f"  {said.time:%Y-%m-%d %H:%M:%S} UTC  {said.detail}  ({said.pin_file})")
    click.echo(_say("unlock-explained"))
    if not yes:
        click.confirm(_say("unlock-question"), abort=True)
    for marker in left.values():
        marker.remove()
    click.echo(_say("unlock-done"))


def _say(key: str) -> str:
    return story(key).in_language(language.spoken())
