"""
The load: terminals with prepared cards, and receptions that ask. `python -I -m appliance.cli.benches.daemon.crowd`.

Told on standard input, line by line, and answers each with a line of JSON: first the site, then connections and turns.
A terminal is connected over TLS with a certificate of its own; receptions ask over the Unix socket, each for one desk,
and wait for the answer with the token (`?wait=`). What is refused comes back after the time that the refusal names.
"""

import asyncio
import resource
import secrets
import ssl
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import uvloop

from appliance.cli.benches.daemon.prepared import PreparedCard
from appliance.cli.benches.daemon.site import READER
from appliance.terminals import messages
from appliance.terminals.messages import (
    SUBPROTOCOL,
    Card,
    CardState,
    Hello,
    Reader,
    Responses,
    Result,
    Scenario,
    Start,
    Welcome,
)

_AT_ONCE: Final = 16
"""Connections that are made at the same time: fewer than the daemon lets wait."""
_PATIENCE: Final = 60.0
_ORDER: Final = (
    b'{"desk":"%b","mode":"pinless","identity_check":{"method":"face","device":"kiosk-1"},"nonce":"%b"}'
)


class Site(msgspec.Struct, frozen=True):
    """Where the daemon is, and which card all terminals have."""

    port: int
    socket: str
    authority: str
    certificates: str
    card: str
    institution_code: str


class Connect(msgspec.Struct, frozen=True, tag=True):
    """Connect the terminals from *first* on, *count* of them."""

    first: int
    count: int


class Turn(msgspec.Struct, frozen=True, tag=True):
    """
    Have *callers*, each at a desk of its own, authenticate for *seconds*.

    One after another without a pause where *rate* is None; otherwise so many a second of all callers together, evenly
    spread, and by whoever is free.
    """

    seconds: float
    callers: int
    rate: float | None = None


class Shown(msgspec.Struct, frozen=True):
    """
    What a turn has shown, times in seconds.

    *answered* is from sending the card's challenge to having the signed answer; *whole* from a reception's request to
    its token; *refused* from a request to its refusal. *scenarios* and *frames* are counted at the terminals.
    """

    seconds: float
    answered: list[float] = []
    whole: list[float] = []
    refused: list[float] = []
    outcomes: dict[str, int] = {}
    scenarios: int = 0
    frames: int = 0
    processor: float = 0.0


Told = Connect | Turn


class Terminal:
    """One terminal, connected, whose reader always has the card on it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, card: PreparedCard) -> None:
        self._socket = socket
        self._card = card
        self._challenged: float | None = None
        self.answered: list[float] = []
        self.scenarios = self.frames = 0

    async def introduce(self) -> None:
        """Say who this is, and that a card lies there."""
        nonce = secrets.token_hex(16)
        hello = Hello(software="bench", version="1", nonce=nonce, readers=(Reader(alias=READER),))
        await self._socket.send_str(messages.encode(hello))
        welcome = messages.decode_from_appliance(await self._socket.receive_str(timeout=_PATIENCE))
        if not isinstance(welcome, Welcome):
            raise TypeError("the appliance does not welcome a terminal")
        await self._socket.send_str(
            messages.encode(Card(reader=READER, state=CardState.PRESENT, insertion=1))
        )

    async def serve(self) -> None:
        """Answer scenarios until the connection ends."""
        async for frame in self._socket:
            now = time.perf_counter()
            self.frames += 1
            match messages.decode_from_appliance(frame.data):
                case Scenario() as scenario:
                    self.scenarios += 1
                    if scenario.seq and self._challenged is not None:
                        self.answered.append(now - self._challenged)
                        self._challenged = None
                    said = Responses(
                        session=scenario.session, seq=scenario.seq, responses=self._card.answers(scenario)
                    )
                    self.frames += 1
                    if not scenario.seq:
                        self._challenged = time.perf_counter()
                    await self._socket.send_str(messages.encode(said))
                case Start() | Result():
                    pass
                case other:
                    # A refusal: the reception is told, and counts it.
                    self._challenged = None
                    del other


class Crowd:
    """All terminals, and the receptions' client."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._card = PreparedCard.load(Path(site.card), site.institution_code)
        self._terminals: dict[int, Terminal] = {}
        self._serving: list[asyncio.Task[None]] = []
        timeout = aiohttp.ClientTimeout(_PATIENCE)
        self._network = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)
        self._local = aiohttp.ClientSession(
            "http://appliance", connector=aiohttp.UnixConnector(site.socket, limit=0), timeout=timeout
        )

    async def connect(self, told: Connect) -> Shown:
        """Connect terminals, some at a time."""
        began = time.perf_counter()
        numbers = iter(range(told.first, told.first + told.count))

        async def work() -> None:
            for number in numbers:
                await self._connect(number)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(work())
        return Shown(time.perf_counter() - began)

    async def _connect(self, number: int) -> None:
        folder = Path(self._site.certificates)
        context = ssl.create_default_context(cafile=self._site.authority)
        context.load_cert_chain(folder / f"t{number}.pem", folder / f"t{number}-key.pem")
        socket = await self._network.ws_connect(
            f"wss://localhost:{self._site.port}/v1/terminal",
            protocols=(SUBPROTOCOL,),
            ssl=context,
            max_msg_size=messages.LARGEST_FRAME,
        )
        terminal = self._terminals[number] = Terminal(socket, self._card)
        await terminal.introduce()
        self._serving.append(asyncio.create_task(terminal.serve()))

    async def turn(self, told: Turn) -> Shown:
        """Have callers authenticate."""
        desks = sorted(self._terminals)[: told.callers]
        whole: list[float] = []
        refused: list[float] = []
        outcomes: Counter[str] = Counter()
        used = [self._terminals[number] for number in desks]
        for terminal in used:
            terminal.answered = []
            terminal.scenarios = terminal.frames = 0
        began, processor = time.perf_counter(), time.process_time()
        due = 0

        async def call(desk: str) -> None:
            nonlocal due
            while True:
                if told.rate is not None:
                    due += 1
                    ahead = began + due / told.rate - time.perf_counter()
                    if ahead > 0:
                        await asyncio.sleep(ahead)
                asked = time.perf_counter()
                if asked >= began + told.seconds:
                    return
                outcome, pause = await self._ask(desk)
                outcomes[outcome] += 1
                (whole if not pause else refused).append(time.perf_counter() - asked)
                if pause:
                    await asyncio.sleep(min(pause, began + told.seconds - time.perf_counter()))

        async with asyncio.TaskGroup() as tasks:
            for number in desks:
                tasks.create_task(call(f"t{number}.{READER}"))
        return Shown(
            seconds=time.perf_counter() - began,
            answered=[one for terminal in used for one in terminal.answered],
            whole=whole,
            refused=refused,
            outcomes=dict(outcomes),
            scenarios=sum(terminal.scenarios for terminal in used),
            frames=sum(terminal.frames for terminal in used),
            processor=time.process_time() - processor,
        )

    async def _ask(self, desk: str) -> tuple[str, float]:
        """Authenticate at *desk*; return how it ended, and for how long to stay away where it was refused."""
        body = _ORDER % (desk.encode(), secrets.token_hex(8).encode())
        async with self._local.post(
            "/v1/authentications?wait=30", data=body, headers={"Content-Type": "application/json"}
        ) as answer:
            content = await answer.read()
            if answer.status == 201:
                ended = msgspec.json.decode(content, type=_Ended)
                if ended.token:
                    return ended.state, 0.0
                return (ended.problem or _Problem("unknown")).code, 1.0
            return msgspec.json.decode(content, type=_Problem).code, float(
                answer.headers.get("Retry-After", "1")
            )

    async def close(self) -> None:
        """Let go of everything."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._local.close()
        await self._network.close()


class _Problem(msgspec.Struct, frozen=True):
    code: str


class _Ended(msgspec.Struct, frozen=True):
    state: str
    token: str | None = None
    problem: _Problem | None = None


async def serve() -> None:
    """Do what is told on standard input, until it ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd = Crowd(msgspec.json.decode(await reader.readline(), type=Site))
    try:
        while line := await reader.readline():
            told = msgspec.json.decode(line, type=Told)
            shown = await (crowd.connect(told) if isinstance(told, Connect) else crowd.turn(told))
            sys.stdout.buffer.write(msgspec.json.encode(shown) + b"\n")
            sys.stdout.buffer.flush()
    finally:
        await crowd.close()


def more_files() -> None:
    """Allow this process, and those it starts, as many open files as it may have."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Serve the bench that has started this process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
