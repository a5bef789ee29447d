"""A terminal at work: cards and hands on its side, an appliance that says what a test has it say on the other."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.authentication import Card as AnyCard
from appliance.authentication import converse
from appliance.card import jpki
from appliance.card.apdu import Command
from appliance.card.cvc import Chain, check_chain
from appliance.card.dialogue import Dialogue, Exchange, Step
from appliance.card.jpki import HolderProof
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import Fault, FaultyCard
from appliance.simulator.pcscd import PrivatePcscd, VirtualReader
from appliance.simulator.pki import Hierarchy
from appliance.simulator.reader import inserted
from appliance.terminals.agent.backoff import Backoff
from appliance.terminals.agent.node import Address
from appliance.terminals.agent.status import Link, Place, Status
from appliance.terminals.agent.terminal import Terminal
from appliance.terminals.messages import (
    Mode,
    PinEntry,
    TerminalCode,
    TerminalProblem,
)
from appliance.terminals.view import Desk
from tests.pcsc import Client
from tests.terminals.agent.far_side import PATIENCE, READER, FarSide, Line, far_side

PROFILE = shipped("jpki-reference")
NONCE = Nonce.from_random(bytes(32))
OTHER = "ffeeddccbbaa99887766554433221100"
SELECT = Step("select-application", Command(0x00, 0xA4, 0x04, 0x0C, PROFILE.application.aid))
LOOK = Exchange((SELECT,))
KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())
SIGNED = {"require_signed": True, "pinned": (KEY.public_key(),)}


@dataclass(slots=True)
class Hand:
    """A hand that puts cards made of *data* on *reader*, and takes them away; it remembers the last one."""

    reader: VirtualReader
    data: CardData
    card: FaultyCard = field(init=False)
    lying: ExitStack = field(default_factory=ExitStack)

    def put(self, *faults: Fault) -> None:
        """Put a card on the reader, in the place of one that lies there."""
        self.take()
        self.card = FaultyCard(SoftwareCard(self.data), faults)
        self.lying.enter_context(inserted(self.card, self.reader.host, self.reader.port))

    def take(self) -> None:
        """Leave the reader empty."""
        self.lying.close()


@pytest.fixture(scope="session")
def data(hierarchy: Hierarchy, now: datetime) -> CardData:
    """What is on the card."""
    return hierarchy.issue_card(now=now)


@pytest.fixture
async def hand(private_pcscd: PrivatePcscd, data: CardData) -> AsyncIterator[Hand]:
    """Return a hand for the second reader; at the end the reader is empty, and pcscd has seen it."""
    hand = Hand(private_pcscd.readers[1], data)
    try:
        yield hand
    finally:
        hand.take()
        await asyncio.to_thread(_await_empty, hand.reader)


def _await_empty(reader: VirtualReader) -> None:
    with Client.of(reader) as client:
        client.await_removal()


@dataclass(frozen=True, slots=True)
class Institution:
    """A chain, and its key in memory."""

    chain: Chain
    key: rsa.RSAPrivateKey

    async def sign(self, challenge: bytes) -> bytes:
        """Sign as the HSM does."""
        return self.key.sign(challenge, padding.PKCS1v15(), SHA256())

    async def authenticate(self, card: AnyCard, mode: Mode = Mode.PINLESS) -> HolderProof:
        """Have *card* prove its holder."""
        if mode is Mode.PIN:
            return await converse(jpki.with_pin(PROFILE, NONCE), card, self.sign)
        return await converse(jpki.pinless(PROFILE, self.chain, NONCE), card, self.sign)


@pytest.fixture(scope="session")
def institution(hierarchy: Hierarchy) -> Institution:
    """Return an institution that the software cards accept."""
    key = rsa.generate_private_key(65_537, 2_048)
    leaf = hierarchy.issue_institution(key.public_key(), "9912345")
    return Institution(check_chain(hierarchy.institution.intermediate, leaf, hierarchy.root_key), key)


@dataclass(slots=True)
class Running:
    """A terminal at work, and what it has shown."""

    terminal: Terminal
    task: "asyncio.Task[None]"
    seen: list[Status]
    news: asyncio.Event

    async def until(self, wanted: Callable[[Status], bool]) -> Status:
        """Return the first status, of those shown and to come, that is *wanted*; what was before is forgotten."""
        async with asyncio.timeout(PATIENCE):
            while True:
                while self.seen:
                    if wanted(status := self.seen.pop(0)):
                        return status
                self.news.clear()
                await self.news.wait()

    async def place(self, place: Place) -> Status:
        """Wait until the reader is shown at *place*."""
        return await self.until(lambda status: status.readers[READER].place is place)

    async def away(self) -> Status:
        """Wait until the appliance is shown as away."""
        return await self.until(lambda status: status.link is Link.AWAY)


@pytest.fixture
async def side(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FarSide]:
    """Return an appliance that says what the test has it say."""
    async with far_side(tmp_path_factory.mktemp("s")) as side:
        yield side


def address(side: FarSide) -> Address:
    """Return where the appliance *side* is."""
    return Address("ws://appliance/v1/terminal", socket=str(side.socket))


Begin = Callable[..., Coroutine[Any, Any, Running]]


@pytest.fixture
async def begin(side: FarSide, private_pcscd: PrivatePcscd) -> AsyncIterator[Begin]:
    """Return what has a terminal begin; at the end it is stopped."""
    running: list[Running] = []

    async def start(**changes: Any) -> Running:  # noqa: ANN401  # of several types, as Terminal's
        seen: list[Status] = []
        news = asyncio.Event()

        def show(status: Status) -> None:
            seen.append(status)
            news.set()

        desk = Desk(private_pcscd.readers[1].name, pin_pad=False, pin_seconds=20.0)
        settings: dict[str, Any] = {
            "addresses": (address(side),),
            "desks": {READER: desk},
            "profile": PROFILE,
            "backoff": Backoff(0.1, 0.2, lambda: 0.0),
            "clock": lambda: 1_800_000_000.0,
            "random": lambda length: b"\x2a" * length,
            "show": show,
        }
        terminal = Terminal(**{**settings, **changes})
        running.append(Running(terminal, asyncio.create_task(terminal.run()), seen, news))
        return running[-1]

    yield start
    for each in running:
        each.terminal.stop()
        async with asyncio.timeout(PATIENCE):
            await each.task


def answering(pin: str | None) -> dict[str, object]:
    """Return a terminal's PIN entry by somebody who enters *pin*."""

    def ask(_reader: str, _given_up: threading.Event, silent: Callable[[], None]) -> str | None:
        silent()
        return pin

    return {"pin_entry": PinEntry.SCREEN, "ask_pin": ask}


async def problem(line: Line, code: TerminalCode) -> TerminalProblem:
    """Hear that the session is over for the reason *code*."""
    said = await line.hear(TerminalProblem)
    assert said.code is code, said
    return said


async def tries(line: Line) -> int:
    """Return how many tries of the PIN are left, in a session of its own."""
    asked = first(jpki.with_pin(PROFILE, NONCE))
    card = await line.start(Mode.PIN, OTHER)
    return (await card.exchange(Exchange(asked.steps[:3])))[-1].status & 0xF


def first(dialogue: Dialogue[object]) -> Exchange:
    """Return what *dialogue* asks for first."""
    asked = next(dialogue)
    assert isinstance(asked, Exchange)
    return asked
