"""Reports as a table for people: one row for each question, one column for each module."""

from collections.abc import Callable, Sequence
from typing import Any

from appliance.hsm.conformance.profile import unsafe
from appliance.hsm.conformance.results import (
    Destroyed,
    Failed,
    Initialised,
    KeyMade,
    Mechanisms,
    Rate,
    Report,
    Sessions,
    StaleHandle,
    TokenSeen,
)

_NOTHING = "-"


def rows(report: Report) -> list[tuple[str, str]]:
    """Return every question with what the module answers."""
    softened = report.profile.deviations if report.profile else (no_profile(report),)
    return [(question, _cell(report, probe, shown)) for question, probe, shown in _QUESTIONS] + [
        ("What the profile softens", "; ".join(softened) or "nothing")
    ]


def no_profile(report: Report) -> str:
    """Return why no profile follows from *report*."""
    if condemned := unsafe(report.findings):
        return f"no profile follows: not usable, {', '.join(condemned)}"
    return "no profile follows: no institution key could sign"


def markdown(reports: Sequence[Report]) -> str:
    """Return the table of several *reports* as Markdown."""
    columns = [dict(rows(report)) for report in reports]
    lines = [
        "| |" + "".join(f" {report.vendor} |" for report in reports),
        "|---|" + "---|" * len(reports),
        "| Tested |" + "".join(f" {report.tested.isoformat()} |" for report in reports),
        "| Versions |" + "".join(f" {report.versions} |" for report in reports),
    ]
    lines += [
        f"| {question} |" + "".join(f" {column[question]} |" for column in columns)
        for question in (columns[0] if columns else {})
    ]
    return "\n".join(lines) + "\n"


def _cell(report: Report, probe: str, shown: Callable[[Any], str | None]) -> str:
    finding = report.findings.get(probe)
    if isinstance(finding, Failed):
        return finding.detail if finding.how == "refused" else f"{finding.how}: {finding.detail}"
    return (finding and shown(finding)) or _NOTHING


def _initialised(found: Initialised) -> str:
    return f"ok ({found.library} {found.version}, PKCS#11 {found.cryptoki})"


def _token(found: TokenSeen) -> str:
    return f"one of {found.slots} slots ({found.manufacturer}, {found.model})"


def _mechanisms(found: Mechanisms) -> str:
    return ", ".join(name.removeprefix("CKM_") for name in found.names)


def _sessions(found: Sessions) -> str:
    return (
        f"{found.opened} more, then {found.stopped}" if found.stopped else f"{found.opened} more, and no end"
    )


def _stale(found: StaleHandle) -> str:
    return f"{found.before_login}; after login {found.after_login}"


def _rate(found: Rate) -> str:
    return f"{found.per_second:,.0f}/s, p50 {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f} ms"


def _destroyed(found: Destroyed) -> str:
    return f"{found.destroyed} destroyed, {found.left} left"


def _attributes(made: KeyMade) -> str:
    return ", ".join(
        f"{name.removeprefix('CKA_')} {'unknown' if value is None else str(value).upper()}"
        for name, value in made.attributes.items()
    )


def _omitted(made: KeyMade) -> str:
    return ", ".join(name.removeprefix("CKA_") for name in made.omitted) or "nothing"


def _allowed(made: KeyMade) -> str:
    if made.allowed is None:
        return "unknown"
    return ", ".join(name.removeprefix("CKM_") for name in made.allowed)


def _signature(made: KeyMade) -> str:
    return made.signature


_QUESTIONS: tuple[tuple[str, str, Callable[[Any], str | None]], ...] = (
    ("C_Initialize(NULL)", "initialise", _initialised),
    ("Token", "token", _token),
    ("Mechanisms we would use", "mechanisms", _mechanisms),
    ("RSA-2048 by SHA256_RSA_PKCS", "key institution", _signature),
    ("RSA-2048 by RSA_PKCS, DigestInfo ours", "key institution-raw", _signature),
    ("P-256 by ECDSA", "key token", _signature),
    ("Ed25519 by EDDSA", "key ledger", _signature),
    ("Left out of the RSA template", "key institution-raw", _omitted),
    ("Left out of the P-256 template", "key token", _omitted),
    ("RSA key as read back", "key institution-raw", _attributes),
    ("CKA_ALLOWED_MECHANISMS of it", "key institution-raw", _allowed),
    ("Another mechanism with it", "key institution-raw", lambda made: made.other_mechanism),
    ("Reading its private parts", "key institution-raw", lambda made: ", ".join(made.secret_parts)),
    ("Setting CKA_EXTRACTABLE", "key institution-raw", lambda made: made.made_extractable),
    ("CKA_EC_POINT", "key token", lambda made: made.ec_point),
    ("ECDSA signature", "key token", lambda made: made.ecdsa_signature),
    ("CKA_EC_PARAMS of Ed25519", "key ledger", lambda made: made.ed25519_params),
    ("Second session after one login", "login", lambda scope: scope.second_session),
    ("Second login, same PIN", "login", lambda scope: scope.second_login),
    ("Second session once the first is closed", "login", lambda scope: scope.after_close),
    ("Sessions in one process", "sessions", _sessions),
    ("Key object kept over finalize, initialize", "stale", _stale),
    ("Key found again after that", "reinitialise", lambda found: found.found_again),
    ("ECDSA with an RSA key", "errors", lambda errors: errors.wrong_mechanism),
    ("300 bytes to sign", "errors", lambda errors: errors.too_long),
    ("The same session after both", "errors", lambda errors: errors.after_errors),
    ("A destroyed key", "errors", lambda errors: errors.destroyed_key),
    ("A closed session", "errors", lambda errors: errors.closed_session),
    ("RSA-2048, one process", "rate 1", _rate),
    ("RSA-2048, two processes", "rate 2", _rate),
    ("Throw-away objects", "destroy", _destroyed),
)
