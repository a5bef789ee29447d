"""Readers and terminals: what the daemon says of its desks, or what the PC/SC service says of its readers."""

import time
from collections.abc import Iterator
from typing import Final

from appliance.config import Configuration
from appliance.daemon.desks import watched
from appliance.doctor.asked import Told
from appliance.doctor.finding import Advice, Check, Finding, Verdict
from appliance.errors import CardError, ReaderAbsent, ReaderStuck
from appliance.gateway.desks import DeskState, DeskStatus
from appliance.terminals import scard
from appliance.terminals.attendant import Attendant
from appliance.terminals.view import View

_SECONDS: Final = 10.0


def readers_told(told: Told) -> Iterator[Finding]:
    """Yield how the readers of this machine are, as the daemon sees them."""
    local = [one for one in told.desks if one.kind == "local"]
    if not local:
        yield Finding(Check.READERS, Verdict.NOT_APPLICABLE, "this machine has none")
    for one in local:
        yield _reader(one)


def _reader(one: DeskStatus) -> Finding:
    match one.state:
        case DeskState.ABSENT:
            return Finding(Check.READERS, Verdict.FAILED, one.state, one.desk, code=ReaderAbsent.code)
        case DeskState.STUCK:
            return Finding(Check.READERS, Verdict.FAILED, one.state, one.desk, code=ReaderStuck.code)
        case _:
            return Finding(Check.READERS, Verdict.OK, one.state, one.desk)


async def readers_seen(configuration: Configuration) -> list[Finding]:
    """Return which of the configured readers the PC/SC service has, looked up by ourselves."""
    desks = watched(configuration.settings.reader)
    if not desks:
        return [Finding(Check.READERS, Verdict.NOT_APPLICABLE, "this machine has none")]
    attendant = Attendant("doctor")
    try:
        names = await attendant.call(_names, _SECONDS)
    except CardError as error:
        return [Finding.of(Check.READERS, error)]
    finally:
        attendant.end()
    nothing_on = scard.ReaderState.from_raw(0)
    view = View(time.time(), time.time(), dict.fromkeys(names, nothing_on))
    return [_configured(view, configuration, alias) for alias in desks]


def _names() -> tuple[str, ...]:
    with scard.context() as service:
        return service.readers()


def _configured(view: View, configuration: Configuration, alias: str) -> Finding:
    try:
        view.reader(watched(configuration.settings.reader), alias)
    except CardError as error:
        return Finding.of(Check.READERS, error, alias)
    return Finding(Check.READERS, Verdict.OK, "there", alias)


def terminals(configuration: Configuration, told: Told | None) -> Iterator[Finding]:
    """Yield which of the configured terminals are connected; only the daemon knows."""
    aliases = [one.alias for one in configuration.settings.peer if one.role == "terminal"]
    if not aliases:
        yield Finding(Check.TERMINALS, Verdict.NOT_APPLICABLE, "none is configured")
    elif told is None:
        yield Finding(Check.TERMINALS, Verdict.NOT_APPLICABLE, "only the running daemon knows")
    else:
        for alias in aliases:
            yield _terminal(alias, [one for one in told.desks if one.desk.startswith(f"{alias}.")])


def _terminal(alias: str, desks: list[DeskStatus]) -> Finding:
    there = [one for one in desks if one.state not in {DeskState.ABSENT, DeskState.STUCK}]
    if not there:
        detail = f"{len(desks)} desks, none of them usable"
        return Finding(Check.TERMINALS, Verdict.WARNING, detail, alias, Advice.TERMINAL_AWAY)
    if len(there) < len(desks):
        detail = f"{len(there)} of {len(desks)} desks are usable"
        return Finding(Check.TERMINALS, Verdict.WARNING, detail, alias, Advice.TERMINAL_AWAY)
    return Finding(Check.TERMINALS, Verdict.OK, f"{len(desks)} desks", alias)
