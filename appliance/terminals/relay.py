"""
The appliance's end of `jpki-terminal.v1`: connected terminals, their desks, and the cards on them.

    gateway ──request──> Relay.handler ── WebSocket ──> terminal
    daemon  ──────────── Relay.card(desk) ── Connection ── Session ──> RemoteCard.exchange

A terminal is one identity of the gateway's, with one connection: a new one takes over from an older one, as a terminal
whose network went away without a word needs. Nothing a terminal sends is believed beyond what `remote` lets pass; what
breaks the rules costs it the connection, with a close code that says why. A connection that waits has aiohttp's own
task and no other, and no timer but the heartbeat's.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import web

from appliance.errors import (
    ApplianceError,
    CardAbsent,
    DeskUnknown,
    GatewayDraining,
    ReaderAbsent,
    ReaderBusy,
    RequestMalformed,
    TerminalAbsent,
    TerminalFlooding,
    TerminalLost,
    TerminalProtocolViolated,
    TerminalsFull,
    TerminalSigningOff,
)
from appliance.terminals import messages
from appliance.terminals.desks import (
    Progress,
    RelayObserver,
    Stage,
    Unobserved,
    Work,
)
from appliance.terminals.line import GOODBYE_SECONDS, Line, close_code, next_frame
from appliance.terminals.messages import (
    LARGEST_FRAME,
    SUBPROTOCOL,
    ApplianceProblem,
    CardState,
    CloseCode,
    Drain,
    Hello,
    Start,
    Welcome,
)
from appliance.terminals.places import Place, Session, Terms
from appliance.terminals.register import Register, Terminal
from appliance.terminals.remote import Connection, RemoteCard
from appliance.terminals.signing import ScenarioSigner

_LOG = logging.getLogger(__name__)

_RETRY_MS: Final = 5_000


class Relay:
    """
    Serves terminals by *terms*; *signer* signs scenarios for those that insist, None refuses them.

    *clock* gives seconds since the epoch.
    """

    def __init__(
        self,
        terms: Terms,
        issuer: str,
        signer: ScenarioSigner | None = None,
        observer: RelayObserver | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._terms, self._issuer, self._signer = terms, issuer, signer
        self._observer: RelayObserver = observer or Unobserved()
        self._clock = clock
        self.register = Register()
        """Who is connected, with which desks."""
        self._open = 0
        self._draining = False
        self._changed = asyncio.Event()
        self._goodbyes: set[asyncio.Task[None]] = set()

    # --- connections ----------------------------------------------------------------------------------------

    async def handler(self, request: web.Request, alias: str) -> web.WebSocketResponse:
        """
        Serve the terminal called *alias*, whose identity the caller has checked, until its connection ends.

        Raises RequestMalformed, TerminalFlooding or TerminalsFull before anything is upgraded.
        """
        terms = self._terms
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            heartbeat=terms.heartbeat,
            compress=False,
            max_msg_size=LARGEST_FRAME + 1,
            autoping=False,
            timeout=GOODBYE_SECONDS,
        )
        try:
            terminal = self._admit(request, socket, alias)
        except ApplianceError as error:
            self._refuse(alias, error.code)
            raise
        self._open += 1
        try:
            await socket.prepare(request)
            await self._serve(alias, terminal, socket, Line(request, socket))
        finally:
            self._open -= 1
        return socket

    def _admit(self, request: web.Request, socket: web.WebSocketResponse, alias: str) -> Terminal:
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        if SUBPROTOCOL not in [name.strip() for name in offered.split(",")] or not socket.can_prepare(
            request
        ):
            raise RequestMalformed(f"this is for WebSockets that speak {SUBPROTOCOL}")
        if self._draining or self._open >= self._terms.most:
            raise TerminalsFull("the appliance takes no more terminals now")
        terminal = self.register.entered(alias)
        if not terminal.pace.allows(time.monotonic()):
            raise TerminalFlooding(f"'{alias}' connects again and again")
        return terminal

    async def _serve(self, alias: str, terminal: Terminal, socket: web.WebSocketResponse, line: Line) -> None:
        try:
            error = await self._converse(alias, terminal, socket, line)
            line.read_through()
            if error is not None:
                line.post(ApplianceProblem(code=error.code, detail=error.detail[:200]))
                line.leave(close_code(error))
            if line.goodbye is not None:
                await asyncio.wait({line.goodbye})
        finally:
            line.cut()

    async def _converse(
        self, alias: str, terminal: Terminal, socket: web.WebSocketResponse, line: Line
    ) -> ApplianceError | None:
        """Take what the terminal says until it is gone; return the error that it is to be cut off for, if any."""
        connection: Connection | None = None
        code: str | None = None
        try:
            hello = await self._hello(socket)
            connection = self._connected(alias, terminal, hello, line)
            while (frame := await next_frame(socket, connection.unasked)) is not None:
                connection.take(frame)
        except ApplianceError as error:
            code = error.code
            if connection is None:
                self._refuse(alias, code)
            else:
                connection.lose(error)
            return error
        finally:
            if connection is not None:
                self._disconnected(terminal, connection, code)
        return None

    async def _hello(self, socket: web.WebSocketResponse) -> Hello:
        """Return how the terminal introduces itself, or raise."""
        try:
            async with asyncio.timeout(self._terms.hello):
                frame = await next_frame(socket, _nothing_before)
        except TimeoutError as error:
            raise TerminalProtocolViolated("no terminal has introduced itself in time") from error
        if frame is None:
            raise TerminalLost("the connection ended before the terminal introduced itself")
        hello = messages.decode_from_terminal(frame)
        if not isinstance(hello, Hello):
            raise TerminalProtocolViolated("a terminal introduces itself first")
        if hello.require_signed and self._signer is None:
            raise TerminalSigningOff("the terminal insists on signed scenarios")
        return hello

    def _connected(self, alias: str, terminal: Terminal, hello: Hello, line: Line) -> Connection:
        if self._draining:
            raise TerminalsFull("the appliance is about to stop")
        if not self.register.has(alias, terminal):
            raise TerminalLost("the terminal was forgotten before it introduced itself")
        self._let_go(terminal, CloseCode.REPLACED, "the terminal has connected again")
        connection = Connection(
            alias,
            hello,
            terms=self._terms,
            signer=self._signer,
            post=line.post,
            changed=lambda: self._session_over(terminal),
            clock=self._clock,
        )
        line.broken = connection.lose
        terminal.connection, terminal.line, terminal.hello = connection, line, hello
        terminal.places = connection.places
        line.post(
            Welcome(
                terminal=alias,
                heartbeat_ms=int(self._terms.heartbeat * 1000),
                issuer=self._issuer,
                scenario_key=None if self._signer is None else self._signer.key,
            )
        )
        self._observer.connected(alias)
        _LOG.info("terminal connected terminal=%s", alias)
        return connection

    def _refuse(self, alias: str, code: str) -> None:
        self._observer.refused(alias, code)
        _LOG.info("terminal refused terminal=%s code=%s", alias, code)

    def _disconnected(self, terminal: Terminal, connection: Connection, code: str | None) -> None:
        """Take note that *connection* has ended, unless that is known."""
        connection.lose(TerminalLost(f"the connection to '{connection.alias}' ended"))
        if terminal.connection is connection:
            terminal.connection, terminal.line = None, None
            self._observer.disconnected(connection.alias, code)
            _LOG.info("terminal disconnected terminal=%s code=%s", connection.alias, code or "-")
        self._changed.set()

    def _let_go(self, terminal: Terminal, close_with: CloseCode, why: str) -> None:
        """End the terminal's connection, if it has one; its sessions end with TerminalLost at once."""
        connection, line = terminal.connection, terminal.line
        if connection is not None and line is not None:
            connection.lose(TerminalLost(why))
            self._disconnected(terminal, connection, TerminalLost.code)
            task = line.leave(close_with)
            self._goodbyes.add(task)
            task.add_done_callback(self._goodbyes.discard)

    # --- desks ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def card(self, desk: str, work: Work, progress: Progress) -> AsyncIterator[RemoteCard]:
        """
        Give the card at *desk* (TERMINAL.READER) for ourselves alone; wait for one as long as the terms say.

        Raises DeskUnknown, TerminalAbsent, ReaderAbsent, ReaderBusy, CardAbsent, GatewayDraining, and what the terminal
        reports. The terminal is told how it ended.
        """
        connection, place = self._place(desk)
        terms = connection.terms
        start = Start(
            session=work.session,
            reader=place.reader.alias,
            mode=work.mode,
            wait_ms=int(terms.card * 1000),
        )
        session = connection.begin(start)
        try:
            if session.insertion is None:
                progress(Stage.WAITING_FOR_CARD)
                await self._wait(connection, session)
            yield RemoteCard(
                connection,
                session,
                lambda exchange: progress(Stage.of(exchange)),
                lambda answers, times: self._observer.exchanged(connection.alias, work.mode, answers, times),
            )
        except ApplianceError as error:
            connection.finish(session, error)
            raise
        except BaseException:
            connection.end(session, None)
            raise
        else:
            connection.finish(session, None)

    def _place(self, desk: str) -> tuple[Connection, Place]:
        if self._draining:
            raise GatewayDraining("the appliance is about to stop")
        found = self.register.found(desk)
        if found is None:
            raise DeskUnknown("no terminal has that desk")
        terminal, place = found
        connection = terminal.connection
        if connection is None:
            raise TerminalAbsent(f"the terminal of '{desk}' is not connected")
        if place.session is not None:
            raise ReaderBusy(f"an authentication is under way at '{desk}'")
        if connection.stale:
            # Two readers in turn could keep up settings and keys that are no more, for as long as people come.
            raise TerminalAbsent(
                f"'{connection.alias}' connects again, by new settings, when its other reader is free"
            )
        return connection, place

    async def _wait(self, connection: Connection, session: Session) -> None:
        if await connection.wait_for_card(session, connection.terms.card):
            return
        if session.place.state is CardState.ABSENT:
            raise ReaderAbsent(f"'{connection.alias}' has no reader '{session.start.reader}' now")
        raise CardAbsent("no card was put on the reader in time")

    # --- lifecycle ------------------------------------------------------------------------------------------

    def retain(self, aliases: Collection[str]) -> None:
        """Forget terminals that are none of *aliases* any more; their connections end."""
        for terminal in self.register.struck(aliases):
            self._let_go(terminal, CloseCode.RENEWED, "the terminal is not configured any more")

    def renew(self, terms: Terms, issuer: str, signer: ScenarioSigner | None) -> None:
        """Take over new settings: terminals connect again, each as soon as it has no session."""
        self._terms, self._issuer, self._signer = terms, issuer, signer
        for terminal in self.register:
            if terminal.connection is not None:
                terminal.connection.stale = True
                self._session_over(terminal)

    async def drain(self, seconds: float) -> None:
        """
        Begin nothing new, let what is under way end within *seconds*, and close all connections.

        Terminals without a session are sent to another node at once.
        """
        self._draining = True
        for terminal in self.register:
            if terminal.connection is not None and terminal.line is not None:
                terminal.connection.stale = True
                terminal.line.post(Drain(retry_ms=_RETRY_MS))
                self._session_over(terminal)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(one.connection is not None for one in self.register):
                    self._changed.clear()
                    await self._changed.wait()
        for terminal in self.register:
            self._let_go(terminal, CloseCode.GOING_AWAY, "the appliance stops")
        await asyncio.gather(*self._goodbyes, return_exceptions=True)

    def _session_over(self, terminal: Terminal) -> None:
        """Close the connection of *terminal* where it is used up, and tell `drain`."""
        connection = terminal.connection
        if connection is not None and connection.stale and not connection.engaged:
            code = CloseCode.GOING_AWAY if self._draining else CloseCode.RENEWED
            self._let_go(terminal, code, "the connection is not used any more")
        self._changed.set()


def _nothing_before() -> None:
    raise TerminalProtocolViolated("a terminal introduces itself first")
