"""Who uses a clinic: terminals that always have a card, connected to both nodes, and receptions that ask."""

import asyncio
import random
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange
from appliance.card.profile import shipped
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.terminals.agent.backoff import Backoff
from appliance.terminals.agent.connection import Connection
from appliance.terminals.agent.node import Address
from appliance.terminals.agent.node import Node as FarNode
from appliance.terminals.agent.places import Lying, Places
from appliance.terminals.agent.session import Equipment
from appliance.terminals.agent.status import Board
from appliance.terminals.messages import Hello, PinEntry, Reader
from appliance.terminals.steps import perform
from appliance.terminals.view import CardInserted, Event, ReaderUp
from tests.daemon.process import ORDER, SECONDS
from tests.daemon.tls import client_context
from tests.nodes.clinic import WARDS, Clinic

READER = "r1"
PROFILE = shipped("jpki-reference")


@dataclass(slots=True)
class CardThere:
    """A reader on which a card of *data* lies (`Readers`). Exchange number *held*, if any, waits until let go."""

    data: CardData
    held: int | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def events(self) -> AsyncIterator[Event]:
        """Tell that the card is there, and nothing more."""
        yield ReaderUp(READER)
        yield CardInserted(READER)
        await asyncio.Event().wait()

    @asynccontextmanager
    async def card(self, _alias: str, **_manner: object) -> AsyncIterator["PoweredUp"]:
        """Power the card up."""
        yield PoweredUp(self, SoftwareCard(self.data))


@dataclass(slots=True)
class PoweredUp:
    """The card, for one session."""

    there: CardThere
    card: SoftwareCard
    exchanges: int = 0

    async def exchange(self, exchange: Exchange, within: float | None = None) -> tuple[Response, ...]:  # noqa: ARG002 - a card's shape
        """Do the steps."""
        self.exchanges += 1
        if self.exchanges == self.there.held:
            self.there.reached.set()
            await self.there.let_go.wait()
        return perform(exchange, self.card.transmit)


@dataclass(slots=True)
class Ward:
    """The terminal *name*, as the agent makes one, with a card that needs no reader."""

    clinic: Clinic
    name: str
    reader: CardThere
    board: Board = field(default_factory=lambda: Board((READER,), nodes=2))

    @property
    def desk(self) -> str:
        """What receptions call its reader."""
        return f"{self.name}.{READER}"

    def hello(self) -> Hello:
        """Introduce it."""
        reader = Reader(alias=READER, pin_entry=PinEntry.NONE)
        return Hello(software="ward", version="1", nonce=secrets.token_hex(16), readers=(reader,))

    async def run(self) -> None:
        """Be connected to both nodes, until cancelled."""
        connections: list[Connection] = []

        def changed(reader: str, lying: Lying) -> None:
            for connection in connections:
                connection.changed(reader, lying)

        places = Places((READER,), changed)
        equipment = Equipment(
            self.reader,  # type: ignore[arg-type]  # the part of it that sessions need
            PROFILE,
            self.board,
            PinEntry.NONE,
            lambda _reader, _given_up, _silent: None,
            lambda: 0.0,
        )
        tls = client_context(self.clinic.site, self.name)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(places.follow(self.reader))  # type: ignore[arg-type]  # the part of it that is needed
            for number, node in enumerate(self.clinic.nodes):
                address = Address(f"wss://localhost:{node.site.port}/v1/terminal", tls)
                backoff = Backoff(0.2, 1.0, random.random)
                far = FarNode(number, address, backoff, equipment, places, self.hello, None, connections)
                tasks.create_task(far.serve())

    async def connected(self, nodes: int) -> None:
        """Wait until it is connected to so many nodes."""
        async with asyncio.timeout(SECONDS):
            while self.board.status.connected != nodes:  # noqa: ASYNC110 - seldom, and only here
                await asyncio.sleep(0.02)


@asynccontextmanager
async def at_work(clinic: Clinic) -> AsyncIterator[tuple[Ward, ...]]:
    """Have all terminals connected for the length of a block."""
    data = CardData.load(clinic.site.folder / "card")
    wards = tuple(Ward(clinic, name, CardThere(data)) for name in WARDS)
    tasks = [asyncio.create_task(ward.run()) for ward in wards]
    try:
        for ward in wards:
            await ward.connected(2)
        yield wards
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class FrontDesk:
    """
    The reception software of one machine, whose address is *source*: it asks the balancer, and keeps its connections.

    *outcomes* has what became of each request: `authenticated`, the code of a problem, or `broken`.
    """

    clinic: Clinic
    source: str
    client: aiohttp.ClientSession
    outcomes: list[str] = field(default_factory=list)
    acknowledged: list[dict[str, Any]] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)
    """How connections broke."""

    @property
    def url(self) -> str:
        """Where it asks."""
        return f"https://localhost:{self.clinic.balancer.port}/v1/authentications"

    async def ask(self, desk: str, wait: int = 20) -> dict[str, Any]:
        """Ask for an authentication, and return the job or the problem; empty where the connection broke."""
        order = {**ORDER, "desk": desk}
        try:
            async with self.client.post(f"{self.url}?wait={wait}", json=order) as answer:
                said: dict[str, Any] = await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError) as error:
            self.breaks.append(repr(error))
            said = {}
        problem = said.get("problem", said)
        self.outcomes.append(problem.get("code") or said.get("state") or "broken")
        if said.get("state") == "authenticated":
            self.acknowledged.append(said)
        return said

    async def served(self, desk: str, wait: int = 20) -> dict[str, Any]:
        """Return the job at *desk*; where the terminal has not yet heard of the end of another one, ask again."""
        while (job := await self.ask(desk, wait)).get("code") == "reader_busy":  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)
        assert "id" in job, (job, self.breaks, (self.clinic.balancer.folder / "said").read_text())
        return job

    async def keep_asking(self, desk: str, enough: asyncio.Event) -> None:
        """Ask again and again, with a pause in between: this process has other things to do as well."""
        while not enough.is_set():
            await self.ask(desk)
            await asyncio.sleep(0.1)


@asynccontextmanager
async def front_desk(clinic: Clinic, number: int = 2) -> AsyncIterator[FrontDesk]:
    """Give the reception at the machine 127.0.0.*number*."""
    source = f"127.0.0.{number}"
    connector = aiohttp.TCPConnector(
        ssl=client_context(clinic.site, "front-desk"), local_addr=(source, 0), family=socket.AF_INET
    )
    timeout = aiohttp.ClientTimeout(SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        yield FrontDesk(clinic, source, client)
