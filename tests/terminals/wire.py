"""A bare WebSocket as a terminal has it, a server around a relay, and a terminal that does as it should."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from appliance.errors import ApplianceError
from appliance.terminals import messages, scenarios
from appliance.terminals.desks import Stage, Work
from appliance.terminals.messages import (
    SUBPROTOCOL,
    Card,
    CardState,
    CloseCode,
    FromAppliance,
    FromTerminal,
    Hello,
    Mode,
    Reader,
    Result,
    Scenario,
    Start,
    Welcome,
)
from appliance.terminals.relay import Relay
from appliance.terminals.steps import EnterPin, Transmit, no_pin_entry, perform

NONCE = "ab" * 16
R1 = Reader(alias="r1", extended=True)
T = TypeVar("T")


def session(number: int) -> str:
    """Return a session id."""
    return f"{number:032x}"


def work(number: int = 1, mode: Mode = Mode.PINLESS) -> Work:
    """Return what a terminal is told of a conversation."""
    return Work(session(number), mode)


def unmoved(_stage: Stage) -> None:
    """Take no note of progress."""


def hello(*readers: Reader, require_signed: bool = False) -> Hello:
    """Return how a terminal introduces itself."""
    return Hello(
        software="example", version="1", nonce=NONCE, readers=readers or (R1,), require_signed=require_signed
    )


class Wire:
    """One connection of a terminal's, spoken on frame by frame. *transcript* gets what is said, on either side."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.transcript: list[str] = []

    async def say(self, *said: FromTerminal) -> None:
        """Send messages."""
        for message in said:
            self.transcript.append(f"T {messages.encode(message)}")
            await self.socket.send_str(messages.encode(message))

    async def hear(self, kind: type[T]) -> T:
        """Return the next message, which is of this *kind*."""
        async with asyncio.timeout(30):
            received = await self.socket.receive()
        assert received.type is WSMsgType.TEXT, (received, self.socket.close_code)
        self.transcript.append(f"A {received.data}")
        said: FromAppliance = messages.decode_from_appliance(received.data)
        assert isinstance(said, kind), said
        return said

    async def closed(self) -> int | None:
        """Return the code that the connection was closed with; what is said before is passed over."""
        async with asyncio.timeout(30):
            while True:
                received = await self.socket.receive()
                if received.type is not WSMsgType.TEXT:
                    return self.socket.close_code

    def cut(self) -> None:
        """Be gone without a word."""
        self.socket._response.close()

    async def introduced(self, said: Hello, *cards: Card) -> Welcome:
        """Introduce the terminal, and tell of its *cards*."""
        await self.say(said)
        welcome = await self.hear(Welcome)
        await self.say(*cards)
        return welcome


@dataclass
class Served:
    """A relay behind a server of its own. *refusals* are the codes with which connections were not taken."""

    relay: Relay
    url: str
    client: aiohttp.ClientSession
    refusals: list[str] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)

    async def connect(self, alias: str = "t1", **options: object) -> Wire:
        """Connect the terminal *alias*, without a word said yet."""
        options = {"protocols": (SUBPROTOCOL,), "max_msg_size": 0, **options}
        connect: Callable[..., Awaitable[aiohttp.ClientWebSocketResponse]] = self.client.ws_connect
        self.wires.append(Wire(await connect(f"{self.url}/{alias}", **options)))
        return self.wires[-1]

    async def terminal(self, alias: str = "t1", said: Hello | None = None, *, card: bool = True) -> Wire:
        """Connect the terminal *alias*, introduced, with a *card* on its reader or none, and wait until that is known."""
        wire = await self.connect(alias)
        said = said or hello()
        state = CardState.PRESENT if card else CardState.EMPTY
        await wire.introduced(
            said, *(Card(reader=one.alias, state=state, insertion=1) for one in said.readers)
        )
        await self.until(lambda: self.states(alias) == {"card" if card else "empty"})
        return wire

    def states(self, alias: str = "t1") -> set[str]:
        """Return how the desks of *alias* are."""
        return {str(one.state) for one in self.relay.register.desks() if one.desk.startswith(f"{alias}.")}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the event loop turn until *condition* holds."""
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
                await asyncio.sleep(0.001)


@asynccontextmanager
async def served(relay: Relay) -> AsyncIterator[Served]:
    """Serve *relay* on a free port; a terminal's alias is the path's last part."""
    refusals: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await relay.handler(request, request.match_info["alias"])
        except ApplianceError as error:
            refusals.append(error.code)
            return web.Response(status=503, text=error.code)

    application = web.Application()
    application.router.add_get("/{alias}", handle)
    async with (
        TestServer(application) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client,
    ):
        there = Served(relay, str(server.make_url("")).rstrip("/"), client, refusals)
        try:
            yield there
        finally:
            for wire in there.wires:
                wire.cut()
            await relay.drain(0)


async def play(
    wire: Wire, transmit: Transmit, enter_pin: EnterPin = no_pin_entry
) -> tuple[Result, Mapping[str, int]]:
    """Be a terminal that does as it should, for one session; return its result and how often each message came."""
    heard: dict[str, int] = {}
    while True:
        said = await wire.hear(object)
        heard[type(said).__name__] = heard.get(type(said).__name__, 0) + 1
        match said:
            case Start():
                pass
            case Scenario():
                answers = perform(scenarios.exchange_of(said), transmit, enter_pin)
                await wire.say(scenarios.responses(said.session, said.seq, answers))
            case Result():
                return said, heard
            case _:
                raise AssertionError(said)


__all__ = [
    "NONCE",
    "R1",
    "CloseCode",
    "Served",
    "Wire",
    "hello",
    "play",
    "served",
    "session",
    "unmoved",
    "work",
]
