"""Debian's own Prometheus with our rules, in a hurry: a real one that scrapes a real daemon, and does not wait for minutes."""

import asyncio
import contextlib
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from tests.daemon.process import free_port
from tests.monitoring.watched import MONITORING, RULES

JOB: Final = "jpki-appliance"
_SECONDS: Final = 90.0
_INTERVAL: Final = 1
"""Seconds between two scrapes, and two evaluations."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FOR, _AGE, _RANGE = 600, 60, 20
_SHORTEST_AGE: Final = 4
_DURATION: Final = re.compile(r"([0-9]+)([smhd])")
_AGED: Final = re.compile(r"(time\(\) - (?:\([^)]*\)|\S+) > )([0-9]+)")
"""How long ago something of the daemon's was, and what is too long."""

Doing = Callable[[], Awaitable[object]]


def hurried(rules: dict[str, Any]) -> dict[str, Any]:
    """
    Return *rules* with shorter times, and otherwise as they are.

    Ages are a 60th, as the daemon proves its keys that much more often here; none is too short for a poll and a scrape on
    a busy machine. A range is a 20th, in which there are as many scrapes as in the whole one, or nearly, and in which
    somebody who is slow can be refused often enough. What has to hold for long, so that it is no accident, holds for
    a 600th of it: there are no accidents here. How long a certificate or a list still lasts is no age, and stays.
    """
    for group in rules["groups"]:
        group["interval"] = f"{_INTERVAL}s"
        for rule in group["rules"]:
            rule["expr"] = _AGED.sub(_shorter_age, _DURATION.sub(_shorter_range, rule["expr"]))
            if "for" in rule:
                rule["for"] = f"{_seconds(rule['for']) * 1000 // _FOR}ms"
    return rules


def _seconds(duration: str) -> int:
    matched = _DURATION.fullmatch(duration)
    assert matched is not None, duration
    return int(matched[1]) * _UNITS[matched[2]]


def _shorter_range(matched: re.Match[str]) -> str:
    if matched.string[matched.start() - 1] != "[":
        return matched[0]
    return f"{_seconds(matched[0]) // _RANGE}s"


def _shorter_age(matched: re.Match[str]) -> str:
    return f"{matched[1]}{max(int(matched[2]) // _AGE, _SHORTEST_AGE)}"


@contextlib.contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """Run a Prometheus that scrapes *target*, by our configuration in all but its times; give its address."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is not installed (Debian package prometheus)"
    configuration = yaml.safe_load((MONITORING / "prometheus.yaml").read_text("utf-8"))
    (job,) = configuration["scrape_configs"]
    assert job["job_name"] == JOB
    job["scrape_interval"] = f"{_INTERVAL}s"
    job["static_configs"] = [{"targets": [target]}]
    configuration["rule_files"] = [path.name for path in RULES]
    for path in RULES:
        rules = hurried(yaml.safe_load(path.read_text("utf-8")))
        (folder / path.name).write_text(yaml.safe_dump(rules, allow_unicode=True), "utf-8")
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), "utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            (
                program,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={url.removeprefix('http://')}",
            ),
            stdout=log,
            stderr=log,
        )
    try:
        _await_ready(url, process, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{url}/-/ready", timeout=_SECONDS) as answer,  # noqa: S310  # our own address
        ):
            if answer.status == 200:
                return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Watching:
    """Asks a running Prometheus."""

    client: aiohttp.ClientSession

    async def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401  # what JSON holds
        """Return the data of an answer of its API."""
        async with self.client.get(f"/api/v1/{path}", params=parameters) as answer:
            told = await answer.json()
        assert told["status"] == "success", (parameters, told)
        return told["data"]

    async def results(self, query: str) -> list[dict[str, Any]]:
        """Return the series that answer *query* now."""
        found: list[dict[str, Any]] = (await self.ask("query", query=query))["result"]
        return found

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts whose condition holds, whether or not it has for long enough."""
        found: list[dict[str, Any]] = (await self.ask("alerts"))["alerts"]
        return found

    async def fires(self, alert: str, doing: Doing | None = None, /, **labels: str) -> None:
        """Wait until *alert* fires with *labels*; do what is to be done meanwhile again and again."""

        async def is_firing() -> bool:
            return any(
                one["state"] == "firing" and {"alertname": alert, **labels}.items() <= one["labels"].items()
                for one in await self.alerts()
            )

        await self._until(is_firing, doing, f"{alert} never fired with {labels}")

    async def silent(self, *alerts: str) -> None:
        """Wait until none of *alerts* is raised."""

        async def is_silent() -> bool:
            return not {one["labels"]["alertname"] for one in await self.alerts()} & set(alerts)

        await self._until(is_silent, None, f"some of {alerts} stayed")

    async def holds(self, query: str, doing: Doing | None = None) -> None:
        """Wait until *query* has a result."""

        async def has_result() -> bool:
            return bool(await self.results(query))

        await self._until(has_result, doing, f"nothing answers {query}")

    async def _until(self, condition: Callable[[], Awaitable[bool]], doing: Doing | None, else_: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                while not await condition():
                    await (asyncio.sleep(0.1) if doing is None else doing())
                return
        raise AssertionError(f"{else_}; there is {_told(await self.alerts())}")


def _told(alerts: list[dict[str, Any]]) -> list[Mapping[str, str]]:
    return [{**one["labels"], "state": one["state"]} for one in alerts]


@contextlib.asynccontextmanager
async def watching(url: str) -> AsyncIterator[Watching]:
    """Give what asks the Prometheus at *url*."""
    async with aiohttp.ClientSession(url) as client:
        yield Watching(client)
