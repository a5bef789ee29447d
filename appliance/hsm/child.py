"""
A process of ours at the other end of a socket, as the event loop sees it.

Not `asyncio.create_subprocess_exec`: its transport kills the process when it is closed or collected, and a worker
in the middle of a login has to be left alone. Here nothing but `kill` kills. The child is told apart by a pidfd, so
no signal can reach another process that got its number.
"""

import asyncio
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Self

from appliance.errors import HsmUnavailable
from appliance.hsm.messages import HEADER_BYTES, Answer, Reply, Request, body_length, frame, read_reply


class Child:
    """A running process, spoken to in frames. Made by `start`."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[None] = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        self.logging_in = False
        """True from the moment it was told to log in until it said how that went."""

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str]) -> Self:
        """Start *command* with exactly *environment*, or raise HsmUnavailable."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                process = subprocess.Popen(  # noqa: ASYNC220 - fork and exec do not wait for the program
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    env=dict(environment),
                    start_new_session=True,  # a terminal's Ctrl-C is the daemon's to hear
                )
            except OSError as error:
                writer.close()
                raise HsmUnavailable(f"{command[0]} cannot be started: {error.strerror}") from error
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can still be spoken to."""
        return not self._exited.done() and not self._writer.is_closing()

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._exited.done()

    @property
    def status(self) -> int | None:
        """Exit status of the process, negative for a signal; None while it runs."""
        return self._process.returncode

    def tell(self, request: Request) -> None:
        """Send *request*."""
        self._number = request.number
        self._writer.write(frame(request))

    async def hear(self) -> Answer:
        """Return the answer to what was last told, or raise HsmUnavailable: it ended, or is out of step."""
        try:
            length = body_length(await self._reader.readexactly(HEADER_BYTES))
            reply: Reply = read_reply(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise HsmUnavailable("the worker has ended") from error
        if reply.number != self._number:
            raise HsmUnavailable("the worker answered another request")
        return reply.answer

    async def ask(self, request: Request) -> Answer:
        """Send *request* and return its answer."""
        self.tell(request)
        return await self.hear()

    def hang_up(self) -> None:
        """Close our end; a worker ends by itself when it sees that."""
        self._writer.close()

    def kill(self) -> None:
        """End the process at once, unless it is logging in."""
        if not self.logging_in and not self._exited.done():
            self._process.kill()

    async def exited(self, seconds: float) -> bool:
        """Wait up to *seconds* for the end of the process; return whether it came."""
        done, _ = await asyncio.wait([self._exited], timeout=seconds)
        return bool(done)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.poll()  # the socket stays open: its last words may not have been read yet
        if not self._exited.cancelled():
            self._exited.set_result(None)
