"""All looks, one after another. What cannot be looked at is told as such; no look keeps the others from their turn."""

from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from appliance import config
from appliance.client.refused import Refused
from appliance.config import Configuration
from appliance.doctor import configuration as named
from appliance.doctor import desks, hsm, ledger, machine, validity
from appliance.doctor.asked import Told, ask
from appliance.doctor.finding import Advice, Check, Finding, Verdict
from appliance.errors import AccessDenied, ApplianceError, ApplianceUnreachable


class Examination:
    """A look at the appliance whose configuration is *file*; *log_in* allows to log in to HSMs of which nobody tells."""

    def __init__(self, file: Path, *, log_in: bool = False) -> None:
        self._file, self._log_in = file, log_in

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield what is found."""
        try:
            configuration = config.load(self._file)
        except ApplianceError as error:
            yield Finding.of(Check.CONFIGURATION, error, "file")
            yield machine.clock()
            yield machine.sandbox()
            return
        for one in _looked(Check.CONFIGURATION, lambda: named.soundness(configuration)):
            yield one
        for one in _looked(Check.PERMISSIONS, lambda: named.permissions(configuration, self._file)):
            yield one
        told, daemon = await _asked(configuration)
        yield daemon
        for one in await self._hsms(configuration, told):
            yield one
        for check, look in (
            (Check.CERTIFICATES, lambda: validity.certificates(configuration)),
            (Check.REVOCATION, lambda: validity.revocation(configuration, is_running=told is not None)),
            (Check.LEDGER, lambda: ledger.ledger(configuration, is_running=told is not None)),
        ):
            for one in _looked(check, look):
                yield one
        yield machine.clock()
        for one in desks.readers_told(told) if told else await desks.readers_seen(configuration):
            yield one
        for one in desks.terminals(configuration, told):
            yield one
        yield machine.sandbox()
        for one in _looked(Check.DISK, lambda: machine.disk(configuration)):
            yield one

    async def _hsms(self, configuration: Configuration, told: Told | None) -> list[Finding]:
        try:
            if told is not None:
                return list(hsm.told(told.condition))
            if self._log_in:
                return await hsm.opened(configuration)
            return list(hsm.unopened(configuration))
        except ApplianceError as error:
            return [Finding.of(Check.HSM, error)]


def _looked(check: Check, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return what *look* finds, and what stops it."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except ApplianceError as error:
        found.append(Finding.of(check, error))
    except OSError as error:
        found.append(Finding(check, Verdict.FAILED, f"cannot be looked at: {error.strerror}"))
    return found


async def _asked(configuration: Configuration) -> tuple[Told | None, Finding]:
    socket = configuration.settings.gateway.socket
    if socket is None:
        detail = "there is no local socket to ask at"
        return None, Finding(Check.DAEMON, Verdict.NOT_APPLICABLE, detail)
    try:
        told = await ask(configuration.path(socket))
    except ApplianceUnreachable as error:
        return None, Finding(
            Check.DAEMON, Verdict.WARNING, error.detail, advice=Advice.NOT_RUNNING, code=error.code
        )
    except (AccessDenied, Refused) as error:
        return None, Finding(
            Check.DAEMON, Verdict.WARNING, error.detail, advice=Advice.MAY_NOT_ASK, code=error.code
        )
    except ApplianceError as error:
        return None, Finding.of(Check.DAEMON, error)
    condition = told.condition
    if told.ready:
        detail = f"ready, version {condition.version}, {condition.authentications} under way"
        return told, Finding(Check.DAEMON, Verdict.OK, detail)
    detail = f"not ready: {', '.join(told.causes)}"
    return told, Finding(Check.DAEMON, Verdict.FAILED, detail, advice=Advice.NOT_READY)
