"""Where the ledger is, and who gets copies of its checkpoints: as the configuration describes it."""

import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance.config import Configuration
from appliance.errors import ConfigInvalid
from appliance.ledger.copies import Sink
from appliance.ledger.entries import milliseconds
from appliance.ledger.keeper import CheckpointSigner, Keeper
from appliance.ledger.log import Log
from appliance.ledger.note import VerifierKey
from appliance.ledger.recorder import Recorder
from appliance.ledger.sinks import Directory, Syslog
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import Store
from appliance.ledger.witness import HttpWitness

_POSTGRESQL: Final = "postgresql://"
_UNNAMED: Final = "-"
"""RFC 5424's way to say nothing."""


def store(configuration: Configuration) -> Store:
    """Return where the log is."""
    settings = configuration.settings.ledger
    if settings.database.startswith(_POSTGRESQL):
        # libpq and its adapter take a quarter of a second to import.
        from appliance.ledger.postgres import PostgresStore  # noqa: PLC0415 - for this kind of store alone

        return PostgresStore(settings.database, settings.origin, seconds=max(settings.append_seconds, 1.0))
    return SqliteStore(configuration.path(settings.database), settings.origin)


def verifier_key(configuration: Configuration, file: Path | None = None) -> VerifierKey:
    """Return what checkpoints verify with, the key in *file* if not None; raise ConfigInvalid where it is no Ed25519 or P-256 key."""
    settings = configuration.settings.ledger
    path = configuration.path(settings.key) if file is None else file.absolute()
    try:
        key = load_pem_public_key(configuration.read(str(path)))
        if isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
            return VerifierKey.of_log(settings.origin, key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigInvalid(f"{path} holds no PEM public key of Ed25519 or P-256") from error
    raise ConfigInvalid(f"{path} holds another key than Ed25519 or P-256")


def keeper(
    configuration: Configuration, log: Log, signer: CheckpointSigner, monotonic: Callable[[], float]
) -> Keeper:
    """Return who keeps the checkpoints of *log*."""
    settings = configuration.settings.ledger
    witnesses = [HttpWitness(witness.url, VerifierKey.from_text(witness.key)) for witness in settings.witness]
    return Keeper(
        Recorder(log, lambda: milliseconds(_now())),
        signer,
        verifier_key(configuration),
        monotonic,
        sinks=_sinks(configuration),
        witnesses=witnesses,
        seconds=settings.checkpoint_seconds,
        copy_hours=settings.stop_without_copy_hours,
    )


def _sinks(configuration: Configuration) -> list[Sink]:
    settings = configuration.settings.ledger
    sinks: list[Sink] = []
    if settings.copies is not None:
        sinks.append(Directory(configuration.path(settings.copies), _now))
    if settings.syslog is not None:
        authority = settings.syslog.authority
        path = None if authority is None else str(configuration.path(authority))
        try:
            tls = ssl.create_default_context(cafile=path)
        except OSError as error:
            raise ConfigInvalid(f"{path} holds no PEM certificate of a CA") from error
        hostname = socket.gethostname() or _UNNAMED
        sinks.append(Syslog(settings.syslog.host, settings.syslog.port, tls, hostname, _now))
    return sinks


def _now() -> datetime:
    return datetime.now(UTC)
