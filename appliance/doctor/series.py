"""What of the metrics may leave the site: the metrics that this version registers, with labels of closed sets."""

import re
from collections.abc import Iterator
from typing import Final

import aiohttp

from appliance.config import MetricsSettings
from appliance.doctor.disclosed import WITHHELD
from appliance.errors import BY_CODE
from appliance.metrics import Metrics

_SECONDS: Final = 10.0
_LARGEST: Final = 4 << 20
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, and not listened at
_SERIES: Final = re.compile(r"([a-z][a-z0-9_]{1,99})(?:\{(.{0,500})\})? ([0-9eE+.-]{1,32}|NaN|\+Inf)")
_LABEL: Final = re.compile(r'([a-z_]{1,32})="([^"\\]{0,100})"')
_PARTS: Final = frozenset({"hsm", "peer", "terminal", "reader"})
_CLOSED: Final = {
    name: re.compile(pattern)
    for name, pattern in {
        "certificate": r"(?:(?:responder-|eligibility-|syslog-)?authority|tls-clients)-\d{1,3}|tls-server|(?:responder|eligibility)-client",
        "cause": r"crowded|failed|full|late",
        "ckr": rf"[A-Z][A-Z_]{{2,48}}|other|none|{'|'.join(BY_CODE)}",
        "issuer": r"authority-\d{1,3}",
        "le": r"[0-9.e+-]{1,12}|\+Inf",
        "python": r"\d\.\d{1,2}\.\d{1,3}",
        "sink": r"directory|syslog|signer|store",
        "status": r"[0-9a-fA-FxX]{4}|other",
        "within_days": r"\d{1,3}",
        "version": r"\d{1,3}(?:\.\d{1,3}){1,3}",
    }.items()
}
_WORDS: Final = frozenset(
    {
        "class", "identity_check", "key", "method", "mode", "outcome", "phase", "result", "rung", "state", "step",
        "transport",
    }
)  # fmt: skip
_WORD: Final = re.compile(r"[a-z][a-z_-]{0,47}")


async def scraped(settings: MetricsSettings) -> str | None:
    """Return what Prometheus would be told; None where nobody answers in time, or in another way."""
    host = "127.0.0.1" if settings.address in _EVERYWHERE else settings.address
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/metrics"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_SECONDS), trust_env=False) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if not answer.ok:
                return None
            body = bytearray()
            # One `read` gives what has come so far; all of it may take several.
            while len(body) < _LARGEST and (piece := await answer.content.read(_LARGEST - len(body))):
                body += piece
            return body.decode("utf-8", "replace")
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None


def told(scrape: str, aliases: frozenset[str]) -> Iterator[str]:
    """Yield each series of *scrape* that is ours; *aliases* are those of the configuration."""
    names = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    for line in scrape.splitlines():
        series = _SERIES.fullmatch(line)
        # A histogram's series exist from its first labels on.
        known = series is not None and (series[1] in names or series[1].startswith("jpki_"))
        if series is not None and known:
            labels = ",".join(
                f'{name}="{value if _is_closed(name, value, aliases) else WITHHELD}"'
                for name, value in _LABEL.findall(series[2] or "")
            )
            yield f"{series[1]}{{{labels}}} {series[3]}" if labels else f"{series[1]} {series[3]}"


def _is_closed(name: str, value: str, aliases: frozenset[str]) -> bool:
    if name in _PARTS:
        return value in aliases
    if name in _WORDS:
        return _WORD.fullmatch(value) is not None
    return name in _CLOSED and _CLOSED[name].fullmatch(value) is not None
