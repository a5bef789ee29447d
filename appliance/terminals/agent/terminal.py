"""
The terminal as a whole: its readers, and the appliance's nodes, to all of which it is connected.

    Readers ──events──> Places ──Card──────────> Connection ──> a node of the appliance
       └──card()────────────────> Session <──Start, Scenario──┘

It runs until it is stopped. A reader serves whichever node asks first; which one that is, is none of its business.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from appliance import __version__
from appliance.card.profile import Profile
from appliance.terminals.agent.allowlist import conversations
from appliance.terminals.agent.backoff import Backoff
from appliance.terminals.agent.connection import Connection
from appliance.terminals.agent.node import Address, Node
from appliance.terminals.agent.places import Lying, Places
from appliance.terminals.agent.session import AskPin, Equipment
from appliance.terminals.agent.status import Board, Link, Show, show_nobody
from appliance.terminals.messages import CardState, Hello, Mode, PinEntry, Reader
from appliance.terminals.readers import Readers
from appliance.terminals.transport import Extended
from appliance.terminals.view import Desk

SOFTWARE: Final = "jpki-appliance terminal"
_NONCE_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Terminal:
    """
    A terminal with the readers at *desks*, for the appliance whose nodes are at *addresses*.

    *require_signed* insists on signed scenarios, by one of the *pinned* keys where there are some. *clock* gives seconds
    since the epoch, *random* so many bytes.
    """

    addresses: Sequence[Address]
    desks: Mapping[str, Desk]
    profile: Profile
    backoff: Backoff
    clock: Callable[[], float]
    random: Callable[[int], bytes]
    pin_entry: PinEntry = PinEntry.NONE
    ask_pin: AskPin = lambda _reader, _given_up, _silent: None
    require_signed: bool = False
    pinned: Sequence[ec.EllipticCurvePublicKey] | None = None
    show: Show = show_nobody
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for mode in Mode:
            conversations(self.profile, mode)

    def stop(self) -> None:
        """End: running sessions are aborted, cards let go of, the appliance is told."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve the appliance until `stop`."""
        board = Board(tuple(self.desks), self.show, len(self.addresses))
        connections: list[Connection] = []

        def changed(reader: str, lying: Lying) -> None:
            present = None if lying.state is CardState.ABSENT else lying.state is CardState.PRESENT
            board.card(reader, present=present)
            for connection in connections:
                connection.changed(reader, lying)

        async with Readers(self.desks) as readers:
            places = Places(tuple(self.desks), changed)
            equipment = Equipment(readers, self.profile, board, self.pin_entry, self.ask_pin, self.clock)
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(places.follow(readers))
                serving = [
                    tasks.create_task(
                        Node(
                            number,
                            address,
                            replace(self.backoff),
                            equipment,
                            places,
                            self._hello,
                            self.pinned,
                            connections,
                        ).serve()
                    )
                    for number, address in enumerate(self.addresses)
                ]
                await self._stopping.wait()
                board.link(Link.ENDING)
                for task in (*serving, following):
                    task.cancel()

    def _hello(self) -> Hello:
        return Hello(
            software=SOFTWARE,
            version=__version__,
            nonce=self.random(_NONCE_LENGTH).hex(),
            readers=tuple(
                # What a reader can do by itself is known with its first card only.
                Reader(
                    alias=alias,
                    extended=False if desk.extended is Extended.NO else None,
                    pin_entry=self.pin_entry,
                )
                for alias, desk in self.desks.items()
            ),
            require_signed=self.require_signed,
        )
