"""
Logs: one line of JSON on standard error for each event, with the id of the request it belongs to.

    {"time": "…", "level": "warning", "logger": "appliance.…", "request": "…", "event": "hsm down hsm=hsm-1", …}

What an event brings as `extra` becomes fields. Of an exception its kind and where it arose are written; its text only
where the error is one of ours, because nobody knows what a foreign one quotes.
"""

import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Final

import msgspec

from appliance.errors import ApplianceError
from appliance.gateway.request_id import LogFilter

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "request_id",
    "taskName",
}
_LONGEST: Final = 2_000
"""Characters of one value."""
_FRAMES: Final = 12


class Level(StrEnum):
    """From which level on our own events are written. What libraries say is written from `warning` on."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class JsonLines(logging.Formatter):
    """Writes a record as one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for *record*."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request": getattr(record, "request_id", "-"),
            "event": record.getMessage()[:_LONGEST],
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in line:
                line[name] = value if isinstance(value, int | float | bool | None) else str(value)[:_LONGEST]
        if record.exc_info is not None and record.exc_info[1] is not None:
            line["error"] = _kinds(record.exc_info[1])
            line["at"] = _frames(record.exc_info[2])
        return msgspec.json.encode(line).decode()


def set_up(level: Level) -> None:
    """Have all events written, from *level* on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(LogFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("appliance").setLevel(level.upper())
    logging.captureWarnings(capture=True)
    # Where a line cannot be written, nothing is to be written about that either.
    logging.raiseExceptions = False
    # None of these is written, and looking for them costs more than the line (Python's logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001  # the HOWTO's own words: there is no other switch
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _kinds(error: BaseException) -> list[str]:
    """Return what *error* is, and what led to it."""
    found: list[str] = []
    current: BaseException | None = error
    while current is not None and len(found) < _FRAMES:
        found.append(str(current) if isinstance(current, ApplianceError) else type(current).__name__)
        current = current.__cause__ or current.__context__
    return found


def _frames(trace: TracebackType | None) -> list[str]:
    """Return where an exception arose, innermost last."""
    found: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_qualname}")
        trace = trace.tb_next
    return found[-_FRAMES:]
