"""The WebSocket under a terminal's connection: frames in, frames out, and goodbye."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from aiohttp import WSMessage, WSMsgType, web

from appliance.errors import (
    ApplianceError,
    TerminalFlooding,
    TerminalLost,
    TerminalMessageInvalid,
    TerminalProtocolViolated,
    TerminalsFull,
    TerminalSigningOff,
)
from appliance.terminals import messages
from appliance.terminals.messages import CloseCode, FromAppliance

GOODBYE_SECONDS: Final = 2.0
_MOST_UNSENT: Final = 64

_CLOSE_CODES: Final[Mapping[type[ApplianceError], CloseCode]] = {
    TerminalLost: CloseCode.DONE,
    TerminalMessageInvalid: CloseCode.MESSAGE_INVALID,
    TerminalProtocolViolated: CloseCode.VIOLATED,
    TerminalFlooding: CloseCode.FLOODING,
    TerminalSigningOff: CloseCode.SIGNING_OFF,
    TerminalsFull: CloseCode.GOING_AWAY,
}


class Line:
    """A WebSocket, and what is still to be sent on it. There is a task only while there is something to send."""

    __slots__ = ("_heard", "_request", "_sender", "_socket", "_unsent", "broken", "goodbye", "reading")

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request, self._socket = request, socket
        self._unsent: list[str] = []
        self._sender: asyncio.Task[None] | None = None
        self.broken: Callable[[ApplianceError], None] | None = None
        self.goodbye: asyncio.Task[None] | None = None
        self._heard: asyncio.Future[None] | None = None
        self.reading = True
        """Whether the connection's own task still takes frames, and so will see the other end's goodbye."""

    def post(self, message: FromAppliance) -> None:
        """Send *message* after those before it."""
        if self._socket.closed:
            return
        if len(self._unsent) >= _MOST_UNSENT:
            self._break(TerminalFlooding("the terminal does not read what it is sent"))
            return
        self._unsent.append(messages.encode(message))
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send())

    def leave(self, code: CloseCode) -> asyncio.Task[None]:
        """Send what is to be sent, and say goodbye with *code*, once; a terminal that does not listen is cut off."""
        if self.goodbye is None:
            self.goodbye = asyncio.get_running_loop().create_task(self._leave(code))
        return self.goodbye

    async def _leave(self, code: CloseCode) -> None:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                if self._sender is not None:
                    await asyncio.wait({self._sender})
                if self.reading:
                    # aiohttp's `close` would take the transport away before the other end has answered.
                    self._heard = asyncio.get_running_loop().create_future()
                    reason = code.name.lower().encode()
                    await self._socket.send_frame(code.to_bytes(2) + reason, WSMsgType.CLOSE)
                    await self._heard
                else:
                    await self._socket.close(code=code, message=code.name.lower().encode())
        self.cut()

    def read_through(self) -> None:
        """Take note that no more frames are taken."""
        self.reading = False
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(None)

    def cut(self) -> None:
        """End the connection without a word."""
        self.read_through()
        if self._sender is not None:
            self._sender.cancel()
        if self._request.transport is not None:
            self._request.transport.close()

    async def _send(self) -> None:
        try:
            while self._unsent:
                await self._socket.send_str(self._unsent.pop(0))
        except ConnectionError:
            self._break(TerminalLost("the connection to the terminal is broken"))
        finally:
            self._sender = None

    def _break(self, error: ApplianceError) -> None:
        self._unsent.clear()
        if self.broken is not None:
            self.broken(error)
        self.cut()


async def next_frame(socket: web.WebSocketResponse, unasked: Callable[[], None]) -> str | None:
    """Return the next frame of text, None at the end; pings and pongs are counted by *unasked*."""
    while True:
        received: WSMessage = await socket.receive()
        match received.type:
            case WSMsgType.TEXT:
                text: str = received.data
                return text
            case WSMsgType.BINARY:
                raise TerminalMessageInvalid("a binary frame")
            case WSMsgType.PING:
                unasked()
                await socket.pong(received.data)
            case WSMsgType.PONG:
                unasked()
            case _:
                return None


def close_code(error: ApplianceError) -> CloseCode:
    """Return the code with which a connection is closed that *error* has ended."""
    late = isinstance(error.__cause__, TimeoutError)
    return CloseCode.HELLO_LATE if late else _CLOSE_CODES[type(error)]
