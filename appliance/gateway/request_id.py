"""
The id of the request that is being answered: in every answer, and in every line that is logged for it.

A context variable carries it, so that no function has to hand it on. `LogFilter` puts it on log records.
"""

import logging
import re
import secrets
from contextvars import ContextVar
from typing import Final

HEADER: Final = "X-Request-Id"
NONE: Final = "-"
"""What stands in a log line that belongs to no request."""
_SHAPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_CURRENT: Final[ContextVar[str]] = ContextVar("request_id", default=NONE)


def begin(offered: str | None = None) -> str:
    """Let what follows in this task belong to the request *offered* by its caller, if that is an id, or a new one."""
    identity = (
        offered if offered is not None and _SHAPE.fullmatch(offered) is not None else secrets.token_hex(16)
    )
    _CURRENT.set(identity)
    return identity


def current() -> str:
    """Return the id of the request that this task answers."""
    return _CURRENT.get()


class LogFilter(logging.Filter):
    """Puts `request_id` on every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let *record* pass, with the id."""
        record.request_id = current()
        return True
