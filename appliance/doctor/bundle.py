"""
What a supporter needs to see of an appliance, in one file that may leave the site.

Nothing is copied: each part is made of values that a closed list allows (`disclosed`, `logs`, `series`), so what nobody
has thought of stays at home. Findings tell the code of an error and not its words, which may quote what was written in
the wrong place.
"""

import io
import os
import platform
import sqlite3
import ssl
import tarfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import asdict
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance import __version__, config
from appliance.config import Configuration
from appliance.doctor import logs, series, unit
from appliance.doctor.asked import ask, socket_of
from appliance.doctor.disclosed import WITHHELD, aliases, disclosed, without_homes
from appliance.doctor.examination import Examination
from appliance.doctor.finding import Finding
from appliance.errors import ApplianceError, ConfigInvalid
from appliance.ledger import checkpoint, place

FOLDER: Final = "jpki-appliance-support"
_LOG_SECONDS: Final = 30.0
_LOG_BYTES: Final = 64 << 20
"""Of the log, of which requests may be nearly all, and those are not told."""
_PACKAGES: Final = (
    "aiohttp", "click", "cryptography", "msgspec", "pillow", "prometheus-client", "psycopg", "pyjwt", "pyscard",
    "python-pkcs11", "rich", "uvloop", "fhir.resources",
)  # fmt: skip
_SYSTEM: Final = frozenset({"ID", "VERSION_ID", "VERSION_CODENAME"})
_PROPERTIES: Final = (
    "LoadState", "ActiveState", "SubState", "Result", "UnitFileState", "ExecMainStatus", "ExecMainCode", "NRestarts",
    "ActiveEnterTimestamp", "InactiveEnterTimestamp", "MemoryCurrent", "MemoryPeak", "TasksCurrent", "CPUUsageNSec",
    "WatchdogUSec", "NeedDaemonReload",
)  # fmt: skip
_OUR_COPIES: Final = frozenset({"directory", "syslog", "signer", "store"})


class Bundle:
    """The parts for the appliance whose configuration is *file*, with the last *lines* of its log that are no requests."""

    def __init__(self, file: Path, lines: int) -> None:
        self._file, self._lines = file, lines
        self._configuration: Configuration | None = None

    async def parts(self) -> dict[str, bytes]:
        """Return all parts by their names; `contents.json` says which are missing."""
        try:
            self._configuration = config.load(self._file)
        except ApplianceError:
            self._configuration = None  # what is wrong with it is among the findings
        made: dict[str, bytes] = {}
        missing: dict[str, str] = {}
        for name, make in self._makers().items():
            try:
                part = await make()
            except (ApplianceError, OSError) as error:
                missing[name] = error.code if isinstance(error, ApplianceError) else type(error).__name__
            else:
                if part is None:
                    missing[name] = "not there"
                else:
                    made[name] = part
        contents = {
            "version": __version__,
            "made_at": int(time.time()),
            "parts": sorted(made),
            "missing": missing,
        }
        return {"contents.json": _json(contents), **made}

    def _makers(self) -> dict[str, Callable[[], Awaitable[bytes | None]]]:
        return {
            "doctor.json": self._doctor,
            "configuration.json": self._disclosed,
            "versions.json": self._versions,
            "status.json": self._status,
            "ledger.json": self._ledger,
            "metrics.txt": self._metrics,
            "log.jsonl": self._log,
            "units.json": self._units,
        }

    async def _doctor(self) -> bytes:
        return _json([_finding(one) async for one in Examination(self._file).findings()])

    async def _disclosed(self) -> bytes | None:
        return None if self._configuration is None else _json(disclosed(self._configuration))

    async def _versions(self) -> bytes:
        try:
            system = platform.freedesktop_os_release()
        except OSError:
            system = {}
        return _json(
            {
                "appliance": __version__,
                "python": platform.python_version(),
                "kernel": platform.release(),
                "machine": platform.machine(),
                "openssl": ssl.OPENSSL_VERSION,
                "sqlite": sqlite3.sqlite_version,
                "system": {name: value for name, value in system.items() if name in _SYSTEM},
                "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
            }
        )

    async def _status(self) -> bytes | None:
        if self._configuration is None:
            return None
        told = await ask(socket_of(self._configuration))
        plain: dict[str, Any] = msgspec.to_builtins(told)
        ledger = plain["condition"]["ledger"]
        ledger["origin"] = WITHHELD
        ledger["failures"] = {
            name if name in _OUR_COPIES else f"witness-{number}": times
            for number, (name, times) in enumerate(ledger["failures"].items(), start=1)
        }
        return _json(plain)

    async def _ledger(self) -> bytes | None:
        if self._configuration is None:
            return None
        with place.store(self._configuration).reading() as reader:
            head, stored = reader.head(), reader.newest_checkpoint()
        newest = None
        if stored is not None:
            signed = checkpoint.verified(stored.note, place.verifier_key(self._configuration))
            newest = {"size": signed.size, "root": signed.root.hex()}
        return _json({"head": asdict(head), "checkpoint": newest})

    async def _metrics(self) -> bytes | None:
        if self._configuration is None or not (settings := self._configuration.settings.metrics):
            return None
        scrape = await series.scraped(settings) if settings.port else None
        if scrape is None:
            return None
        return "".join(f"{line}\n" for line in series.told(scrape, aliases(self._configuration))).encode()

    async def _log(self) -> bytes | None:
        known = frozenset() if self._configuration is None else aliases(self._configuration)
        lines = unit.newest_lines(unit.SERVICE, seconds=_LOG_SECONDS, most=_LOG_BYTES)
        with closing(lines):
            newest = list(islice(logs.told(lines, known), self._lines))
        return b"".join(msgspec.json.encode(one) + b"\n" for one in reversed(newest)) or None

    async def _units(self) -> bytes | None:
        found = {name: unit.properties(name, _PROPERTIES) for name in (unit.SERVICE, unit.SOCKET)}
        return _json(found) if any(found.values()) else None


def write(path: Path, parts: dict[str, bytes]) -> None:
    """Write *parts* to the new file *path*, which nobody else can read; raise ConfigInvalid where that cannot be."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(opened, "wb") as file:
                file.write(packed.getvalue())
        except OSError:
            # Half of one would be sent by whoever looks at its name alone, and be in the way of the next.
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be written: {error.strerror}") from error


def _finding(one: Finding) -> dict[str, object]:
    """Return *one* without the words of an error."""
    told: dict[str, object] = {
        "check": one.check,
        "subject": one.subject,
        "verdict": one.verdict,
        "code": one.code,
        "advice": one.advice,
    }
    return told if one.code is not None else {**told, "detail": without_homes(one.detail)}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"
