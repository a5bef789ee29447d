"""How a gateway ends: who has come in is heard, and who says nothing is not waited for without end."""

import asyncio
from pathlib import Path

from aiohttp import web

from appliance.gateway import http
from appliance.gateway.connections import Runner
from appliance.gateway.resources import routes
from tests.gateway.house import peer, services, until

GET = b"GET /healthz HTTP/1.1\r\nHost: appliance\r\nConnection: close\r\n\r\n"
LONGEST = 60.0
"""A deadline for what takes two seconds."""


async def opened(path: Path) -> Runner:
    """Return a gateway that listens at *path*."""
    runner = Runner(http.application(services([peer()]), routes()), seconds=5.0)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    return runner


async def test_who_has_come_in_is_answered(tmp_path: Path) -> None:
    """Who connects a moment before the end, and asks a moment after it began, gets an answer, as all the others do."""
    runner = await opened(tmp_path / "socket")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
    await until(lambda: runner.door.inside == 1)
    ending = asyncio.create_task(runner.cleanup())
    await until(lambda: not runner.sites)
    writer.write(GET)
    async with asyncio.timeout(LONGEST):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        await ending
    writer.close()


async def test_who_says_nothing_does_not_keep_it(tmp_path: Path) -> None:
    """A connection without a request, as browsers open them in advance, is closed; so is one between two requests."""
    runner = await opened(tmp_path / "socket")
    silent, one = await asyncio.open_unix_connection(tmp_path / "socket")
    idle, other = await asyncio.open_unix_connection(tmp_path / "socket")
    other.write(GET.replace(b"close", b"keep-alive"))
    await idle.readuntil(b'{"alive":true}')
    async with asyncio.timeout(LONGEST):
        await runner.cleanup()
        assert (await silent.read(), await idle.read()) == (b"", b"")
    one.close()
    other.close()
