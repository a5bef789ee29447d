"""A remote terminal and the daemon, both as processes: the card's way over the network."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.daemon.process import ORDER, SECONDS, UNPRIVILEGED, Daemon, Site, session

DESK = "ward-1.reader-1"


@contextlib.asynccontextmanager
async def terminal(site: Site, folder: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Have the site's terminal run."""
    with (folder / "terminal").open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - it is not waited for
            (
                *UNPRIVILEGED,
                sys.executable,
                "-m",
                "appliance",
                "terminal",
                "--config",
                str(site.folder / "terminal.toml"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=site.environment(),
        )
        try:
            yield process
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, SECONDS)


async def at_desk(client: aiohttp.ClientSession, state: str) -> None:
    """Wait until the terminal's desk is in *state*."""
    async with asyncio.timeout(SECONDS):
        while True:
            async with client.get("/v1/terminals") as answer:
                desks: dict[str, Any] = {one["desk"]: one for one in (await answer.json())["desks"]}
            if desks.get(DESK, {}).get("state") == state:
                return
            await asyncio.sleep(0.05)


async def test_a_card_at_a_remote_terminal(daemon: Daemon, folder: Path) -> None:
    """Over TLS, by its certificate, a terminal brings its reader; what its card proves comes back as a token."""
    site = daemon.site
    with site.card():
        async with terminal(site, folder), session(site) as client:
            await at_desk(client, "card")
            order = {**ORDER, "desk": DESK}
            async with client.post("/v1/authentications?wait=20", json=order) as answer:
                job = await answer.json()
            assert job["state"] == "authenticated", job
            assert job["claims"]["terminal"] == DESK
            # A reload that does not concern it leaves the terminal connected.
            await asyncio.to_thread(daemon.reload)
            await at_desk(client, "card")
            async with aiohttp.ClientSession() as prometheus, prometheus.get(daemon.metrics) as answer:
                lines = (await answer.text()).splitlines()
            await asyncio.to_thread(daemon.reload)
    counted = 'jpki_authentications_total{identity_check="face",mode="pinless",outcome="authenticated",transport="remote"} 1.0'
    assert counted in lines
    assert 'jpki_terminal_connected{terminal="ward-1"} 1.0' in lines
    assert 'jpki_card_step_seconds_count{step="exchange",transport="remote"} 2.0' in lines


async def test_a_terminal_that_is_to_be_known_by_another_certificate_is_let_go(
    daemon: Daemon, folder: Path
) -> None:
    """Under the same alias too: who holds the old key, of a kiosk that was stolen, keeps no desk."""
    site = daemon.site
    async with terminal(site, folder), session(site) as client:
        await at_desk(client, "empty")
        with site.changed(
            ('certificate_name = "ward-1.example.jp"', 'certificate_name = "ward-1b.example.jp"')
        ):
            await asyncio.to_thread(daemon.reload)
            async with client.get("/v1/terminals") as answer:
                assert DESK not in [one["desk"] for one in (await answer.json())["desks"]]
    await asyncio.to_thread(daemon.reload)


async def test_a_terminal_that_is_no_peer_any_more_is_let_go(daemon: Daemon, folder: Path) -> None:
    """A reload without it ends its connection; nobody has to end the daemon for that."""
    site = daemon.site
    async with terminal(site, folder), session(site) as client:
        await at_desk(client, "empty")
        with site.changed(
            ('certificate_name = "ward-1.example.jp"', 'certificate_name = "ward-9.example.jp"'),
            ('alias = "ward-1"', 'alias = "ward-9"'),
        ):
            await asyncio.to_thread(daemon.reload)
            async with client.get("/v1/terminals") as answer:
                assert DESK not in [one["desk"] for one in (await answer.json())["desks"]]
    await asyncio.to_thread(daemon.reload)
