"""
One of the appliance's nodes, as the terminal sees it: one connection at a time, and pauses between connections.

No node there, a lost one and one that misbehaves are all the same: a reason that the person at the terminal can read,
and another attempt after a pause.
"""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final, NoReturn

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.errors import PeerUnknown, TerminalFlooding, TerminalsFull
from appliance.terminals.agent.backoff import Backoff
from appliance.terminals.agent.connection import CLOSE_SECONDS, Connection, Parting
from appliance.terminals.agent.places import Places
from appliance.terminals.agent.session import Equipment
from appliance.terminals.agent.status import Link
from appliance.terminals.messages import LARGEST_FRAME, SUBPROTOCOL, Hello

CONNECT_SECONDS: Final = 15.0
_CODES: Final = {
    401: PeerUnknown.code,
    403: PeerUnknown.code,
    429: TerminalFlooding.code,
    503: TerminalsFull.code,
}
"""What an appliance that answers with an HTTP status means."""
_TLS_LINGERS: Final = sys.version_info < (3, 12, 7)
"""Python leaves a TLS connection open until the other end has agreed to its end: a node that is gone never does."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node is: *url*, on the network by *tls*, or through the Unix *socket*."""

    url: str
    tls: ssl.SSLContext | None = None
    socket: str | None = None

    def connector(self) -> aiohttp.BaseConnector:
        """Return what opens connections to it."""
        if self.socket is not None:
            return aiohttp.UnixConnector(self.socket, limit=1)
        tls = True if self.tls is None else self.tls
        return aiohttp.TCPConnector(ssl=tls, limit=1, enable_cleanup_closed=_TLS_LINGERS)


@dataclass(frozen=True, slots=True)
class Node:
    """
    The node *number* at *address*, for which the terminal has *equipment* and *places*.

    *hello* makes the introduction of a new connection; it joins *connections*, which the terminal has to all nodes.
    """

    number: int
    address: Address
    backoff: Backoff
    equipment: Equipment
    places: Places
    hello: Callable[[], Hello]
    pinned: Sequence[ec.EllipticCurvePublicKey] | None
    connections: list[Connection]

    async def serve(self) -> NoReturn:
        """Connect, again and again."""
        board = self.equipment.board
        while True:
            board.link(Link.CONNECTING, node=self.number)
            parting = await self._connection()
            if parting.steady:
                self.backoff.succeeded()
            pause = self.backoff.pause(parting.retry_seconds)
            board.link(Link.AWAY, node=self.number, code=parting.code, reason=parting.reason, seconds=pause)
            await asyncio.sleep(pause)

    async def _connection(self) -> Parting:
        """Return how one attempt ended."""
        try:
            async with self._opened() as socket:
                if socket.protocol != SUBPROTOCOL:
                    return Parting("what answers there does not speak the terminal protocol")
                connection = Connection(
                    socket,
                    self.equipment,
                    self.places,
                    self.hello(),
                    self.pinned,
                    self.number,
                    self.connections,
                )
                self.connections.append(connection)
                try:
                    return await connection.run()
                finally:
                    self.connections.remove(connection)
        except aiohttp.WSServerHandshakeError as error:
            return Parting(
                f"the appliance answered with HTTP status {error.status}",
                _CODES.get(error.status),
                _retry_after(error),
            )
        except TimeoutError:
            return Parting("the appliance did not answer in time")
        except aiohttp.ClientConnectorCertificateError:
            return Parting(
                "the appliance's TLS certificate does not lead to a CA of ours, or is not for its name"
            )
        except (aiohttp.ClientError, OSError) as error:
            return Parting(f"the appliance cannot be reached ({type(error).__name__})")

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a connection, and close it at the end."""
        tracing = aiohttp.TraceConfig()
        tracing.on_request_redirect.append(_refuse_redirect)
        async with aiohttp.ClientSession(
            connector=self.address.connector(), trace_configs=[tracing], trust_env=False
        ) as client:
            async with asyncio.timeout(CONNECT_SECONDS):
                socket = await client.ws_connect(
                    self.address.url,
                    protocols=(SUBPROTOCOL,),
                    autoping=False,
                    max_msg_size=LARGEST_FRAME,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                )
            try:
                yield socket
            finally:
                with suppress(OSError, aiohttp.ClientError):
                    await socket.close()


async def _refuse_redirect(_session: object, _context: SimpleNamespace, _parameters: object) -> NoReturn:
    raise aiohttp.ClientConnectionError("an appliance does not send terminals elsewhere")


def _retry_after(error: aiohttp.WSServerHandshakeError) -> float:
    text = "" if error.headers is None else error.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0.0
