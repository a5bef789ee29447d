"""Before the handshake: crowds get in, one after another, and who only takes up room gives way."""

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Final, cast

import pytest
import uvloop

from appliance.gateway import doorstep
from appliance.gateway.doorstep import Doorstep, Patience, Refusal
from tests.gateway.house import Ca

HERE, THERE = "127.0.0.1", "127.0.0.2"
BEGINNING: Final = b"\x16\x03\x01"
"""Of a handshake: enough to be heard, not enough to be answered."""


def by_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Have *test* run on the daemon's own event loop, which accepts and hands over sockets in its own way."""

    @wraps(test)
    def ran(**fixtures: object) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(**fixtures))

    return ran


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    """Return the CA of the clients."""
    return Ca(tmp_path_factory.mktemp("tls"))


@dataclass
class Porch:
    """A doorstep, and what has become of those who came. *waiting* is how many were there as each one got in."""

    step: Doorstep
    where: tuple[str, int]
    refused: Counter[Refusal]
    inside: list[asyncio.Transport] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    crowd: list[asyncio.StreamWriter] = field(default_factory=list)

    async def come(
        self, said: bytes = b"", *, address: str = HERE
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect from *address* without TLS, say something, and be on the doorstep."""
        before = self.step.waiting
        own = await self._connect(address)
        reader, writer = await asyncio.open_connection(sock=own)
        self.crowd.append(writer)
        writer.write(said)
        await self.until(lambda: self.step.waiting > before or bool(self.refused))
        return reader, writer

    async def shake(self, client: ssl.SSLContext, *, address: str = HERE) -> asyncio.StreamWriter:
        """Connect from *address* by the handshake of *client*."""
        own = await self._connect(address)
        _reader, writer = await asyncio.open_connection(sock=own, ssl=client, server_hostname="localhost")
        self.crowd.append(writer)
        return writer

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something *is_so*."""
        async with asyncio.timeout(20):
            while not is_so():  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.005)

    async def _connect(self, address: str) -> socket.socket:
        own = socket.socket()
        own.setblocking(False)  # noqa: FBT003  # the method's only argument
        own.bind((address, 0))
        try:
            await asyncio.get_running_loop().sock_connect(own, self.where)
        except OSError:
            own.close()
            raise
        return own


class Inside(asyncio.Protocol):
    """What a connection is spoken with once it is inside *porch*."""

    def __init__(self, porch: Porch) -> None:
        self.porch = porch

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note."""
        self.porch.inside.append(cast("asyncio.Transport", transport))
        self.porch.waiting.append(self.porch.step.waiting)


@asynccontextmanager
async def porch(ca: Ca, *, listening: socket.socket | None = None, **patience: float) -> AsyncIterator[Porch]:
    """Give a doorstep with this *patience*, where people may come."""
    refused: Counter[Refusal] = Counter()
    limits: dict[str, Any] = patience
    listening = listening or socket.create_server((HERE, 0))
    step = Doorstep(
        listening,
        ca.server(),
        lambda: Inside(there),
        Patience(**limits),
        lambda why: refused.update([why]),
    )
    there = Porch(step, listening.getsockname(), refused)
    step.open()
    try:
        yield there
    finally:
        for writer in there.crowd:
            writer.transport.abort()
        for transport in there.inside:
            transport.abort()
        await step.close()
        assert step.waiting == 0


async def ended(reader: asyncio.StreamReader) -> None:
    """Wait until the other end has let go."""
    async with asyncio.timeout(20):
        try:
            assert await reader.read() == b""
        except ConnectionError:
            return


@by_uvloop
async def test_a_crowd_gets_in_one_after_another(ca: Ca) -> None:
    """All of one address at once, many more than may shake hands at a time: nobody is refused."""
    client = ca.client("ward-1.test")
    async with porch(ca, at_once=2, hurried_seconds=20) as there:
        await asyncio.gather(*(there.shake(client) for _ in range(40)))
        await there.until(lambda: len(there.inside) == 40 and there.step.waiting == 0)
        assert not there.refused


@by_uvloop
async def test_who_is_silent_for_longest_gives_way(ca: Ca) -> None:
    """A doorstep full of people who say nothing keeps nobody out who does."""
    async with porch(ca, most=4, each=4) as there:
        silent = [await there.come() for _ in range(4)]
        await there.shake(ca.client("ward-1.test"))
        await ended(silent[0][0])
        await there.until(lambda: there.step.waiting == 3)
        assert there.refused == {Refusal.CROWDED: 1}


@by_uvloop
async def test_one_address_does_not_take_up_all_the_room(ca: Ca) -> None:
    """Who comes from where there are too many already takes the place of one of those, and of nobody else."""
    async with porch(ca, most=100, each=2) as there:
        elsewhere, _ = await there.come(address=THERE)
        oldest, _ = await there.come()
        await there.come()
        await there.shake(ca.client("ward-1.test"))
        await ended(oldest)
        assert not elsewhere.at_eof()
        assert there.refused == {Refusal.CROWDED: 1}


@by_uvloop
async def test_who_has_spoken_keeps_its_place(ca: Ca) -> None:
    """Where everybody of an address is in line, the next one from there is sent away, and one from elsewhere is not."""
    async with porch(ca, most=3, each=2, at_once=1, hurried_seconds=20) as there:
        first, _ = await there.come(BEGINNING)
        last, _ = await there.come(BEGINNING)
        # Both have been heard once the first shakes hands and the other one is in line: nobody is silent any more.
        await there.until(lambda: not there.step._silent)
        late, _ = await there.come()
        await ended(late)
        assert there.refused == {Refusal.CROWDED: 1}
        await there.come(address=THERE)
        await there.come(address="127.0.0.3")
        await there.until(lambda: there.refused == {Refusal.CROWDED: 2})
        assert not first.at_eof()
        assert not last.at_eof()


@by_uvloop
async def test_the_last_of_the_many_gives_way_to_the_first_of_the_few(ca: Ca) -> None:
    """Where all are in line and there is no room, it is at the cost of the address that most are from."""
    async with porch(ca, most=4, each=4, at_once=1, hurried_seconds=20) as there:
        crowd = [await there.come(BEGINNING) for _ in range(4)]
        await there.until(lambda: not there.step._silent)
        alone, _ = await there.come(BEGINNING, address=THERE)
        await ended(crowd[-1][0])
        await there.until(lambda: not there.step._silent)
        assert not alone.at_eof()
        assert (there.refused, there.step.waiting) == ({Refusal.CROWDED: 1}, 4)


@by_uvloop
async def test_addresses_take_turns(ca: Ca) -> None:
    """A handshake that hangs makes room for who waits, and a crowd of them does not come before one of elsewhere."""
    client = ca.client("ward-1.test")
    async with porch(ca, each=64, at_once=1, hanging=0, hurried_seconds=0.05) as there:
        # So many that there are some left, however slow this machine is at the handshake of the other one.
        for _ in range(30):
            await there.come(BEGINNING)
        await there.shake(client, address=THERE)
        await there.until(lambda: bool(there.inside))
        # When it got in, itself and those of the crowd were there whose turn had not come.
        assert there.waiting[0] > 1
        await there.until(lambda: there.step.waiting <= 1)
        assert there.refused.keys() == {Refusal.LATE}


@by_uvloop
async def test_a_slow_handshake_loses_its_turn_and_not_its_place(ca: Ca) -> None:
    """It can be the machine that is slow: who hangs lets others pass, and gets in when it goes on."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    slow = ca.client("ward-1.test").wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        slow.do_handshake()
    said = outgoing.read()
    async with porch(ca, at_once=1, hanging=1, hurried_seconds=0.05) as there:
        reader, writer = await there.come(said[:20])
        await there.shake(ca.client("ward-2.test"))
        await there.until(lambda: len(there.inside) == 1)
        writer.write(said[20:])
        while True:
            try:
                slow.do_handshake()
            except ssl.SSLWantReadError:
                async with asyncio.timeout(20):
                    incoming.write(await reader.read(65_536))
            else:
                break
        writer.write(outgoing.read())
        await there.until(lambda: len(there.inside) == 2)
        assert not there.refused


@by_uvloop
async def test_who_gives_up_in_line_is_passed_over(ca: Ca) -> None:
    """Nothing is begun for somebody who has gone."""
    async with porch(ca, at_once=1, hanging=0, hurried_seconds=0.2) as there:
        await there.come(BEGINNING)
        for _ in range(3):
            _reader, writer = await there.come(BEGINNING)
            writer.close()
            await writer.wait_closed()
        await there.shake(ca.client("ward-1.test"))
        await there.until(lambda: bool(there.inside))
        # The one whose turn it was has made room for the only other one who was still there.
        assert there.refused == {Refusal.LATE: 1}


@by_uvloop
async def test_neither_silence_nor_a_handshake_lasts(ca: Ca) -> None:
    """Each has its time, and where nobody waits, all of it."""
    async with porch(ca, seconds=0.1) as there:
        silent, _ = await there.come()
        await ended(silent)
        stalled, _ = await there.come(BEGINNING)
        await ended(stalled)
        await there.until(lambda: there.step.waiting == 0)
        assert there.refused == {Refusal.LATE: 2}


@by_uvloop
async def test_what_fails_is_counted_and_what_only_looks_in_is_not(
    ca: Ca, caplog: pytest.LogCaptureFixture
) -> None:
    """A client without certificate, and bytes that are no TLS; a load balancer that connects and goes is nobody."""
    caplog.set_level(logging.INFO, doorstep.__name__)
    async with porch(ca) as there:
        _reader, writer = await there.come()
        writer.close()
        await there.until(lambda: there.step.waiting == 0)
        assert not there.refused
        nothing, _ = await there.come(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(20):
            assert b"HTTP" not in await nothing.read()
        await there.until(lambda: there.refused == {Refusal.FAILED: 1})
        await there.shake(ca.client(None))
        await there.until(lambda: there.refused == {Refusal.FAILED: 2})
        assert not there.inside
    # The first one is told at once, the next together with those of ten seconds.
    assert [record.getMessage() for record in caplog.records] == [
        "connections ended before anybody was known crowded=0 late=0 failed=1"
    ]


@by_uvloop
async def test_a_new_context_counts_for_those_who_wait(ca: Ca, tmp_path: Path) -> None:
    """Who has connected before a reload, and speaks after it, shakes hands by what was read then."""
    other = Ca(tmp_path)
    async with porch(ca) as there:
        own = await there._connect(HERE)
        await there.until(lambda: there.step.waiting == 1)
        there.step.context = other.server()
        _, writer = await asyncio.open_connection(
            sock=own, ssl=other.client("ward-1.test"), server_hostname="localhost"
        )
        there.crowd.append(writer)
        await there.until(lambda: bool(there.inside))


@by_uvloop
async def test_the_end_sends_everybody_away(ca: Ca) -> None:
    """Silent, in line, or in the middle of a handshake; who is inside stays."""
    async with porch(ca, at_once=1, hurried_seconds=20) as there:
        inside = await there.shake(ca.client("ward-1.test"))
        await there.until(lambda: bool(there.inside) and there.step.waiting == 0)
        crowd = [await there.come(said) for said in (b"", BEGINNING, BEGINNING)]
        await there.step.close()
        for reader, _writer in crowd:
            await ended(reader)
        assert not there.refused
        assert not inside.is_closing()
        with pytest.raises(ConnectionRefusedError):
            await there._connect(HERE)


class Exhausted(socket.socket):
    """A listening socket of a process that has no room for another one, for a while."""

    refusals = 3

    def accept(self) -> tuple[socket.socket, Any]:
        """Refuse, the first times."""
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "no more")
        return super().accept()


@by_uvloop
async def test_a_machine_without_room_is_not_asked_again_and_again(
    ca: Ca, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is accepted for a moment, which is in the log, and then those who have waited are."""
    monkeypatch.setattr(doorstep, "_RESTING_SECONDS", 0.05)
    listening = Exhausted()
    listening.bind((HERE, 0))
    listening.listen()
    async with porch(ca, listening=listening) as there:
        await there.shake(ca.client("ward-1.test"))
        await there.until(lambda: bool(there.inside))
    assert [record.getMessage() for record in caplog.records] == [
        f"no connection can be accepted errno={errno.EMFILE}"
    ] * 3


@pytest.mark.parametrize(
    ("where", "counted"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "20010db800010002"),
        (("2001:db8:1:2::9", 1, 0, 0), "20010db800010002"),
        (("fe80::1%eth0", 1, 0, 2), "fe80000000000000"),
        ((), ""),
    ],
)
def test_an_ipv6_network_counts_as_one(where: tuple[object, ...], counted: str) -> None:
    """Whoever has one has all the addresses in it."""
    assert doorstep._address(where) == counted


def test_as_many_may_wait_as_may_be_inside() -> None:
    """Half of them from one address, behind which a whole clinic may be."""
    patience = Patience.for_room(4096)
    assert (patience.most, patience.each) == (4096, 2048)
    assert Patience.for_room(2).each == 16
