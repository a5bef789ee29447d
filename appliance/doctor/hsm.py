"""The HSMs: what the daemon says of them, or what one worker of ours finds."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from appliance.config import Configuration
from appliance.daemon.places import hsms
from appliance.doctor.finding import Advice, Check, Finding, Verdict
from appliance.errors import ApplianceError, HsmPinRejected, HsmUnavailable
from appliance.gateway.condition import Condition, Hsm
from appliance.gateway.findings import AT_WORK, CANARY_SECONDS
from appliance.hsm.health import HsmHealth, HsmState
from appliance.hsm.marker import Marker
from appliance.hsm.pool import Pool


def told(condition: Condition) -> Iterator[Finding]:
    """Yield how the daemon's HSMs are. Its workers found the keys and read their attributes back when they logged in."""
    for one in condition.hsms:
        if one.pin_marker:
            yield _rejected(one.alias)
        elif one.state != HsmState.UP:
            code = HsmUnavailable.code if one.last_failure is None else one.last_failure.code
            yield Finding(Check.HSM, Verdict.FAILED, f"state {one.state}", one.alias, code=code)
        else:
            yield _up(one, condition.time.timestamp())


def _up(one: Hsm, now: float) -> Finding:
    missing = sum(number for state, number in one.workers.items() if state not in AT_WORK)
    old = [key.label for key in one.keys if key.canary_at is None or now - key.canary_at > CANARY_SECONDS]
    if missing or old:
        detail = f"{missing} workers are missing; no recent canary of: {', '.join(old) or 'none'}"
        return Finding(Check.HSM, Verdict.WARNING, detail, one.alias, Advice.HSM_STRUGGLES)
    return Finding(
        Check.HSM, Verdict.OK, _keys([(key.label, key.canary_seconds) for key in one.keys]), one.alias
    )


def unopened(configuration: Configuration) -> Iterator[Finding]:
    """Yield what can be said of the HSMs without touching them: whether a rejected PIN bars them."""
    state = configuration.path(configuration.settings.hsm.state)
    for one in hsms(configuration):
        if Marker.of(one, state).is_set():
            yield _rejected(one.alias)
        else:
            yield Finding(
                Check.HSM, Verdict.WARNING, "the daemon did not tell", one.alias, Advice.HSM_NOT_OPENED
            )


async def opened(configuration: Configuration) -> list[Finding]:
    """
    Log in to each HSM with one worker, as the daemon would, and return how that went.

    An HSM that has rejected a PIN is not touched. Each other gets one try, unless the token says that one is too many.
    """
    settings = configuration.settings.hsm
    state = configuration.path(settings.state)
    places = hsms(configuration)
    barred = {one.alias for one in places if Marker.of(one, state).is_set()}
    if os.geteuid() == 0 and _owner(state) != 0:
        # What root leaves beside a token or in the state folder, the appliance could not use any more.
        detail = "not as root: run this as the account of the appliance"
        return [
            _rejected(one.alias)
            if one.alias in barred
            else Finding(Check.HSM, Verdict.WARNING, detail, one.alias, Advice.HSM_NOT_OPENED)
            for one in places
        ]
    allowed = [replace(one, workers=1) for one in places if one.alias not in barred]
    found = {alias: _rejected(alias) for alias in barred}
    if allowed:
        pool = Pool(
            allowed, state=state, start_seconds=settings.start_seconds, sign_seconds=settings.sign_seconds
        )
        try:
            try:
                await pool.start()
            except ApplianceError as error:
                failure = error
            else:
                failure = HsmUnavailable("no worker is ready")
            found |= {one.alias: _opened(one, failure) for one in pool.health().hsms}
        finally:
            await pool.close()
    return [found[one.alias] for one in places]


def _owner(folder: Path) -> int:
    """Return whose *folder* is, or will be by who made the one it comes to lie in."""
    return next(one for one in (folder, *folder.parents) if one.exists()).stat().st_uid


def _opened(one: HsmHealth, failure: ApplianceError) -> Finding:
    if one.state is HsmState.UP:
        return Finding(
            Check.HSM, Verdict.OK, _keys([(key.label, key.canary_seconds) for key in one.keys]), one.alias
        )
    if one.last_failure is None:
        return Finding.of(Check.HSM, failure, one.alias)
    last = one.last_failure
    detail = f"{last.detail} ({last.ckr})" if last.ckr else last.detail
    return Finding(Check.HSM, Verdict.FAILED, detail, one.alias, code=last.code)


def _keys(keys: list[tuple[str, float | None]]) -> str:
    sung = (
        f"{label} {seconds * 1000:.1f} ms" if seconds is not None else f"{label} without canary"
        for label, seconds in keys
    )
    return f"logged in, keys found and their attributes read back; {', '.join(sung)}"


def _rejected(alias: str) -> Finding:
    detail = "a PIN was rejected; the HSM is not touched before a person has looked"
    return Finding(Check.HSM, Verdict.FAILED, detail, alias, code=HsmPinRejected.code)
