"""An appliance for terminals to talk to: a real WebSocket server that says exactly what a test has it say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from aiohttp import WSMsgType, web

from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange
from appliance.terminals import messages, scenarios
from appliance.terminals.messages import (
    SUBPROTOCOL,
    Card,
    FromAppliance,
    FromTerminal,
    Hello,
    Mode,
    Responses,
    Scenario,
    SignedScenario,
    Start,
    Welcome,
)

PATIENCE = 20.0
READER = "desk-1"
SESSION = "00112233445566778899aabbccddeeff"
T = TypeVar("T")


@dataclass(slots=True)
class Line:
    """A terminal that has connected."""

    socket: web.WebSocketResponse
    cards: dict[str, Card] = field(default_factory=dict)
    """What it said last of each reader."""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, *said: FromAppliance) -> None:
        """Say something of the protocol."""
        for message in said:
            await self.socket.send_str(messages.encode(message))

    async def any(self) -> FromTerminal:
        """Return what the terminal says next."""
        async with asyncio.timeout(PATIENCE):
            frame = await self.socket.receive()
        assert frame.type is WSMsgType.TEXT, f"{frame.type} {frame.data}"
        said = messages.decode_from_terminal(frame.data)
        if isinstance(said, Card):
            self.cards[said.reader] = said
        return said

    async def hear(self, kind: type[T]) -> T:
        """Return the next message that is not about cards coming and going, which must be a *kind*."""
        while isinstance(said := await self.any(), Card) and kind is not Card:
            pass
        assert isinstance(said, kind), said
        return said

    async def closed(self) -> int | None:
        """Wait until the terminal has closed the connection, and return the code it gave."""
        async with asyncio.timeout(PATIENCE):
            while (frame := await self.socket.receive()).type is WSMsgType.TEXT:
                pass
        assert frame.type in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING}
        return self.socket.close_code

    async def welcome(self, **changes: object) -> Hello:
        """Hear who it is and welcome it."""
        hello = await self.hear(Hello)
        await self.say(
            Welcome(**{"terminal": "ward-3", "heartbeat_ms": 60_000, "issuer": "appliance.test", **changes})  # type: ignore[arg-type]  # fields of several types
        )
        return hello

    async def start(self, mode: Mode, session: str = SESSION, wait_ms: int = 15_000) -> "FarCard":
        """Begin a session at the reader, and return its card."""
        await self.say(Start(session=session, reader=READER, mode=mode, wait_ms=wait_ms))
        return FarCard(self, session)

    async def card(self, *, present: bool) -> Card:
        """Wait until the terminal has said that a card lies there, or none."""
        wanted = messages.CardState.PRESENT if present else messages.CardState.EMPTY
        while (said := self.cards.get(READER)) is None or said.state is not wanted:
            await self.hear(Card)
        return said


@dataclass(slots=True)
class FarCard:
    """The card at a terminal (`authentication.Card`)."""

    line: Line
    session: str
    seq: int = 0
    deadline_ms: int = 20_000

    def scenario(self, exchange: Exchange) -> Scenario:
        """Return the next scenario."""
        return scenarios.scenario(self.session, self.seq, self.deadline_ms, exchange)

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Have the steps done; before the first ones the terminal has to say that a card lies there."""
        if self.seq == 0:
            await self.line.card(present=True)
        answers: tuple[Response, ...] = ()
        for part in scenarios.batches(exchange):
            await self.line.say(await self.written(self.scenario(part)))
            said = await self.line.hear(Responses)
            assert (said.session, said.seq) == (self.session, self.seq)
            self.seq += 1
            answered = scenarios.answers_of(part, said)
            answers += answered
            if not scenarios.ran_through(part, answered):
                break
        return answers

    async def written(self, scenario: Scenario) -> Scenario | SignedScenario:
        """Return *scenario* as it is sent."""
        return scenario


@dataclass(slots=True)
class FarSide:
    """The appliance at the Unix *socket*. A handshake is answered with *status* where one is set."""

    socket: Path
    status: int | None = None
    connected: "asyncio.Queue[Line]" = field(default_factory=asyncio.Queue)
    protocols: tuple[str, ...] = (SUBPROTOCOL,)
    attempts: int = 0
    runner: web.AppRunner | None = None
    lines: list[Line] = field(default_factory=list)

    async def begin(self) -> None:
        """Listen."""
        application = web.Application()
        application.router.add_get("/v1/terminal", self._serve)
        self.runner = web.AppRunner(application, shutdown_timeout=0.1, handle_signals=False)
        await self.runner.setup()
        await web.UnixSite(self.runner, str(self.socket)).start()

    async def end(self) -> None:
        """Be gone, with all connections."""
        for line in self.lines:
            line.over.set()
            await line.socket.close()
        self.lines.clear()
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None
        self.socket.unlink(missing_ok=True)

    async def line(self) -> Line:
        """Return the next terminal that connects."""
        async with asyncio.timeout(PATIENCE):
            return await self.connected.get()

    async def welcomed(self) -> Line:
        """Return the next terminal that connects, which has introduced itself and is welcome."""
        line = await self.line()
        await line.welcome()
        return line

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.attempts += 1
        if self.status is not None:
            return web.Response(status=self.status, headers={"Retry-After": "1"})
        socket = web.WebSocketResponse(protocols=self.protocols, max_msg_size=1 << 17, timeout=1.0)
        await socket.prepare(request)
        line = Line(socket)
        self.lines.append(line)
        self.connected.put_nowait(line)
        await line.over.wait()
        return socket


@asynccontextmanager
async def far_side(folder: Path) -> AsyncIterator[FarSide]:
    """Have an appliance in *folder* for the length of a block."""
    side = FarSide(folder / "s")
    await side.begin()
    try:
        yield side
    finally:
        await side.end()
