"""
One connection of the terminal to the appliance, from `Hello` to its end.

Nothing that the appliance sends can do more harm than end the connection: frames are bounded in size and number, what is
no message or comes where it may not closes the connection with a code, and every session ends with it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

import aiohttp
from aiohttp import WSMsgType
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.errors import (
    TerminalFlooding,
    TerminalLost,
    TerminalMessageInvalid,
    TerminalProtocolViolated,
    TerminalSignatureRefused,
)
from appliance.terminals import messages
from appliance.terminals.agent.places import Lying, Places
from appliance.terminals.agent.session import Equipment, Session
from appliance.terminals.agent.signatures import Verifier, addressee
from appliance.terminals.agent.status import Link, Place
from appliance.terminals.messages import (
    Abort,
    ApplianceProblem,
    CardState,
    CloseCode,
    Drain,
    FromAppliance,
    FromTerminal,
    Hello,
    Outcome,
    Result,
    Scenario,
    SignedScenario,
    Start,
    TerminalCode,
    TerminalProblem,
    Welcome,
)
from appliance.terminals.pace import Pace
from appliance.terminals.sessions import TerminalMove

WELCOME_SECONDS: Final = 15.0
SEND_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
LONGEST_HEARTBEAT: Final = 300.0
MISSED_HEARTBEATS: Final = 2
FRAMES_PER_SECOND: Final = 50.0
MOST_FRAMES_AT_ONCE: Final = 200
"""An appliance sends a handful of frames for each card."""
STEADY_SECONDS: Final = 30.0
"""A connection that lasted so long, and ended without a violation, was of use."""
_REMEMBERED: Final = 64
_CLOSED_FOR: Final = {
    TerminalMessageInvalid: CloseCode.MESSAGE_INVALID,
    TerminalProtocolViolated: CloseCode.VIOLATED,
    TerminalFlooding: CloseCode.FLOODING,
    TerminalSignatureRefused: CloseCode.SIGNING_OFF,
}


@dataclass(frozen=True, slots=True)
class Parting:
    """
    How a connection ended: *reason* in English, the *code* of an error where there is one.

    *steady* says that it had been of use; *retry_seconds* is what the appliance asks to wait.
    """

    reason: str
    code: str | None = None
    retry_seconds: float = 0.0
    steady: bool = False


class _Parted(Exception):
    """The connection is at its end, without anybody having done anything wrong."""

    def __init__(self, parting: Parting) -> None:
        super().__init__(parting.reason)
        self.parting = parting


@dataclass(slots=True)
class Connection:
    """
    A connection on *socket*, which has just been opened, to one *node* of the appliance.

    *pinned* are the keys of signed scenarios, None for any. *fellows* are the terminal's connections to all nodes: a
    reader that one of them has is nobody else's.
    """

    socket: aiohttp.ClientWebSocketResponse
    equipment: Equipment
    places: Places
    hello: Hello
    pinned: Sequence[ec.EllipticCurvePublicKey] | None
    node: int = 0
    fellows: "Sequence[Connection]" = ()
    _welcome: Welcome | None = None
    _verifier: Verifier | None = None
    _sessions: dict[str, tuple[Session, "asyncio.Task[None]"]] = field(default_factory=dict)
    _ended: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """Sessions that have just ended: what the appliance sent before it knew is no violation."""
    _leaving: "dict[str, asyncio.Task[None]]" = field(default_factory=dict)
    """By the reader: the task of a session that was ended, which may not have let go of its card yet."""
    _announcing: "asyncio.Task[None] | None" = None
    _drained: Drain | None = None
    _pace: Pace = field(default_factory=lambda: Pace(MOST_FRAMES_AT_ONCE, FRAMES_PER_SECOND))
    _silence: float = WELCOME_SECONDS

    async def run(self) -> Parting:
        """Serve the appliance until the connection ends, and return how. Cancelled, it takes leave."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        close_code, parting = CloseCode.DONE, Parting("the connection was closed")
        try:
            await self.send(self.hello)
            welcome = await self._await_welcome()
            if self.hello.require_signed:
                self._verifier = Verifier.of(self.pinned, welcome, self.hello.nonce)
            self.equipment.board.link(Link.CONNECTED, node=self.node, terminal=welcome.terminal)
            self._announcing = asyncio.create_task(self._announce())
            self._announcing.add_done_callback(_report)
            await self._listen()
        except _Parted as end:
            parting = end.parting
        except (
            TerminalMessageInvalid,
            TerminalProtocolViolated,
            TerminalFlooding,
            TerminalSignatureRefused,
        ) as error:
            close_code, parting = _CLOSED_FOR[type(error)], Parting(error.detail, error.code)
        except TerminalLost as error:
            parting = Parting(error.detail)
        except asyncio.CancelledError:
            close_code = CloseCode.GOING_AWAY
            raise
        finally:
            await self._leave(close_code)
        well = close_code is CloseCode.DONE and loop.time() - began >= STEADY_SECONDS
        return replace(parting, steady=well or parting.steady)

    def changed(self, reader: str, lying: Lying) -> None:
        """Take note that *lying* is now how it stands at *reader*."""
        for session, _ in tuple(self._sessions.values()):
            if session.start.reader == reader:
                if lying.state is CardState.PRESENT:
                    session.card_put_on()
                else:
                    session.card_gone()

    def holds(self, reader: str) -> bool:
        """Return whether a session is under way at *reader*."""
        return any(session.start.reader == reader for session, _ in self._sessions.values())

    def leaving(self, reader: str) -> "asyncio.Task[None] | None":
        """Return the task of a session that was ended, and may not have let go of the card on *reader* yet."""
        task = self._leaving.get(reader)
        return None if task is None or task.done() else task

    async def send(self, message: FromTerminal) -> None:
        """Send *message*, or raise TerminalLost."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self.socket.send_str(messages.encode(message))
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise TerminalLost("the appliance takes nothing any more") from error

    async def _await_welcome(self) -> Welcome:
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                said = await self._received()
        except TimeoutError as error:
            raise TerminalLost("the appliance did not say welcome in time") from error
        match said:
            case Welcome():
                self._welcome = said
                self._silence = MISSED_HEARTBEATS * min(said.heartbeat_ms / 1_000, LONGEST_HEARTBEAT)
                return said
            case ApplianceProblem(session=None):
                raise _Parted(Parting(said.detail or said.code, said.code))
            case Drain():
                raise _Parted(_stopping(said))
            case _:
                raise TerminalProtocolViolated("the appliance began with something else than a welcome")

    async def _announce(self) -> None:
        """Say what lies on the readers; where that cannot be said, the connection is over."""
        try:
            async for card in self.places.announcements(self._is_busy):
                await self.send(card)
        except TerminalLost:
            await self.socket.close()

    async def _listen(self) -> None:
        while True:
            await self._take(await self._received())
            if self._drained is not None and not self._sessions:
                raise _Parted(_stopping(self._drained))

    async def _received(self) -> FromAppliance:
        """Return the next message; heartbeats are answered and not returned."""
        while True:
            try:
                frame = await self.socket.receive(timeout=self._silence)
            except TimeoutError as error:
                raise TerminalLost("the appliance has fallen silent") from error
            if not self._pace.allows(asyncio.get_running_loop().time()):
                raise TerminalFlooding("the appliance sends more than any terminal needs")
            match frame.type:
                case WSMsgType.TEXT:
                    return messages.decode_from_appliance(frame.data)
                case WSMsgType.PING:
                    await self._pong(frame.data)
                case WSMsgType.PONG:
                    continue
                case WSMsgType.CLOSE | WSMsgType.CLOSING | WSMsgType.CLOSED:
                    drained = self._drained
                    raise _Parted(_parting(self.socket.close_code) if drained is None else _stopping(drained))
                case WSMsgType.ERROR:
                    raise TerminalMessageInvalid("the appliance sent what is no WebSocket frame of ours")
                case _:
                    raise TerminalMessageInvalid("a frame that is not text")

    async def _pong(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self.socket.pong(data)
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise TerminalLost("the appliance takes nothing any more") from error

    async def _take(self, said: FromAppliance) -> None:
        match said:
            case Start():
                await self._start(said)
            case Scenario():
                self._hand_on(said, said.session)
            case SignedScenario():
                self._hand_on(said, addressee(said))
            case Result(session=session, outcome=outcome, code=code):
                place = Place.DONE if outcome is Outcome.DONE else Place.REFUSED
                self._end(session, TerminalMove.RESULT, place, code)
            case Abort(session=session):
                self._end(session, TerminalMove.ABORT, Place.IDLE)
            case ApplianceProblem(session=None, code=code, detail=detail):
                raise _Parted(Parting(detail or code, code))
            case ApplianceProblem(session=str(session), code=code):
                self._end(session, TerminalMove.PROBLEM, Place.REFUSED, code)
            case Drain():
                self._drained = said
            case _:
                raise TerminalProtocolViolated("the appliance said welcome twice")

    async def _start(self, start: Start) -> None:
        if start.session in self._sessions or start.session in self._ended or self._drained is not None:
            raise TerminalProtocolViolated("a session began that may not begin")
        refusal: TerminalCode | None = None
        if start.reader not in {reader.alias for reader in self.hello.readers}:
            refusal = TerminalCode.READER_ABSENT
        elif any(one.holds(start.reader) for one in (self, *self.fellows)):
            refusal = TerminalCode.READER_BUSY
        if refusal is not None:
            self._ended.append(start.session)
            await self.send(TerminalProblem(session=start.session, code=refusal))
            return
        session = Session(start, self.equipment, self.send, self.places.look, self._verifier)
        if self.places[start.reader].state is CardState.PRESENT:
            session.card_put_on()
        leaving = (one.leaving(start.reader) for one in (self, *self.fellows))
        before = next((one for one in leaving if one is not None), None)
        task = asyncio.create_task(_run(session, before))
        self._sessions[start.session] = session, task
        task.add_done_callback(lambda task: self._over(start.session, task))

    def _hand_on(self, said: Scenario | SignedScenario, addressed: str) -> None:
        """Give *said* to the session it is for; one that has just ended does not need it any more."""
        if addressed in self._sessions:
            session, _ = self._sessions[addressed]
            session.take(said, card=self.places[session.start.reader].state is CardState.PRESENT)
        elif addressed not in self._ended:
            raise TerminalProtocolViolated("a scenario came for a session that there is not")

    def _end(self, ended: str, move: TerminalMove, place: Place, code: str | None = None) -> None:
        """End a session because the appliance says so; *place* is what the person at the reader is told."""
        if ended in self._sessions:
            session, task = self._sessions[ended]
            session.move(move)
            self._forget(ended)
            self._leaving[session.start.reader] = task
            task.cancel()
            self.equipment.board.place(session.start.reader, place, code)
            self.places.look()
        elif ended not in self._ended:
            raise TerminalProtocolViolated("a session was ended that there is not")

    def _forget(self, session: str) -> None:
        if self._sessions.pop(session, None) is not None:
            self._ended.append(session)

    def _over(self, session: str, task: "asyncio.Task[None]") -> None:
        """Take note that *task*, which served *session*, is at its end."""
        self._forget(session)
        self.places.look()
        _report(task)

    def _is_busy(self, reader: str) -> bool:
        return any(session.busy for session, _ in self._sessions.values() if session.start.reader == reader)

    async def _leave(self, close_code: CloseCode) -> None:
        """End all sessions, let go of the cards, and close the connection."""
        sessions = [(name, task) for name, (session, task) in self._sessions.items()]
        tasks = {task for _, task in sessions} | set(self._leaving.values())
        if self._announcing is not None:
            tasks.add(self._announcing)
        for name, (session, task) in tuple(self._sessions.items()):
            self.equipment.board.place(session.start.reader, Place.IDLE)
            self._leaving[session.start.reader] = task
            self._forget(name)
        for task in tasks:
            task.cancel()
        with suppress(TerminalLost, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                for name, _ in sessions if close_code is CloseCode.GOING_AWAY else ():
                    await self.send(Abort(session=name))
        with suppress(OSError, aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await self.socket.close(code=close_code)
        await asyncio.gather(*tasks, return_exceptions=True)


def _report(task: "asyncio.Task[None]") -> None:
    """Tell the loop where *task* failed by a bug of ours: sessions and connections end, and nobody else would hear of it."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, TerminalLost):
        task.get_loop().call_exception_handler(
            {"message": "a task of the terminal failed", "exception": error, "task": task}
        )


async def _run(session: Session, before: "asyncio.Task[None] | None") -> None:
    """Run *session*, after the one *before* at its reader has let go."""
    if before is not None:
        await asyncio.wait({before})
    await session.run()


def _stopping(said: Drain) -> Parting:
    return Parting("the appliance is about to stop", retry_seconds=said.retry_ms / 1_000, steady=True)


def _parting(close_code: int | None) -> Parting:
    """Return what it means that the appliance closed the connection with *close_code*."""
    match close_code:
        case CloseCode.REPLACED:
            # Two terminals with one identity would go on taking the connection from one another.
            return Parting("another terminal has connected as this one", retry_seconds=inf)
        case CloseCode.RENEWED:
            return Parting("the appliance's configuration was changed", steady=True)
        case CloseCode.GOING_AWAY:
            return Parting("the appliance has stopped")
        case None | 1006:
            return Parting("the connection was lost")
        case _:
            return Parting(f"the appliance closed the connection ({close_code})")
