"""
Those who have connected over the network, and have not shown yet who they are: how many, how long, and whose turn it is.

    accepted ──▶ silent ──────────▶ in line ──────────▶ shaking hands ──────▶ a connection (`connections`)
                 until the first    one address after   so many at once,
                 byte               the other           and so many that hang

Anybody can connect, so what one costs has to be little, and what all cost has a bound. A client sends its first byte as
soon as it is connected: where room runs out, who has been silent for longest gives way. Who has spoken keeps its place,
in a line in which addresses take turns, so that a crowd that comes back at once from behind one address gets in, one
after another, and keeps nobody else waiting. Whose handshake hangs does not count as having its turn while others wait,
and may go on, because it can be the machine that is slow; of those, too, there is a bound. Who has given up in line is
passed over: on a day when everything is slow, nothing is done for somebody who is not there any more.

Neither a name nor an address is in the log, only how many there were.
"""

import asyncio
import logging
import socket
import ssl
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Final, Self, TypeAlias

_LOG = logging.getLogger(__name__)

Address: TypeAlias = str
"""Whom places are counted by: an IPv4 address, or the 64 bits of an IPv6 address that name a network."""

_LEAST_EACH: Final = 16
_CLOSED: Final = (7, 8)
"""TCP_CLOSE and TCP_CLOSE_WAIT (tcp_states.h), as the first octet of TCP_INFO has it (tcp(7))."""
_AT_ONCE: Final = 64
"""Connections that are accepted before anything else has its turn."""
_TELLING_SECONDS: Final = 10.0
_RESTING_SECONDS: Final = 1.0


class Refusal(StrEnum):
    """Why somebody got no further."""

    CROWDED = "crowded"
    """There was no room to wait."""
    LATE = "late"
    """Silent, or slow, for too long."""
    FAILED = "failed"
    """It does not speak TLS as we do, or has no certificate that counts."""
    FULL = "full"
    """There was no room inside (`connections.Door`)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """
    How many may wait, *each* of them from one address; how many may shake hands *at_once*, and how long things may take.

    Silence and a handshake have *seconds* each. A handshake hangs after *hurried_seconds*, as so many may that are *hanging*.
    """

    most: int = 4096
    each: int = 2048
    at_once: int = 64
    hanging: int = 1024
    seconds: float = 10.0
    hurried_seconds: float = 3.0

    @classmethod
    def for_room(cls, connections: int) -> Self:
        """Return what fits where there are at most so many *connections*: as many may wait, half of them from one address."""
        return cls(connections, max(_LEAST_EACH, connections // 2))


@dataclass(slots=True, eq=False)
class _Guest:
    """Somebody at *own*, who has connected from *address*."""

    own: socket.socket
    address: Address
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None
    since: float = 0.0
    """When the handshake began."""
    is_handed_over: bool = False
    """Whether the socket is the event loop's to close."""


@dataclass(slots=True)
class Doorstep:
    """
    Those who have connected at *listening* and are not inside yet. Use `open` and `close`.

    *protocol* makes what a connection is spoken with once its certificate has been seen, by *context*, which may be
    replaced: whose handshake has not begun is held to the new one. *tell* is told of everybody who gets no further.
    """

    listening: socket.socket
    context: ssl.SSLContext
    protocol: Callable[[], asyncio.Protocol]
    patience: Patience = Patience()
    tell: Callable[[Refusal], None] = lambda _why: None
    _silent: OrderedDict[_Guest, None] = field(init=False, default_factory=OrderedDict)
    _line: OrderedDict[Address, deque[_Guest]] = field(init=False, default_factory=OrderedDict)
    _shaking: OrderedDict[_Guest, None] = field(init=False, default_factory=OrderedDict)
    _hanging: OrderedDict[_Guest, None] = field(init=False, default_factory=OrderedDict)
    _places: Counter[Address] = field(init=False, default_factory=Counter)
    waiting: int = field(init=False, default=0)
    """How many are here."""
    _untold: Counter[Refusal] = field(init=False, default_factory=Counter)
    _is_closed: bool = field(init=False, default=False)
    _telling: asyncio.TimerHandle | None = field(init=False, default=None)
    _resting: asyncio.TimerHandle | None = field(init=False, default=None)
    _hurrying: asyncio.TimerHandle | None = field(init=False, default=None)

    def open(self) -> None:
        """Let people come."""
        self.listening.setblocking(False)  # noqa: FBT003 - the method's only argument
        asyncio.get_running_loop().add_reader(self.listening, self._accept)

    async def close(self) -> None:
        """Let nobody come any more, and send away who is here."""
        if self._is_closed:
            return
        self._is_closed = True
        for timer in (self._telling, self._resting, self._hurrying):
            if timer is not None:
                timer.cancel()
        self._telling = self._resting = self._hurrying = None
        asyncio.get_running_loop().remove_reader(self.listening)
        self.listening.close()
        for guest in tuple(self._silent):
            self._silence_over(guest)
            self._leave(guest)
        for guest in [one for line in self._line.values() for one in line]:
            self._leave(guest)
        self._line.clear()
        tasks = [guest.task for guest in (*self._shaking, *self._hanging) if guest.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- coming ---------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                own, where = self.listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            self._receive(own, _address(where))

    def _rest(self, error: OSError) -> None:
        """Accept nobody for a moment: this process, or the machine, has no room for another socket."""
        _LOG.error("no connection can be accepted errno=%s", error.errno)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.listening)
        self._resting = loop.call_later(_RESTING_SECONDS, self.open)

    def _receive(self, own: socket.socket, address: Address) -> None:
        if not self._has_room(address):
            own.close()
            self._end(Refusal.CROWDED)
            return
        own.setblocking(False)  # noqa: FBT003 - the method's only argument
        guest = _Guest(own, address)
        self._places[address] += 1
        self.waiting += 1
        self._silent[guest] = None
        loop = asyncio.get_running_loop()
        guest.timer = loop.call_later(self.patience.seconds, self._silent_for_long, guest)
        loop.add_reader(own, self._heard, guest)

    def _has_room(self, address: Address) -> bool:
        """Return whether there is room for one more from *address*; make it, where somebody can be sent away for it."""
        if self._places[address] >= self.patience.each:
            gives_way = next((one for one in self._silent if one.address == address), None)
        elif self.waiting >= self.patience.most:
            gives_way = next(iter(self._silent), None) or self._last_of_the_many(address)
        else:
            return True
        if gives_way is None:
            return False
        if gives_way in self._silent:
            self._silence_over(gives_way)
        else:
            self._line[gives_way.address].remove(gives_way)
        self._leave(gives_way)
        self._end(Refusal.CROWDED)
        return True

    def _last_of_the_many(self, address: Address) -> _Guest | None:
        """Return the last in line from where most are, unless that is *address* itself."""
        many, count = self._places.most_common(1)[0]
        line = self._line.get(many)
        return line[-1] if line and count > self._places[address] + 1 else None

    # --- silent, in line, shaking hands ----------------------------------------------------------------------

    def _heard(self, guest: _Guest) -> None:
        self._silence_over(guest)
        try:
            is_gone = not guest.own.recv(1, socket.MSG_PEEK)
        except OSError:
            is_gone = True
        if is_gone:
            # Load balancers look in like that, again and again: nobody is told.
            self._leave(guest)
            return
        self._line.setdefault(guest.address, deque()).append(guest)
        self._next()

    def _silence_over(self, guest: _Guest) -> None:
        asyncio.get_running_loop().remove_reader(guest.own)
        del self._silent[guest]
        if guest.timer is not None:
            guest.timer.cancel()

    def _silent_for_long(self, guest: _Guest) -> None:
        self._silence_over(guest)
        self._leave(guest)
        self._end(Refusal.LATE)

    def _next(self) -> None:
        """Let those whose turn it is shake hands."""
        loop = asyncio.get_running_loop()
        while self._line and len(self._shaking) < self.patience.at_once:
            address, line = self._line.popitem(last=False)
            if not line:
                continue
            guest = line.popleft()
            if line:
                self._line[address] = line
            if _is_gone(guest.own):
                self._leave(guest)
                continue
            guest.since = loop.time()
            self._shaking[guest] = None
            guest.task = asyncio.create_task(self._shake(guest), name="handshake")
            guest.task.add_done_callback(partial(self._shaken, guest))
        if self._line and self._shaking and self._hurrying is None:
            oldest = next(iter(self._shaking))
            self._hurrying = loop.call_at(oldest.since + self.patience.hurried_seconds, self._hurry)

    def _hurry(self) -> None:
        """Somebody waits for its turn: those whose handshake hangs have had theirs."""
        self._hurrying = None
        limit = asyncio.get_running_loop().time() - self.patience.hurried_seconds
        while self._line and self._shaking and next(iter(self._shaking)).since <= limit:
            guest, _ = self._shaking.popitem(last=False)
            self._hanging[guest] = None
            if len(self._hanging) > self.patience.hanging:
                oldest, _ = self._hanging.popitem(last=False)
                if oldest.task is not None:
                    oldest.task.cancel()
        self._next()

    async def _shake(self, guest: _Guest) -> None:
        guest.is_handed_over = True
        await asyncio.get_running_loop().connect_accepted_socket(
            self.protocol, guest.own, ssl=self.context, ssl_handshake_timeout=self.patience.seconds
        )

    def _shaken(self, guest: _Guest, task: asyncio.Task[None]) -> None:
        self._shaking.pop(guest, None)
        self._hanging.pop(guest, None)
        self._leave(guest)
        error = None if task.cancelled() else task.exception()
        # The event loop tells a handshake that is too late by ConnectionAbortedError.
        if task.cancelled() or isinstance(error, ConnectionAbortedError):
            self._end(Refusal.LATE)
        elif isinstance(error, (OSError, ValueError)):
            self._end(Refusal.FAILED)
        elif error is not None:
            _LOG.error("handshake failed unexpectedly", exc_info=error)
        if not self._is_closed:
            self._next()

    # --- leaving --------------------------------------------------------------------------------------------

    def _leave(self, guest: _Guest) -> None:
        self.waiting -= 1
        self._places[guest.address] -= 1
        if not self._places[guest.address]:
            del self._places[guest.address]
        if not guest.is_handed_over:
            guest.own.close()

    def _end(self, why: Refusal) -> None:
        if self._is_closed:
            return
        self.tell(why)
        self._untold[why] += 1
        if self._telling is None:
            # The first is told at once; what comes after it, together with others.
            self._tell()

    def _tell(self) -> None:
        self._telling = None
        if not self._untold:
            return
        _LOG.warning(
            "connections ended before anybody was known crowded=%d late=%d failed=%d",
            *(self._untold[why] for why in (Refusal.CROWDED, Refusal.LATE, Refusal.FAILED)),
        )
        self._untold.clear()
        self._telling = asyncio.get_running_loop().call_later(_TELLING_SECONDS, self._tell)


def _is_gone(own: socket.socket) -> bool:
    """Return whether the other end of *own* has closed it, with what it has said still unread."""
    try:
        return own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _CLOSED
    except OSError:
        return True


def _address(where: tuple[object, ...]) -> Address:
    """Return by what somebody at *where* is counted."""
    try:
        address = ip_address(str(where[0]).partition("%")[0])
    except (ValueError, IndexError):
        return ""
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped is not None else address.packed[:8].hex()
    return str(address)
