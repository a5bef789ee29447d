"""
What of a configuration may leave the site: a closed list of keys, and of those only values of the expected kind.

Names of the site, its people, its machines and its accounts are withheld, and so is every value that is not known to
be harmless. Files are named where they are there: what was written by mistake in a file's place, a PIN for example,
names none. What is in them is never read.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from appliance.config import Configuration
from appliance.errors import ConfigInvalid

WITHHELD: Final = "withheld"
_WORD: Final = re.compile(r"[a-z][a-z0-9.-]{0,64}")
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_HOME: Final = re.compile(r"(/home/)[^/]+")
_POSTGRESQL: Final = "postgresql://"

_FILES: Final = frozenset(
    [
        "institution.intermediate",
        "institution.leaf",
        "institution.root_key",
        "institution.next.intermediate",
        "institution.next.leaf",
        "hsm.module",
        "hsm.pin_file",
        "hsm.token_key",
        "hsm.state",
        "hsm.standby.module",
        "hsm.standby.pin_file",
        "trust.authorities",
        "trust.front_root",
        "revocation.crl.folder",
        "revocation.crl.state",
        "revocation.ocsp.authorities",
        "revocation.ocsp.client_certificate",
        "revocation.ocsp.client_key_file",
        "result.pseudonym_key_file",
        "result.earlier_token_keys.file",
        "ledger.key",
        "ledger.database",
        "ledger.copies",
        "ledger.syslog.authority",
        "gateway.socket",
        "gateway.tls.certificate",
        "gateway.tls.key_file",
        "gateway.tls.clients",
        "eligibility.authorities",
        "eligibility.client_certificate",
        "eligibility.client_key_file",
    ]
)
_WORDS: Final = frozenset(
    [
        "institution.profile",
        "hsm.alias",
        "hsm.vendor",
        "hsm.standby.alias",
        "hsm.standby.vendor",
        "revocation.sources",
        "revocation.when_unavailable",
        "revocation.ocsp.identifier",
        "reader.alias",
        "reader.extended",
        "peer.alias",
        "peer.role",
        "peer.desks",
        "eligibility.service",
    ]
)
_VALUES: Final = frozenset(
    [
        "hsm.workers",
        "hsm.start_seconds",
        "hsm.sign_seconds",
        "hsm.queue_limit",
        "hsm.canary_seconds",
        "hsm.challenges_per_minute",
        "hsm.standby.workers",
        "revocation.longest_age_hours",
        "revocation.crl.watch_seconds",
        "revocation.ocsp.seconds",
        "reader.card_seconds",
        "reader.exchange_seconds",
        "reader.pin_seconds",
        "reader.pin_pad",
        "reader.delay_seconds",
        "gateway.authentications",
        "gateway.connections",
        "gateway.result_seconds",
        "gateway.drain_seconds",
        "gateway.notice_seconds",
        "gateway.tls.port",
        "peer.budget.per_minute",
        "peer.budget.at_once",
        "peer.budget.per_day",
        "policy.decision_seconds",
        "policy.emergency_hours",
        "terminals.heartbeat_seconds",
        "terminals.exchange_seconds",
        "terminals.card_seconds",
        "terminals.pin_seconds",
        "terminals.sign_scenarios",
        "metrics.port",
        "result.lifetime_seconds",
        "ledger.append_seconds",
        "ledger.checkpoint_seconds",
        "ledger.keep_days",
        "ledger.stop_without_copy_hours",
        "ledger.syslog.port",
        "eligibility.seconds",
        "eligibility.largest_bytes",
    ]
)
_VARIABLES: Final = frozenset({"hsm.environment", "hsm.standby.environment"})


def disclosed(configuration: Configuration) -> dict[str, object]:
    """Return what may be told of *configuration*, in its own shape."""
    plain: dict[str, Any] = msgspec.to_builtins(configuration.settings)
    return {key: _told(configuration, key, value) for key, value in plain.items()}


def aliases(configuration: Configuration) -> frozenset[str]:
    """Return what parts of this site are called, in logs and metrics."""
    settings = configuration.settings
    hsms = (one.alias for one in settings.hsm.all)
    readers = (one.alias for one in settings.reader)
    return frozenset((*hsms, *readers, *(one.alias for one in settings.peer)))


def without_homes(text: str) -> str:
    """Return *text* without the names of accounts that paths in it lead through."""
    return _HOME.sub(rf"\1{WITHHELD}", text)


def _told(configuration: Configuration, key: str, value: object) -> object:
    if value is None:
        return None
    if key in _VARIABLES and isinstance(value, Mapping):
        return sorted(name if _VARIABLE.fullmatch(name) else WITHHELD for name in value)
    if isinstance(value, Mapping):
        return {
            name: _told(configuration, f"{key}.{name}", inner)
            for name, inner in value.items()
            if isinstance(name, str) and _WORD.fullmatch(name.replace("_", "-"))
        }
    if isinstance(value, list | tuple):
        return [_told(configuration, key, one) for one in value]
    if not _may_be_told(configuration, key, value):
        return WITHHELD
    return without_homes(value) if isinstance(value, str) else value


def _may_be_told(configuration: Configuration, key: str, value: object) -> bool:
    if isinstance(value, str):
        if key in _WORDS:
            return _WORD.fullmatch(value) is not None
        return key in _FILES and _is_there(configuration, value)
    return key in _VALUES and isinstance(value, bool | int | float)


def _is_there(configuration: Configuration, named: str) -> bool:
    if named.startswith(_POSTGRESQL):
        return False
    try:
        return configuration.path(named).exists()
    except (ConfigInvalid, OSError, ValueError):
        return False
