"""The configuration, and who else could read or change what it names."""

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from appliance import credentials
from appliance.config import Configuration
from appliance.daemon.check import examine
from appliance.doctor.finding import Advice, Check, Finding, Verdict
from appliance.errors import ConfigInvalid

_FROM_CREDENTIALS: Final = frozenset({"hsm.pin_file", "result.pseudonym_key_file"})


def soundness(configuration: Configuration) -> Iterator[Finding]:
    """Yield what is wrong with what *configuration* names, or that nothing is."""
    examined = list(examine(configuration))
    bad = [Finding.of(Check.CONFIGURATION, one.error, one.key) for one in examined if one.error is not None]
    if not bad:
        yield Finding(Check.CONFIGURATION, Verdict.OK, f"{len(examined)} parts, nothing wrong")
    away = _credentials_are_away(configuration)
    for finding in bad:
        if away and finding.subject in _FROM_CREDENTIALS:
            yield replace(finding, verdict=Verdict.WARNING, advice=Advice.CREDENTIALS)
        else:
            yield finding


def permissions(configuration: Configuration, file: Path) -> Iterator[Finding]:
    """Yield each file that is open to others than it should be, or that none is."""
    looked = 0
    is_closed = True
    for subject, path, forbidden in _guarded(configuration, file):
        try:
            status = path.stat()
        except OSError:
            continue  # what has to be there is told with the configuration
        looked += 1
        secret = forbidden & stat.S_IROTH
        if credentials.open_to_others(path, status) if secret else status.st_mode & forbidden:
            is_closed = False
            wrong = "can be read" if secret else "can be changed"
            detail = f"{path} {wrong} by others (mode {stat.S_IMODE(status.st_mode):04o})"
            yield Finding(Check.PERMISSIONS, Verdict.FAILED, detail, subject, Advice.OPEN_FILE)
    if is_closed:
        yield Finding(Check.PERMISSIONS, Verdict.OK, f"{looked} files and folders are closed to others")


def secrets(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yield the key and the value of all settings that name a file with a secret."""
    settings = configuration.settings
    for one in settings.hsm.all:
        yield "hsm.pin_file", one.pin_file
    yield "result.pseudonym_key_file", settings.result.pseudonym_key_file
    if settings.gateway.tls is not None:
        yield "gateway.tls.key_file", settings.gateway.tls.key_file
    if settings.revocation.ocsp is not None and settings.revocation.ocsp.client_key_file is not None:
        yield "revocation.ocsp.client_key_file", settings.revocation.ocsp.client_key_file
    if settings.eligibility is not None:
        yield "eligibility.client_key_file", settings.eligibility.client_key_file


_READ: Final = stat.S_IRWXG | stat.S_IRWXO
_CHANGE: Final = stat.S_IWOTH


def _guarded(configuration: Configuration, file: Path) -> Iterator[tuple[str, Path, int]]:
    settings = configuration.settings
    for key, named in secrets(configuration):
        try:
            yield key, configuration.path(named), _READ
        except ConfigInvalid:
            continue  # no possible name; told with the configuration
    yield "configuration", file, _CHANGE
    yield "configuration", configuration.folder, _CHANGE
    yield "hsm.state", configuration.path(settings.hsm.state), _CHANGE
    if settings.revocation.crl is not None:
        yield "revocation.crl.folder", configuration.path(settings.revocation.crl.folder), _CHANGE
        yield "revocation.crl.state", configuration.path(settings.revocation.crl.state), _CHANGE
    if (database := database_file(configuration)) is not None:
        yield "ledger.database", database, _CHANGE
        yield "ledger.database", database.parent, _CHANGE
    for one in settings.hsm.all:
        if one.module is not None:
            yield "hsm.module", Path(one.module), _CHANGE


def database_file(configuration: Configuration) -> Path | None:
    """Return the file of the ledger; None where it is in PostgreSQL."""
    database = configuration.settings.ledger.database
    return None if database.startswith("postgresql://") else configuration.path(database)


def _credentials_are_away(configuration: Configuration) -> bool:
    """Return whether secrets are systemd's to hand over, and the service does not run."""
    for _, named in secrets(configuration):
        try:
            path = credentials.located(named)
        except ConfigInvalid:
            continue
        if path is not None and not os.path.lexists(path.parent):
            return True
    return False
