"""
Connections, before and between requests: how many, how slow, and what is no HTTP at all.

On the network there is `doorstep` before them, where nobody is known yet.

aiohttp gives a connection that says nothing some time, and a handler as much as it wants. Here a request's head has to
arrive within seconds of its first byte, and whoever does not read its answer is cut off. Bodies are bounded where they
are read (`http`). Bytes that are no HTTP are answered by a problem like everything else, and the connection ends.

Nobody knows here who is a peer, so whoever gets as far could fill the log: lines are bounded in number, and what was left out is
counted.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from appliance.errors import ApplianceError, RequestMalformed, RequestTooLarge
from appliance.gateway import peers, problems, request_id
from appliance.gateway.authorities import Authorities
from appliance.gateway.doorstep import Doorstep, Patience, Refusal
from appliance.gateway.ration import Ration

_LOG = logging.getLogger(__name__)
_LINE_BYTES: Final = 4096
_HEADER_BYTES: Final = 8190
_MOST_HEADERS: Final = 64
_LINGERING_SECONDS: Final = 2.0
_LEAST_EACH: Final = 16
_LOOKED_AT_ONCE: Final = 32
"""Connections that are looked at, each for a fraction of a millisecond, before anything else has its turn."""
_HEARD_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How many connections there may be, and how long what may take.

    *each* is the most of one certificate or account, where None a quarter of all: nobody takes up all the room.
    """

    connections: int = 4096
    each: int | None = None
    head_seconds: float = 10.0
    write_seconds: float = 20.0
    keepalive_seconds: float = 75.0
    patience: Patience = field(default_factory=Patience)
    """What those get who have not shown yet who they are."""

    @property
    def most_each(self) -> int:
        """The most connections of one certificate or account."""
        return max(_LEAST_EACH, self.connections // 4) if self.each is None else self.each


class Door:
    """Lets connections in, as many as there may be; *tell* is told of everybody who gets no further."""

    def __init__(self, limits: Limits, tell: Callable[[Refusal], None] = lambda _why: None) -> None:
        self.limits = limits
        self.tell = tell
        self.inside = 0
        self.context: ssl.SSLContext | None = None
        """By which whoever comes over the network shakes hands now."""
        self.authorities: Authorities | None = None
        """Who has to vouch for those whose handshake began before that; None where nobody was ever taken away."""
        self.lines = Ration(time.monotonic, _left_out)
        self._each: Counter[peers.Credentials | None] = Counter()

    def enter(self, shown: peers.Credentials | None) -> bool:
        """Count one more connection of who has *shown* these credentials; False where there is no room."""
        key = _key(shown)
        if self.inside >= self.limits.connections or self._each[key] >= self.limits.most_each:
            return False
        self.inside += 1
        self._each[key] += 1
        return True

    def trusts(self, transport: asyncio.BaseTransport) -> bool:
        """Return whether the certificate shown at *transport* counts still, after a handshake that began before a reload."""
        if self.authorities is None or transport.get_extra_info("sslcontext") is self.context:
            return True
        der = _shown(transport)
        return der is None or self.authorities.vouch_for(der)

    def leave(self, shown: peers.Credentials | None) -> None:
        """Count one less."""
        key = _key(shown)
        self.inside -= 1
        self._each[key] -= 1
        if not self._each[key]:
            del self._each[key]


def _key(shown: peers.Credentials | None) -> peers.Credentials | None:
    # Of an account, the user: its groups may differ from process to process.
    return peers.Account(shown.uid, frozenset()) if isinstance(shown, peers.Account) else shown


def _left_out(count: int) -> None:
    _LOG.warning("lines about connections left out count=%d", count)


def _shown(transport: asyncio.BaseTransport | None) -> bytes | None:
    """Return the certificate of who is at the other end of *transport*, None where it is none of the network."""
    tls: ssl.SSLObject | None = None if transport is None else transport.get_extra_info("ssl_object")
    return None if tls is None else tls.getpeercert(binary_form=True)


class Connection(web.RequestHandler):
    """One connection. *credentials* are what it says of who is at its other end."""

    __slots__ = ("_door", "_has_asked", "_head_timer", "_is_inside", "_write_timer", "credentials")

    def __init__(self, server: web.Server, door: Door, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=door.limits.keepalive_seconds,
            logger=_LOG,
            access_log=None,  # type: ignore[arg-type]  # aiohttp tests it for truth; requests are logged by `http`
            max_line_size=_LINE_BYTES,
            max_field_size=_HEADER_BYTES,
            max_headers=_MOST_HEADERS,
            lingering_time=_LINGERING_SECONDS,
            auto_decompress=False,
        )
        self.credentials: peers.Credentials | None = None
        self._door = door
        self._is_inside = False
        self._has_asked = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._request_handler = self._handled

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or end it where there is no room."""
        self.credentials = peers.credentials(transport)
        # The TLS layer's own reading of the certificate is of no use to us, and would be kept for each idle terminal.
        (transport.get_extra_info("peercert") or {}).clear()
        is_trusted = self._door.trusts(transport)
        self._is_inside = is_trusted and self._door.enter(self.credentials)
        self._door.lines.turn()
        super().connection_made(transport)
        if not self._is_inside:
            if self._door.lines.has_room():
                _LOG.warning("connection refused inside=%d", self._door.inside)
            self._door.tell(Refusal.FULL if is_trusted else Refusal.FAILED)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._stop(self._head_timer)
        self._stop(self._write_timer)
        self._head_timer = self._write_timer = None
        if self._is_inside:
            self._is_inside = False
            self._door.leave(self.credentials)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take *data*; a head that has begun has to be complete within its time."""
        super().data_received(data)
        if not self._is_between_requests:
            self._stop(self._head_timer)
            self._head_timer = None
        elif data and self._head_timer is None:
            self._head_timer = self._loop.call_later(self._door.limits.head_seconds, self._head_late)

    def pause_writing(self) -> None:
        """Wait for the other end to read, but not for ever."""
        super().pause_writing()
        self._write_timer = self._loop.call_later(self._door.limits.write_seconds, self._cut_off)

    def resume_writing(self) -> None:
        """Go on."""
        self._stop(self._write_timer)
        self._write_timer = None
        super().resume_writing()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # it may repeat the caller's bytes
    ) -> web.StreamResponse:
        """Return the problem for what is no HTTP, and end the connection after it."""
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionError("there is nobody to answer, or an answer has begun already")
        identity = request_id.begin()
        error: BaseException | None = exc
        if isinstance(exc, LineTooLong):
            error = RequestTooLarge("the request's head is too long")
        elif status < 500:
            error = RequestMalformed("this is no HTTP/1.1 request")
        if not isinstance(error, ApplianceError):
            _LOG.error("request failed before it was answered", exc_info=exc)
        told = error or RequestMalformed("the request cannot be answered")
        answer = problems.response(told, problems.language(request.headers.get("Accept-Language")), identity)
        if self._door.lines.has_room():
            code = told.code if isinstance(told, ApplianceError) else problems.INTERNAL
            _LOG.info("request malformed status=%d code=%s error=%s", answer.status, code, type(exc).__name__)
        answer.headers[request_id.HEADER] = identity
        answer.headers["Server"] = "jpki-appliance"
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.force_close()
        return answer

    async def _handled(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer *request*; what aiohttp refuses before any middleware sees it becomes a problem, too."""
        self._has_asked = True
        server = self._manager
        if server is None:
            raise ConnectionError("the connection is lost")
        try:
            return await server.request_handler(request)
        except web.HTTPException as error:
            return self.handle_error(request, error.status, error)

    @property
    def certificate(self) -> bytes | None:
        """What was shown over TLS, None on another kind of connection, or where it is lost."""
        return _shown(self.transport)

    @property
    def is_silent(self) -> bool:
        """Whether it was let in, and has asked nothing yet."""
        return self._is_inside and not self._has_asked

    @property
    def is_request(self) -> bool:
        """Whether it is for requests, and has not become a WebSocket: been made one, not only asked to become one."""
        return self._payload_parser is None

    def end(self) -> None:
        """End at once, whatever is under way."""
        self._cut_off()

    @property
    def _is_between_requests(self) -> bool:
        return not (
            self._messages
            or self._request_in_progress
            or self._upgraded
            or self._payload_parser is not None
            or self._force_close
        )

    def _head_late(self) -> None:
        self._head_timer = None
        if self._is_between_requests:
            if self._door.lines.has_room():
                _LOG.info("connection closed cause=head-late")
            self._cut_off()

    def _cut_off(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


class _Server(web.Server):
    """Makes connections of ours."""

    def __init__(self, server: web.Server, door: Door) -> None:
        super().__init__(
            server.request_handler, request_factory=server.request_factory, loop=asyncio.get_running_loop()
        )
        self._door = door

    def __call__(self) -> Connection:
        return Connection(self, self._door, asyncio.get_running_loop())


class Runner(web.AppRunner):
    """Runs an application on connections of ours; sites are added as to any runner of aiohttp's."""

    __slots__ = ("door",)

    def __init__(
        self,
        app: web.Application,
        limits: Limits = Limits(),  # frozen
        *,
        seconds: float = 10.0,
        tell: Callable[[Refusal], None] = lambda _why: None,
    ) -> None:
        """Take *app* and the *limits* of its connections; at the end, requests get *seconds*. *tell* is `Door`'s."""
        super().__init__(app, handle_signals=False, shutdown_timeout=seconds, access_log=None)
        self.door = Door(limits, tell)

    async def end(self, ends: Callable[[Connection], bool], cause: str) -> None:
        """End the connections of which *ends* says so, and log their number under *cause*."""
        count = 0
        server = self.server
        for number, connection in enumerate(() if server is None else server.connections, start=1):
            if isinstance(connection, Connection) and ends(connection):
                connection.end()
                count += 1
            if not number % _LOOKED_AT_ONCE:
                await asyncio.sleep(0)
        if count:
            _LOG.info("connections ended cause=%s count=%d", cause, count)

    async def cleanup(self) -> None:
        """Listen no more, and end when who is under way has an answer; who has just come in gets the time to ask."""
        for site in self.sites:
            await site.stop()
        server, deadline = self.server, asyncio.get_running_loop().time() + _HEARD_SECONDS
        while server is not None and asyncio.get_running_loop().time() < deadline:
            if not any(isinstance(one, Connection) and one.is_silent for one in server.connections):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        await super().cleanup()
        self.door.lines.close()

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self.door)


class SecureSite(web.SockSite):
    """A listening socket with TLS by *context*, which may be replaced: it counts for handshakes that begin from then on."""

    def __init__(
        self, runner: Runner, listening: socket.socket, context: ssl.SSLContext, *, backlog: int = 128
    ) -> None:
        super().__init__(runner, listening, ssl_context=context, backlog=backlog)
        server = runner.server
        if server is None:
            raise ValueError("the runner is not set up")
        door = runner.door
        self.doorstep = Doorstep(listening, context, server, door.limits.patience, door.tell)

    async def start(self) -> None:
        """Listen."""
        await web.BaseSite.start(self)
        self.doorstep.listening.listen(self._backlog)
        self.doorstep.open()

    async def stop(self) -> None:
        """Listen no more; who is inside stays."""
        await self.doorstep.close()
        await super().stop()
