"""Debian's own Prometheus, with our rules, scrapes a real daemon."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.daemon.process import Daemon, Site, free_port, started
from tests.monitoring.watched import MONITORING, RULES, alerts, queries, recorded

_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    client: aiohttp.ClientSession

    async def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401  # what JSON holds
        """Return the data of an answer of its API."""
        async with self.client.get(f"/api/v1/{path}", params=parameters) as answer:
            told = await answer.json()
        assert told["status"] == "success", (parameters, told)
        return told["data"]

    async def raised(self) -> set[str]:
        """Return the alerts whose condition holds, whether or not it has for long enough."""
        return {one["labels"]["alertname"] for one in (await self.ask("alerts"))["alerts"]}

    async def wait(self, present: set[str], absent: set[str] = frozenset()) -> None:  # type: ignore[assignment]  # only read
        """Wait until all alerts in *present* are raised and none in *absent*."""
        raised: set[str] = set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                while True:
                    raised = await self.raised()
                    if present <= raised and not absent & raised:
                        return
                    await asyncio.sleep(0.2)
        raise AssertionError(f"wanted {present} and not {absent}, there is {raised}")


@contextlib.asynccontextmanager
async def prometheus(target: str, folder: Path) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that scrapes *target* every second, by our configuration in all else."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is not installed (Debian package prometheus)"
    configuration = yaml.safe_load((MONITORING / "prometheus.yaml").read_text("utf-8"))
    (job,) = configuration["scrape_configs"]
    job["scrape_interval"] = "1s"
    job["static_configs"] = [{"targets": [target]}]
    configuration["global"] = {"evaluation_interval": "1s"}
    configuration["rule_files"] = []
    for path in RULES:
        rules = yaml.safe_load(path.read_text("utf-8"))
        for group in rules["groups"]:
            group["interval"] = "1s"
        (folder / path.name).write_text(yaml.safe_dump(rules, allow_unicode=True), "utf-8")
        configuration["rule_files"].append(path.name)
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), "utf-8")
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220  # it only starts
            (
                program,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ),
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            await _ready(client, process, folder / "log")
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait(_SECONDS)


async def _ready(client: aiohttp.ClientSession, process: subprocess.Popen[bytes], log: Path) -> None:
    async with asyncio.timeout(_SECONDS):
        while True:
            assert process.poll() is None, log.read_text()  # noqa: ASYNC240  # the end anyway
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get("/-/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


@pytest.mark.timeout(300)
async def test_a_real_prometheus_scrapes_evaluates_and_raises(site: Site, tmp_path: Path) -> None:
    """
    Every query can be asked, every rule evaluates, and alerts follow their real causes.

    The causes: the HSM's token is gone, pcscd has ended, the daemon has ended. A healthy appliance raises none of them.
    """
    provoked = {"JpkiNoHsm", "JpkiHsmDown", "JpkiReaderDown", "JpkiDown"}
    assert provoked <= set(alerts())
    with tempfile.TemporaryDirectory(prefix="daemon-") as folder, started(site, Path(folder)) as daemon:
        async with prometheus(_target(daemon), tmp_path) as watching:
            await _scraped(watching)
            await watching.wait(set(), provoked)
            for query in (*queries(), *recorded(), *recorded().values()):
                await watching.ask("query", query=query)
            groups = (await watching.ask("rules"))["groups"]
            ill = [rule for group in groups for rule in group["rules"] if rule["health"] == "err"]
            assert groups
            assert not ill
            with site.without_hsm():
                await watching.wait({"JpkiNoHsm", "JpkiHsmDown"})
            await watching.wait(set(), provoked)
            site.pcscd.stop()
            await watching.wait({"JpkiReaderDown"})
            site.pcscd.restart()
            await watching.wait(set(), provoked)
            assert daemon.end() == 0
            await watching.wait({"JpkiDown"})


def _target(daemon: Daemon) -> str:
    return daemon.metrics.removeprefix("http://").removesuffix("/metrics")


async def _scraped(watching: Prometheus) -> None:
    async with asyncio.timeout(_SECONDS):
        while not (await watching.ask("query", query='up{job="jpki-appliance"} == 1'))["result"]:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.2)
