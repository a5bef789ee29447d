"""`jpki-appliance status`: what the running appliance says of itself, in words."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from appliance import config
from appliance.catalogue import Language, catalogue, story
from appliance.cli import language
from appliance.cli.choice import Choice
from appliance.cli.installed import config_option
from appliance.doctor.asked import Told, ask, socket_of
from appliance.gateway.condition import Hsm


@click.command()
@config_option("The appliance's configuration file, which says where its socket is.")
@click.option("--socket", type=click.Path(path_type=Path, dir_okay=False), help="The socket itself.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.option("--language", "spoken", type=Choice(Language), help="[default: the locale's]")
@click.pass_context
def status(
    context: click.Context, /, file: Path, socket: Path | None, spoken: Language | None, *, as_json: bool
) -> None:
    """
    Show how the running appliance is, part by part.

    It tells accounts that a [[peer]] of the role operator names. The exit status is 0 where authentications can be made,
    1 where they cannot, or where nobody answers. The appliance is not started by being asked.
    """
    spoken = spoken or language.spoken()
    told = asyncio.run(ask(socket or socket_of(config.load(file)), spoken))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told)).decode())
    else:
        for line in _Words(spoken).lines(told):
            click.echo(line)
    context.exit(0 if told.ready else 1)


class _Words:
    """Puts what was told into words of the *spoken* language."""

    def __init__(self, spoken: Language) -> None:
        self._spoken = spoken

    def lines(self, told: Told) -> Iterator[str]:
        """Yield all lines."""
        condition = told.condition
        since = f"{self._say('since')} {_time(condition.started_at)}"
        if told.ready:
            yield f"{self._say('ready')}  ({condition.version}, {since})"
        else:
            causes = ", ".join(self._word("cause", one) for one in told.causes)
            yield f"{self._say('not-ready')} {causes}  ({condition.version}, {since})"
        yield f"  {self._say('under-way')}: {condition.authentications}"
        for one in condition.hsms:
            yield from self._hsm(one, serves=one.alias == condition.serving)
        yield from self._knowledge(told)
        for certificate in (*condition.certificates, *condition.peer_certificates):
            yield f"{self._say('certificate')} {certificate.name}: {self._say('until')} {_time(certificate.not_after)}"
        for desk in told.desks:
            state = self._word("desk", desk.state)
            yield f"{self._say('desk')} {desk.desk}: {state}, {self._say('since')} {_time(desk.since)}"

    def _hsm(self, one: Hsm, *, serves: bool) -> Iterator[str]:
        serving = f", {self._say('serving')}" if serves else ""
        workers = sum(one.workers.get(state, 0) for state in ("ready", "busy"))
        counted = f"{self._say('workers')}: {workers}/{sum(one.workers.values())}"
        yield f"HSM {one.alias}: {self._word('hsm', one.state)}{serving}, {counted}"
        for key in one.keys:
            signed = (
                self._say("never-signed")
                if key.canary_at is None or key.canary_seconds is None
                else f"{self._say('signed')} {_time(key.canary_at)} ({key.canary_seconds * 1000:.1f} ms)"
            )
            yield f"  {self._say('key')} {key.label}: {signed}"
        if one.last_failure is not None:
            yield f"  {self._say('failure')}: {_time(one.last_failure.at)} [{one.last_failure.code}]"
        if one.pin_marker:
            yield f"  {self._say('pin-marker')}"

    def _knowledge(self, told: Told) -> Iterator[str]:
        ledger, revocation = told.condition.ledger, told.condition.revocation
        covered = f"{self._say('checkpoint')}: {ledger.checkpoint_size or 0}/{ledger.size}"
        yield f"{self._say('ledger')}: {self._usable(ledger.usable)}, {covered}"
        for name, times in sorted(ledger.failures.items()):
            yield f"  {self._say('failures')} {name}: {times}"
        sources = ", ".join(revocation.sources) or self._say("no-source")
        ends = (
            ""
            if revocation.next_update is None
            else f", {self._say('until')} {_time(revocation.next_update)}"
        )
        yield f"{self._say('revocation')}: {self._usable(revocation.usable)} ({sources}){ends}"
        if revocation.missing:
            yield f"  {self._say('no-list')}: {', '.join(revocation.missing)}"

    def _usable(self, usable: bool) -> str:  # noqa: FBT001 - the only thing it is asked
        return self._say("usable" if usable else "unusable")

    def _say(self, key: str) -> str:
        return story(f"status-{key}").in_language(self._spoken)

    def _word(self, kind: str, value: str) -> str:
        """Return what a *value* means; one that a newer appliance has come up with stands for itself."""
        text = catalogue().story.get(f"status-{kind}-{value}")
        return value if text is None else text.in_language(self._spoken)


def _time(unix: float) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M:%S} UTC"
