"""
The worker's end of the channel: requests in the order they came, and answers.

Requests are read as they arrive, so that one that is withdrawn in time is never begun. The daemon gives a worker two
at most.
"""

import os
import select
import time
from collections import deque
from typing import Self

from appliance.errors import HsmRequestRefused, HsmUnavailable
from appliance.hsm.messages import (
    HEADER_BYTES,
    Answer,
    LogIn,
    NotBegun,
    Reply,
    Request,
    Withdraw,
    body_length,
    frame,
    read_request,
)

_CHUNK = 1 << 16
_FAREWELL_SECONDS = 1.0
"""How long a worker that ends waits for the daemon to hang up."""


class ChannelEnded(Exception):
    """The daemon has closed its end."""


class Channel:
    """Frames over an *input* and an *output* descriptor."""

    __slots__ = ("_arrived", "_buffer", "_input", "_output", "_poll", "number")

    def __init__(self, input_: int, output: int) -> None:
        self._input, self._output = input_, output
        self._buffer = bytearray()
        self._arrived: deque[Request] = deque()
        self._poll = select.poll()
        self._poll.register(input_, select.POLLIN)
        self.number = 0
        """Of the request in hand."""

    @classmethod
    def take_over(cls) -> Self:
        """Return the channel on standard input and output, which are out of reach for a module that prints."""
        input_, output = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return cls(input_, output)

    def receive(self) -> Request:
        """Return the next request; raise ChannelEnded when there is none, HsmUnavailable when it is malformed."""
        while not self._arrived or self._poll.poll(0):
            self._read()
        request = self._arrived.popleft()
        self.number = request.number
        return request

    def first_word(self) -> None:
        """Wait for the word to log in, before which nothing else may be asked; raise HsmRequestRefused for it."""
        if not isinstance(self.receive().verb, LogIn):
            raise HsmRequestRefused("a worker that has loaded its module is told to log in")

    def word(self) -> None:
        """Wait for the word to log in again. Requests that come before it wait, too."""
        while True:
            for request in self._arrived:
                if isinstance(request.verb, LogIn):
                    self._arrived.remove(request)
                    if request.number != self.number:
                        raise HsmUnavailable("the word to log in belongs to another request")
                    return
            self._read()

    def tell(self, answer: Answer) -> None:
        """Send an *answer* to the request in hand."""
        self._send(self.number, answer)

    def decline(self) -> None:
        """
        Answer everything with NotBegun until the daemon hangs up, or raise ChannelEnded.

        What it sent before it heard that this worker ends would otherwise be lost in the socket, and count as begun.
        """
        until = time.monotonic() + _FAREWELL_SECONDS
        while True:
            while self._arrived:
                self._send(self._arrived.popleft().number, NotBegun())
            left = until - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                return
            self._read()

    def _send(self, number: int, answer: Answer) -> None:
        unsent = memoryview(frame(Reply(number, answer)))
        try:
            while unsent:
                unsent = unsent[os.write(self._output, unsent) :]
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelEnded from error

    def _read(self) -> None:
        """Wait for bytes, and file the requests that are complete."""
        try:
            chunk = os.read(self._input, _CHUNK)
        except ConnectionResetError as error:
            raise ChannelEnded from error
        if not chunk:
            raise ChannelEnded
        self._buffer += chunk
        while len(self._buffer) >= HEADER_BYTES:
            end = HEADER_BYTES + body_length(bytes(self._buffer[:HEADER_BYTES]))
            if len(self._buffer) < end:
                break
            self._file(read_request(bytes(self._buffer[HEADER_BYTES:end])))
            del self._buffer[:end]

    def _file(self, request: Request) -> None:
        if not isinstance(request.verb, Withdraw):
            self._arrived.append(request)
            return
        for waiting in self._arrived:
            if waiting.number == request.verb.withdrawn:
                self._arrived.remove(waiting)
                self._send(waiting.number, NotBegun())
                return
