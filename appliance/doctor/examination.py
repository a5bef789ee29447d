"""All looks, one after another. What cannot be looked at is told as such; no look keeps the others from their turn."""

from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from appliance import config
from appliance.client.refused import Refused
from appliance.config import Configuration
from appliance.doctor import configuration as named
from appliance.doctor import desks, hsm, ledger, machine, unit, validity
from appliance.doctor.asked import Told, ask, is_away, socket_of
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
            yield _sandbox()
            return
        for one in _looked(Check.CONFIGURATION, lambda: named.soundness(configuration)):
            yield one
        for one in _looked(Check.PERMISSIONS, lambda: named.permissions(configuration, self._file)):
            yield one
        told, is_away, daemon = await _asked(configuration)
        yield daemon
        for one in await self._hsms(configuration, told, is_away=is_away):
            yield one
        for check, look in (
            (
                Check.CERTIFICATES,
                lambda: validity.certificates(
                    configuration, None if told is None else told.condition.peer_certificates
                ),
            ),
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
        yield _sandbox()
        for one in _looked(Check.DISK, lambda: machine.disk(configuration)):
            yield one

    async def _hsms(self, configuration: Configuration, told: Told | None, *, is_away: bool) -> list[Finding]:
        try:
            if told is not None:
                return list(hsm.told(told.condition))
            # Beside a daemon that does not tell us, a PIN that was changed would cost one more try.
            if self._log_in and is_away:
                return await hsm.opened(configuration)
            return list(hsm.unopened(configuration))
        except ApplianceError as error:
            return [Finding.of(Check.HSM, error)]


def _sandbox() -> Finding:
    # What it is compared with is put together in a folder: the disk, which is looked at next, may be full.
    (found,) = _looked(Check.SANDBOX, lambda: [machine.sandbox()])
    return found


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


async def _asked(configuration: Configuration) -> tuple[Told | None, bool, Finding]:
    """Return what the daemon tells; whether none runs, as far as can be known; and what is found of that."""
    try:
        told = await ask(socket_of(configuration))
    except ApplianceUnreachable as error:
        found = Finding(
            Check.DAEMON, Verdict.WARNING, error.detail, advice=Advice.NOT_RUNNING, code=error.code
        )
        # What systemd does not say may as well run, and listen somewhere else.
        return None, is_away(error) and unit.runs() is False, found
    except (AccessDenied, Refused) as error:
        found = Finding(
            Check.DAEMON, Verdict.WARNING, error.detail, advice=Advice.MAY_NOT_ASK, code=error.code
        )
        return None, False, found
    except ApplianceError as error:
        return None, False, Finding.of(Check.DAEMON, error)
    condition = told.condition
    if told.ready:
        detail = f"ready, version {condition.version}, {condition.authentications} under way"
        return told, False, Finding(Check.DAEMON, Verdict.OK, detail)
    detail = f"not ready: {', '.join(told.causes)}"
    return told, False, Finding(Check.DAEMON, Verdict.FAILED, detail, advice=Advice.NOT_READY)
