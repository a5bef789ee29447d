"""Everything about a configuration that can be known without touching the HSM, a card or the network."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance import credentials
from appliance.config import Configuration, TokenSettings
from appliance.daemon.keys import load_chains, load_front_root, load_profile, load_token_key
from appliance.daemon.listeners import server_context
from appliance.daemon.places import hsms
from appliance.eligibility import place as eligibility_place
from appliance.errors import ApplianceError, ConfigInvalid
from appliance.gateway.desks import SEPARATOR
from appliance.gateway.keys import PublishedKeys
from appliance.gateway.peers import Directory
from appliance.hsm.vendor import load_vendor
from appliance.ledger import place as ledger_place
from appliance.ledger.log import Log
from appliance.revocation.knowledge import responder_tls
from appliance.trust.certificates import Anchors
from appliance.trust.pseudonym import PseudonymKey

_LONGEST_SOCKET: Final = 107
"""Bytes of a Unix socket's path."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of looking at what a *key* of the file names; *error* is None where all is well."""

    key: str
    error: ApplianceError | None = None


def examine(configuration: Configuration) -> Iterator[Checked]:
    """Yield what is found at each key that names something, in the order of the file."""
    for key, look in _LOOKS.items():
        try:
            look(configuration)
        except ApplianceError as error:
            yield Checked(key, error)
        else:
            yield Checked(key)


def require_sound(configuration: Configuration) -> None:
    """Raise what is wrong with *configuration*, if anything is: the first of it."""
    for look in _LOOKS.values():
        look(configuration)


def _institution(configuration: Configuration) -> None:
    load_profile(configuration)
    load_chains(configuration)


def _hsm(configuration: Configuration) -> None:
    for one in configuration.settings.hsm.all:
        module = Path(one.module or load_vendor(one.vendor, configuration.folder).module)
        if not module.is_file():
            raise ConfigInvalid(f"{one.alias}: the PKCS#11 module {module} is not there")
    hsms(configuration)


def _pin_files(configuration: Configuration) -> None:
    for one in configuration.settings.hsm.all:
        _require_closed(configuration, one)


def _require_closed(configuration: Configuration, one: TokenSettings) -> None:
    """Check who can read the PIN, without reading it: that is the worker's alone."""
    path = configuration.path(one.pin_file)
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    if credentials.open_to_others(path, status):
        raise ConfigInvalid(f"{path} can be read by others than its owner: chmod 600")
    if not os.access(path, os.R_OK):
        raise ConfigInvalid(f"{path} cannot be read by this account")


def _state(configuration: Configuration) -> None:
    folder = configuration.path(configuration.settings.hsm.state)
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigInvalid(f"nothing can be written into the state folder {folder}")


def _authorities(configuration: Configuration) -> None:
    Anchors.from_pem(configuration.read(name) for name in configuration.settings.trust.authorities)


def _revocation(configuration: Configuration) -> None:
    settings = configuration.settings.revocation
    if settings.crl is not None and "crl" in settings.sources:
        folder = configuration.path(settings.crl.folder)
        if not folder.is_dir():
            raise ConfigInvalid(f"revocation.crl.folder {folder} is not there")
    if settings.ocsp is not None and "ocsp" in settings.sources:
        for name in (settings.ocsp.authorities, settings.ocsp.client_certificate):
            if name is not None:
                configuration.read(name)
        if settings.ocsp.client_key_file is not None:
            configuration.read_secret(settings.ocsp.client_key_file)
        # Read is not usable: a key may be another certificate's, or closed.
        _made(responder_tls(configuration, settings.ocsp))


def _readers(configuration: Configuration) -> None:
    readers = configuration.settings.reader
    for one in readers:
        if any(other is not one and other.name in one.name for other in readers):
            raise ConfigInvalid(f"the name of the reader '{one.alias}' is another one's, too")


def _pseudonym_key(configuration: Configuration) -> None:
    PseudonymKey(configuration.read_secret(configuration.settings.result.pseudonym_key_file))


def _token_keys(configuration: Configuration) -> None:
    PublishedKeys.of(configuration, load_token_key(configuration))


class _Nobody:
    """Signs nothing: a ledger is looked at, and not kept."""

    async def sign_checkpoint(self, text: bytes) -> bytes:
        """Refuse."""
        raise RuntimeError(f"{len(text)} bytes were to be signed while a configuration is checked")


def _ledger(configuration: Configuration) -> None:
    log = Log(ledger_place.store(configuration))
    ledger_place.keeper(configuration, log, _Nobody(), time.monotonic)


def _eligibility(configuration: Configuration) -> None:
    settings = configuration.settings.eligibility
    if settings is not None:
        _made(eligibility_place.connector(settings.service)(eligibility_place.setup(configuration, settings)))


def _gateway(configuration: Configuration) -> None:
    path = configuration.path(configuration.settings.gateway.socket)
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise ConfigInvalid(f"gateway.socket: {path} is longer than {_LONGEST_SOCKET} bytes")


def _tls(configuration: Configuration) -> None:
    if configuration.settings.gateway.tls is not None:
        server_context(configuration, configuration.settings.gateway.tls)


def _peers(configuration: Configuration) -> None:
    settings = configuration.settings
    Directory(settings.peer, settings.result.audience)
    readers = {one.alias for one in settings.reader}
    terminals = {one.alias for one in settings.peer if one.role == "terminal"}
    for one in settings.peer:
        by_certificate = one.certificate_sha256 or one.certificate_name
        if by_certificate and settings.gateway.tls is None:
            raise ConfigInvalid(f"peer '{one.alias}' has a certificate, and there is no [gateway.tls]")
        for desk in one.desks:
            terminal, dot, _reader = desk.partition(SEPARATOR)
            if terminal not in (terminals if dot else readers):
                raise ConfigInvalid(f"peer '{one.alias}': no reader or terminal has the desk '{desk}'")


_LOOKS: Final[dict[str, Callable[[Configuration], None]]] = {
    "institution": _institution,
    "hsm": _hsm,
    "hsm.pin_file": _pin_files,
    "hsm.token_key": lambda configuration: _made(load_token_key(configuration)),
    "hsm.state": _state,
    "trust.authorities": _authorities,
    "trust.front_root": lambda configuration: _made(load_front_root(configuration)),
    "revocation": _revocation,
    "reader": _readers,
    "result.pseudonym_key_file": _pseudonym_key,
    "result.earlier_token_keys": _token_keys,
    "ledger": _ledger,
    "eligibility": _eligibility,
    "gateway": _gateway,
    "gateway.tls": _tls,
    "peer": _peers,
}


def _made(_value: object) -> None:
    """Take a value that is only made to see whether it can be."""
