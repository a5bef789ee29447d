"""The vendor profile that follows from findings, and its text."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal, cast

import msgspec
from msgspec.structs import replace

from appliance.hsm.conformance.results import SIGNS, Finding, KeyMade, Sessions
from appliance.hsm.vendor import (
    NEVER_SOFTENED,
    SAFE_KEY,
    AttributeName,
    Attributes,
    Limits,
    Signing,
    Tested,
    Vendor,
)

_ALLOWED = "CKA_ALLOWED_MECHANISMS"
_OWN_MECHANISM = {
    "key institution": "CKM_SHA256_RSA_PKCS",
    "key institution-raw": "CKM_RSA_PKCS",
    "key token": "CKM_ECDSA",
    "key ledger": "CKM_EDDSA",
}


def learned(vendor: Vendor, made: KeyMade) -> Vendor:
    """Return *vendor* with what the next key may as well be made without."""
    omitted = vendor.attributes.omitted | _names(made.omitted)
    return replace(vendor, attributes=replace(vendor.attributes, omitted=omitted))


def profile(named: Vendor, findings: Mapping[str, Finding], tested: date, versions: str) -> Vendor | None:
    """
    Return the profile that follows from *findings*, or None where no institution key signed, or a key is `unsafe`.

    From *named* comes only what no probe can tell: how the module is reached and logged in to, how long it may take,
    what its variables are for, notes.
    """
    keys = _signing_keys(findings)
    if not {"key institution", "key institution-raw"} & keys.keys() or unsafe(findings):
        return None
    return replace(
        named,
        status=Tested(date=tested, versions=versions),
        signing=_signing(keys),
        attributes=_attributes(keys),
        limits=_limits(named.limits, findings.get("sessions")),
    )


def unsafe(findings: Mapping[str, Finding]) -> tuple[str, ...]:
    """Return what no profile may excuse of the keys that signed: the attributes, and what the module says of each."""
    shown = {
        f"{name} is {'unknown' if value is None else str(value).upper()}"
        for made in _signing_keys(findings).values()
        for name, value in made.attributes.items()
        if name in NEVER_SOFTENED and value is not SAFE_KEY[cast("AttributeName", name)]
    }
    return tuple(sorted(shown))


def _signing_keys(findings: Mapping[str, Finding]) -> dict[str, KeyMade]:
    return {
        name: found
        for name, found in findings.items()
        if isinstance(found, KeyMade) and found.signature == SIGNS
    }


def _signing(keys: Mapping[str, KeyMade]) -> Signing:
    token, ledger = keys.get("key token"), keys.get("key ledger")
    return Signing(
        rsa="sha256-rsa-pkcs" if "key institution" in keys else "rsa-pkcs",
        ec=token is not None,
        ec_point=(token and token.ec_point) or "der",
        ecdsa_signature=(token and token.ecdsa_signature) or "raw",
        ledger="ed25519" if ledger else "p256",
        ed25519_params=(ledger and ledger.ed25519_params) or "oid",
    )


def _attributes(keys: Mapping[str, KeyMade]) -> Attributes:
    omitted: frozenset[AttributeName] = frozenset()
    unreadable: set[AttributeName] = set()
    expected: dict[AttributeName, bool] = {}
    for made in keys.values():
        omitted |= _names(made.omitted)
        for name, value in made.attributes.items():
            if value is None:
                unreadable |= _names((name,))
            elif value is not SAFE_KEY[cast("AttributeName", name)]:
                expected[cast("AttributeName", name)] = value
    return Attributes(
        omitted=omitted,
        unreadable=frozenset(unreadable),
        expected=dict(sorted(expected.items())),
        allowed_mechanisms=_allowed_mechanisms(keys),
    )


def _allowed_mechanisms(keys: Mapping[str, KeyMade]) -> Literal["enforced", "unenforced", "unknown", "fixed"]:
    made = [(name, one) for name, one in keys.items()]
    if all(one.allowed is None for _, one in made):
        return "unknown"
    if any(_ALLOWED in one.omitted or one.allowed != (_OWN_MECHANISM[name],) for name, one in made):
        return "fixed"
    return "unenforced" if any(one.other_mechanism == SIGNS for _, one in made) else "enforced"


def _limits(named: Limits, sessions: Finding | None) -> Limits:
    if isinstance(sessions, Sessions) and sessions.stopped is not None:
        return replace(named, sessions=sessions.opened + 1)
    return named


def _names(names: tuple[str, ...]) -> frozenset[AttributeName]:
    return frozenset(cast("AttributeName", name) for name in names if name != _ALLOWED)


def as_toml(vendor: Vendor) -> str:
    """Return *vendor* as the text of a profile file, without comments; what is at its default is left out."""
    lines: list[str] = []
    tables: list[tuple[str, Mapping[str, Any]]] = []
    content = msgspec.to_builtins(vendor, builtin_types=(date,), order="deterministic")
    defaults = msgspec.to_builtins(
        Vendor(name=vendor.name, status=vendor.status, module=vendor.module), order="deterministic"
    )
    for name, value in content.items():
        if isinstance(value, Mapping) and name != "status":
            said = {key: one for key, one in value.items() if one != defaults[name].get(key)}
            if said:
                tables.append((name, said))
        elif value not in (None, [], ()) and (
            name in {"name", "module", "status"} or value != defaults[name]
        ):
            lines.append(f"{name} = {_value(value)}")
    for name, table in tables:
        lines += [
            "",
            f"[{name}]",
            *(f"{key} = {_value(one)}" for key, one in table.items() if one is not None),
        ]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items() if one is not None) + " }"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, date):
        return value.isoformat()
    # JSON writes strings, booleans and numbers as TOML does.
    return json.dumps(value, ensure_ascii=False)
