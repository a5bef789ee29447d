"""
The terminal as a whole: its readers, one connection to the appliance at a time, and pauses between connections.

    Readers ──events──> Places ──Card──────────> Connection ──> appliance
       └──card()────────────────> Session <──Start, Scenario──┘

It runs until it is stopped. No appliance, a lost one and one that misbehaves are all the same to it: a reason that
the person at the terminal can read, and another attempt after a pause.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Final, NoReturn

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec

from appliance import __version__
from appliance.card.profile import Profile
from appliance.errors import BudgetSpent, PeerUnknown, TerminalsFull
from appliance.terminals.agent.allowlist import conversations
from appliance.terminals.agent.backoff import Backoff
from appliance.terminals.agent.connection import CLOSE_SECONDS, Connection, Parting
from appliance.terminals.agent.places import Lying, Places
from appliance.terminals.agent.session import AskPin, Equipment
from appliance.terminals.agent.status import Board, Link, Show, show_nobody
from appliance.terminals.messages import LARGEST_FRAME, SUBPROTOCOL, CardState, Hello, Mode, PinEntry, Reader
from appliance.terminals.readers import Readers
from appliance.terminals.view import Desk

CONNECT_SECONDS: Final = 15.0
SOFTWARE: Final = "jpki-appliance terminal"
_NONCE_LENGTH: Final = 16
_CODES: Final = {401: PeerUnknown.code, 403: PeerUnknown.code, 429: BudgetSpent.code, 503: TerminalsFull.code}
"""What an appliance that answers with an HTTP status means."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the appliance is: *url*, on the network by *tls*, or through the Unix *socket*."""

    url: str
    tls: ssl.SSLContext | None = None
    socket: str | None = None

    def connector(self) -> aiohttp.BaseConnector:
        """Return what opens connections to it."""
        if self.socket is not None:
            return aiohttp.UnixConnector(self.socket, limit=1)
        return aiohttp.TCPConnector(ssl=True if self.tls is None else self.tls, limit=1)


@dataclass(frozen=True, slots=True)
class Terminal:
    """
    A terminal with the readers at *desks*, for the appliance at *address*.

    *require_signed* insists on signed scenarios, by one of the *pinned* keys where there are some. *clock* gives seconds
    since the epoch, *random* so many bytes.
    """

    address: Address
    desks: Mapping[str, Desk]
    profile: Profile
    backoff: Backoff
    clock: Callable[[], float]
    random: Callable[[int], bytes]
    pin_entry: PinEntry = PinEntry.NONE
    ask_pin: AskPin = lambda _reader, _given_up: None
    require_signed: bool = False
    pinned: Sequence[ec.EllipticCurvePublicKey] | None = None
    show: Show = show_nobody
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for mode in Mode:
            conversations(self.profile, mode)

    def stop(self) -> None:
        """End: running sessions are aborted, cards let go of, the appliance is told."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve the appliance until `stop`."""
        board = Board(tuple(self.desks), self.show)
        connections: list[Connection] = []

        def changed(reader: str, lying: Lying) -> None:
            present = None if lying.state is CardState.ABSENT else lying.state is CardState.PRESENT
            board.card(reader, present=present)
            for connection in connections:
                connection.changed(reader, lying)

        async with Readers(self.desks) as readers:
            places = Places(tuple(self.desks), changed)
            equipment = Equipment(readers, self.profile, board, self.pin_entry, self.ask_pin, self.clock)
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(places.follow(readers))
                serving = tasks.create_task(self._serve(equipment, places, connections))
                await self._stopping.wait()
                board.link(Link.ENDING)
                serving.cancel()
                following.cancel()

    async def _serve(self, equipment: Equipment, places: Places, connections: list[Connection]) -> NoReturn:
        """Connect, again and again."""
        board = equipment.board
        while True:
            board.link(Link.CONNECTING)
            parting = await self._connection(equipment, places, connections)
            if parting.steady:
                self.backoff.succeeded()
            pause = self.backoff.pause(parting.retry_seconds)
            board.link(Link.AWAY, code=parting.code, reason=parting.reason, seconds=pause)
            await asyncio.sleep(pause)

    async def _connection(
        self, equipment: Equipment, places: Places, connections: list[Connection]
    ) -> Parting:
        """Return how one attempt ended."""
        hello = self._hello()
        try:
            async with self._opened() as socket:
                if socket.protocol != SUBPROTOCOL:
                    return Parting("what answers there does not speak the terminal protocol")
                connection = Connection(socket, equipment, places, hello, self.pinned)
                connections.append(connection)
                try:
                    return await connection.run()
                finally:
                    connections.remove(connection)
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

    def _hello(self) -> Hello:
        return Hello(
            software=SOFTWARE,
            version=__version__,
            nonce=self.random(_NONCE_LENGTH).hex(),
            readers=tuple(Reader(alias=alias, pin_entry=self.pin_entry) for alias in self.desks),
            require_signed=self.require_signed,
        )


async def _refuse_redirect(_session: object, _context: SimpleNamespace, _parameters: object) -> NoReturn:
    raise aiohttp.ClientConnectionError("an appliance does not send terminals elsewhere")


def _retry_after(error: aiohttp.WSServerHandshakeError) -> float:
    text = "" if error.headers is None else error.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0.0
