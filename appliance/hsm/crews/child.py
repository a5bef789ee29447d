"""
A process of ours at the other end of a socket, as the event loop sees it.

Not `asyncio.create_subprocess_exec`: its transport kills the process when it is closed or collected, and a worker
in the middle of a login has to be left alone. Here nothing but `kill` kills. The child is told apart by a pidfd, so
no signal can reach another process that got its number.

Frames are cut in the protocol itself, and each is handed on in the callback it arrived in: a signature costs the
event loop one read and one write.
"""

import asyncio
import os
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self, cast

from appliance.errors import HsmUnavailable
from appliance.hsm.messages import HEADER_BYTES, Answer, Reply, Request, body_length, frame, read_reply


class Child(asyncio.Protocol):
    """
    A running process, spoken to in frames. Made by `start`.

    While it comes up, what it says is waited for with `hear`. From `listen` on each reply goes to a listener.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[None] = self._loop.create_future()
        self._process: subprocess.Popen[bytes]
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._unheard: deque[Reply] = deque()
        self._hearing: asyncio.Future[None] | None = None
        self._lost: HsmUnavailable | None = None
        self._on_reply: Callable[[Reply], None] | None = None
        self._on_loss: Callable[[HsmUnavailable], None] | None = None
        self._number = 0
        self.logging_in = False
        """True from the moment it was told to log in until it said how that went."""

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str]) -> Self:
        """Start *command* with exactly *environment*, or raise HsmUnavailable."""
        ours, theirs = socket.socketpair()
        child = cls()
        with theirs:
            await child._loop.create_unix_connection(lambda: child, sock=ours)
            try:
                child._process = subprocess.Popen(  # noqa: ASYNC220 - fork and exec do not wait for the program
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    env=dict(environment),
                    start_new_session=True,  # a terminal's Ctrl-C is the daemon's to hear
                )
            except OSError as error:
                child._transport.abort()
                raise HsmUnavailable(f"{command[0]} cannot be started: {error.strerror}") from error
        try:
            child._pidfd = os.pidfd_open(child._process.pid)
        except OSError:
            # Nobody would see it end. It has been told nothing yet, so it is in no login.
            child._process.kill()
            child._process.wait()
            child._transport.abort()
            raise
        child._loop.add_reader(child._pidfd, child._reap)
        return child

    _pidfd: int

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can still be spoken to."""
        return self._lost is None and not self._exited.done() and not self._transport.is_closing()

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._exited.done()

    @property
    def status(self) -> int | None:
        """Exit status of the process, negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def unheard(self) -> bool:
        """Whether it has said what nobody has waited for."""
        return bool(self._unheard)

    def tell(self, request: Request) -> None:
        """Send *request*. One that is gone hears nothing, which its listener learns in a moment."""
        self._number = request.number
        data = frame(request)
        # asyncio's closed transport ignores what is written, and that of uvloop raises.
        if self.alive:
            self._transport.write(data)

    async def hear(self) -> Answer:
        """Return the answer to what was last told, or raise HsmUnavailable: it ended, or is out of step."""
        while not self._unheard:
            if self._lost is not None:
                raise HsmUnavailable(self._lost.detail) from self._lost
            self._hearing = self._loop.create_future()
            await self._hearing
        reply = self._unheard.popleft()
        if reply.number != self._number:
            raise HsmUnavailable("the worker answered another request")
        return reply.answer

    async def ask(self, request: Request) -> Answer:
        """Send *request* and return its answer."""
        self.tell(request)
        return await self.hear()

    def listen(self, on_reply: Callable[[Reply], None], on_loss: Callable[[HsmUnavailable], None]) -> None:
        """Hand every reply to *on_reply* from now on, and to *on_loss*, once, that there will be no more."""
        self._on_reply, self._on_loss = on_reply, on_loss
        try:
            while self._unheard:
                on_reply(self._unheard.popleft())
        except HsmUnavailable as error:
            self._give_up(error)
        if self._lost is not None:
            self._tell_loss(self._lost)

    def hang_up(self) -> None:
        """Close our end; a worker ends by itself when it sees that."""
        self._give_up(HsmUnavailable("the worker was hung up on"))

    def kill(self) -> None:
        """End the process at once, unless it is logging in."""
        if not self.logging_in and not self._exited.done():
            self._process.kill()

    async def exited(self, seconds: float) -> bool:
        """Wait up to *seconds* for the end of the process; return whether it came."""
        done, _ = await asyncio.wait([self._exited], timeout=seconds)
        return bool(done)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the *transport* (`asyncio.Protocol`)."""
        # A socket's transport reads and writes; that of uvloop is no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Cut *data* into replies and hand them on (`asyncio.Protocol`)."""
        self._buffer += data
        try:
            while len(self._buffer) >= HEADER_BYTES:
                end = HEADER_BYTES + body_length(bytes(self._buffer[:HEADER_BYTES]))
                if len(self._buffer) < end:
                    return
                reply = read_reply(bytes(self._buffer[HEADER_BYTES:end]))
                del self._buffer[:end]
                self._heard(reply)
        except HsmUnavailable as error:
            self._give_up(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing more will come (`asyncio.Protocol`)."""
        error = HsmUnavailable("the worker has ended")
        error.__cause__ = exc
        self._lose(error)

    def _heard(self, reply: Reply) -> None:
        if self._on_reply is not None:
            self._on_reply(reply)
            return
        self._unheard.append(reply)
        self._wake()

    def _give_up(self, error: HsmUnavailable) -> None:
        self._lose(error)
        self._transport.abort()

    def _lose(self, error: HsmUnavailable) -> None:
        if self._lost is None:
            self._lost = error
            self._wake()
            self._tell_loss(error)

    def _tell_loss(self, error: HsmUnavailable) -> None:
        on_loss, self._on_loss = self._on_loss, None
        if on_loss is not None:
            on_loss(error)

    def _wake(self) -> None:
        if self._hearing is not None and not self._hearing.done():
            self._hearing.set_result(None)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.poll()  # the socket stays open: its last words may not have been read yet
        if not self._exited.cancelled():
            self._exited.set_result(None)
