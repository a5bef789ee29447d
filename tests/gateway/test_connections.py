"""Connections: which of them a reload ends, and who is let in by it."""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.daemon.listeners import Front
from appliance.gateway.authorities import Authorities
from appliance.gateway.connections import Door, Limits, Runner
from appliance.gateway.ration import LINES
from tests.gateway.house import Ca


@pytest.mark.parametrize("more", [b"", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"])
async def test_a_request_is_one_whatever_it_asks_to_become(more: bytes, tmp_path: Path) -> None:
    """Who is to be sent away does not stay by asking for a WebSocket where there is none; a real one is no request."""
    app, begun = web.Application(), asyncio.Event()

    async def wait(_request: web.Request) -> web.Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing ends this but its connection's end")

    app.add_routes([web.get("/wait", wait), web.get("/socket", _said_back)])
    runner, path = Runner(app, seconds=0.1), tmp_path / "socket"
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        async with (
            asyncio.timeout(60),
            aiohttp.ClientSession("http://appliance", connector=aiohttp.UnixConnector(str(path))) as session,
            session.ws_connect("/socket") as socket,
        ):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /wait HTTP/1.1\r\nHost: appliance\r\n" + more + b"\r\n")
            await begun.wait()
            await runner.end(lambda one: one.is_request, "test")
            assert await reader.read() == b""
            writer.close()
            await socket.send_str("still here")
            assert await socket.receive_str() == "still here"
    finally:
        await runner.cleanup()


async def test_who_speaks_no_http_cannot_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows yet whether they are a peer: so many lines in a minute, and at the end how many were left out."""
    caplog.set_level(logging.INFO, "appliance.gateway.connections")
    runner, path = Runner(web.Application(), Limits(), seconds=0.1), tmp_path / "socket"
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        async with asyncio.timeout(60):
            for _ in range(LINES + 5):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"GARBAGE\r\n\r\n")
                assert b"400" in await reader.readline()
                await reader.read()
                writer.close()
    finally:
        await runner.cleanup()
    line = "request malformed status=400 code=request_malformed error=BadHttpMethod"
    assert caplog.messages == [*[line] * LINES, "lines about connections left out count=5"]


async def test_who_is_refused_cannot_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who has all the connections that one may have, and connects again and again, is told of so often and no more."""
    caplog.set_level(logging.INFO, "appliance.gateway.connections")
    runner, path = Runner(web.Application(), Limits(connections=0), seconds=0.1), tmp_path / "socket"
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        async with asyncio.timeout(60):
            for _ in range(LINES + 5):
                reader, writer = await asyncio.open_unix_connection(path)
                assert await reader.read() == b""
                writer.close()
    finally:
        await runner.cleanup()
    assert caplog.messages == [
        *["connection refused inside=0"] * LINES,
        "lines about connections left out count=5",
    ]


async def _said_back(request: web.Request) -> web.WebSocketResponse:
    """Say back what is said."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


@dataclass
class Shaken(asyncio.BaseTransport):
    """The transport of who has shown *certificate* in a handshake by *context*."""

    certificate: x509.Certificate
    context: ssl.SSLContext

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002, ANN401  # asyncio's own signature
        """Return what is known under *name*."""
        return {"sslcontext": self.context, "ssl_object": self}[name]

    def getpeercert(self, *, binary_form: bool) -> bytes:
        """Return the certificate."""
        assert binary_form
        return self.certificate.public_bytes(Encoding.DER)


async def test_a_handshake_that_lasts_over_two_reloads_leads_to_nobody(tmp_path: Path) -> None:
    """The first takes its CA away, the second takes nobody: who began before both is not let in by the second."""
    stays, goes, comes = (Ca(tmp_path, name) for name in ("stays", "goes", "comes"))
    contexts = [stays.server() for _ in range(3)]
    runner = Runner(web.Application(), Limits())
    front = Front(runner)
    await front.open_network((), contexts[0], Authorities([stays.certificate, goes.certificate]))
    shown = {
        ca: x509.load_pem_x509_certificate(ca.issue(f"{number}.test")[0].read_bytes())
        for number, ca in enumerate((stays, goes, comes))
    }

    def is_let_in(ca: Ca, context: ssl.SSLContext) -> bool:
        return runner.door.trusts(Shaken(shown[ca], context))

    assert is_let_in(goes, contexts[0])
    await front.renew(contexts[1], Authorities([stays.certificate]))
    assert not is_let_in(goes, contexts[0])
    await front.renew(contexts[2], Authorities([stays.certificate, comes.certificate]))
    assert not is_let_in(goes, contexts[0])
    assert is_let_in(stays, contexts[0])
    assert is_let_in(comes, contexts[2])


def test_where_nobody_was_taken_away_nothing_is_asked_again(tmp_path: Path) -> None:
    """A handshake that began before a reload counts."""
    ca = Ca(tmp_path)
    door = Door(Limits())
    door.context = ca.server()
    certificate = x509.load_pem_x509_certificate(ca.issue("1.test")[0].read_bytes())
    assert door.trusts(Shaken(certificate, ca.server()))
