"""
What of the log may leave the site: events of ours, by a closed list of what they begin with and of what they tell.

The daemon logs no personal data. This does not rely on it: a line that was written by somebody else, or by a library,
or by a newer version, tells no more than when and how grave.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.doctor.disclosed import WITHHELD
from appliance.errors import BY_CODE
from appliance.revocation.importing import Outcome

EVENTS: Final = frozenset(
    {
        "authentication ended",
        "authentication failed unexpectedly",
        "cancelled at the end",
        "configuration cannot be read again",
        "configuration put off",
        "configuration read again",
        "configuration refused",
        "connection closed",
        "connection refused",
        "connections ended",
        "connections ended before anybody was known",
        "does not work",
        "eligibility connector failed",
        "eligibility failed",
        "emergency window closed",
        "emergency window not closed in the ledger",
        "emergency window open",
        "emergency window proposed",
        "ended before it was ready",
        "ending",
        "handshake failed unexpectedly",
        "hsm down",
        "hsm down at start",
        "hsm failed",
        "hsm up",
        "hsm worker cannot be started",
        "hsm worker does not end",
        "hsm worker is still logging in",
        "hsm worker left behind while logging in",
        "hsm workers not ended",
        "ledger cannot be tried",
        "ledger copy failed",
        "ledger writer failed",
        "lines about connections left out",
        "listening",
        "metrics",
        "no connection can be accepted",
        "ready",
        "request failed",
        "request failed before it was answered",
        "request malformed",
        "requests of strangers left out",
        "revocation index damaged",
        "revocation index unreadable",
        "revocation lists imported",
        "revocation lists not imported",
        "terminal connected",
        "terminal disconnected",
        "terminal refused",
        "the HSM has rejected the PIN",
        "the marker of a rejected PIN cannot be written",
        "works again",
    }
)
"""What events begin with, up to the first `name=value`."""
LEFT_OUT: Final = frozenset({"request"})
"""Who asks how often for what: most of the log, and of no use without the site. Not even told to be withheld."""

_TROUBLE: Final = r"workers-silent|ledger-unwritable|ledger-untried|ledger-unkept"
_NUMBER: Final = r"\d{1,7}"
_KIND: Final = r"[A-Z][A-Za-z]{2,40}(?:Error|Exception|Refused|Absent|Timeout|Warning)"
_FIELDS: Final = {
    name: re.compile(pattern)
    for name, pattern in {
        "after": _TROUBLE,
        "cause": rf"head-late|closed|expired|policy|interrupted|authority-removed|peer-removed|hsm-workers-leaving|{_TROUBLE}",
        "ckr": r"CKR_[A-Z_]{2,48}",
        "class": r"transient|permanent|auth",
        "count": _NUMBER,
        "crowded": _NUMBER,
        "errno": _NUMBER,
        "error": _KIND,
        "failed": _NUMBER,
        "from_next_start": r"[a-z]{1,16}(?:\.[a-z_]{1,24})?(?:,[a-z]{1,16}(?:\.[a-z_]{1,24})?){0,15}",
        "inside": _NUMBER,
        "late": _NUMBER,
        "pid": _NUMBER,
        "port": r"\d{1,5}",
        "ports": r"\d{1,5}(?:,\d{1,5}){0,3}",
        "under_way": r"\d{1,5}",
        "version": r"\d{1,3}(?:\.\d{1,3}){1,3}[a-z0-9.+-]{0,12}",
        "window": r"w-\d{1,16}",
    }.items()
}
_CODES: Final = frozenset({"code", "outcome"})
_ENDINGS: Final = frozenset({"authenticated", "cancelled"})
_PARTS: Final = frozenset({"hsm", "terminal"})
_COUNTS: Final = frozenset({"lists", *Outcome})
"""What an import of revocation lists brings besides: how many files ended how."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})
_PLACE: Final = re.compile(r".*/(appliance/[a-z_0-9/]{1,100}\.py):(\d{1,5}) .*")
_ERROR: Final = re.compile(r"([a-z][a-z0-9_]{2,63}): .*", re.DOTALL)
"""How errors of ours are written."""
_HEAD: Final = re.compile(r"(?P<head>[A-Za-z ]{1,64}?)(?: (?P<rest>[a-z_]+=.*))?", re.DOTALL)


def told(lines: Iterable[str], aliases: frozenset[str]) -> Iterator[dict[str, object]]:
    """Yield what may be told of each of the log's *lines*; *aliases* are those of the configuration."""
    for line in lines:
        try:
            written = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            continue
        if not (_is_ours(written) and _head(written.get("event")) in LEFT_OUT):
            yield _line(written, aliases)


def _is_ours(written: dict[str, Any]) -> bool:
    logger = written.get("logger")
    return isinstance(logger, str) and f"{logger.replace('.', '/')}.py" in _sources()


def _line(written: dict[str, Any], aliases: frozenset[str]) -> dict[str, object]:
    is_ours = _is_ours(written)
    found: dict[str, object] = {
        "time": time if isinstance(time := written.get("time"), str) and _TIME.fullmatch(time) else WITHHELD,
        "level": level if (level := written.get("level")) in _LEVELS else WITHHELD,
        "logger": written["logger"] if is_ours else WITHHELD,
        "event": _event(written.get("event"), aliases) if is_ours else WITHHELD,
    }
    if is_ours and found["event"] != WITHHELD:
        found |= {name: count for name in sorted(_COUNTS) if type(count := written.get(name)) is int}
    if errors := [_error(one) for one in _texts(written.get("error"))]:
        found["error"] = errors
    places = (place for one in _texts(written.get("at")) if (place := _PLACE.fullmatch(one)))
    if ours := [f"{place[1]}:{place[2]}" for place in places if place[1] in _sources()]:
        found["at"] = ours
    return found


@cache
def _sources() -> frozenset[str]:
    """Return the modules of this version, as paths: who logs, and where, is one of them."""
    package = Path(__file__).parents[1]
    return frozenset(str(path.relative_to(package.parent)) for path in package.rglob("*.py"))


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _head(event: object) -> str | None:
    parts = _HEAD.fullmatch(event) if isinstance(event, str) else None
    return None if parts is None else parts["head"]


def _event(event: object, aliases: frozenset[str]) -> str:
    parts = _HEAD.fullmatch(event) if isinstance(event, str) else None
    if parts is None or parts["head"] not in EVENTS:
        return WITHHELD
    pairs = [word.partition("=") for word in (parts["rest"] or "").split() if "=" in word]
    told = [f"{name}={value}" for name, _, value in pairs if _field(name, value, aliases)]
    return " ".join((parts["head"], *told))


def _field(name: str, value: str, aliases: frozenset[str]) -> bool:
    if name in _CODES:
        return value in BY_CODE or value in _ENDINGS
    if name in _PARTS:
        return value in aliases
    return name in _FIELDS and _FIELDS[name].fullmatch(value) is not None


def _error(text: str) -> str:
    code = _ERROR.fullmatch(text)
    if code is not None and code[1] in BY_CODE:
        return code[1]
    return text if re.fullmatch(_KIND, text) else WITHHELD
