"""The terminal agent and the appliance's own side of the protocol."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.authentication import converse
from appliance.card import jpki
from appliance.errors import (
    ApplianceError,
    CardRemoved,
    CardWithoutPin,
    PinBlocked,
    TerminalCommandRefused,
    TerminalSignatureRefused,
)
from appliance.simulator.kinds import Kind
from appliance.simulator.pki import Hierarchy
from appliance.terminals.agent.node import Address
from appliance.terminals.agent.status import Place
from appliance.terminals.desks import Stage, Work
from appliance.terminals.messages import (
    CardState,
    Mode,
    PinEntry,
)
from appliance.terminals.places import DeskState, Terms
from appliance.terminals.relay import Relay
from appliance.terminals.signing import ScenarioSigner
from tests.simulator.conversation import JPKI, PIN, VERIFY_WRONG
from tests.terminals.agent.conftest import (
    KEY,
    NONCE,
    PROFILE,
    SIGNED,
    STRANGER,
    Begin,
    Hand,
    Institution,
    answering,
)
from tests.terminals.agent.far_side import PATIENCE, READER


@asynccontextmanager
async def served(socket: Path, relay: Relay) -> AsyncIterator[Relay]:
    """Have *relay* serve one terminal, which it calls ward-3, on *socket*."""
    application = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await relay.handler(request, "ward-3")

    application.router.add_get("/v1/terminal", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.5, handle_signals=False)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield relay
    finally:
        await relay.drain(0.1)
        await runner.cleanup()


async def desk(relay: Relay, wanted: DeskState) -> str:
    """Wait until the terminal's one desk is as *wanted*, and return its name."""
    async with asyncio.timeout(PATIENCE):
        while not [each for each in relay.register.desks() if each.state is wanted]:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.02)
    (one,) = relay.register.desks()
    return one.desk


def _stages() -> tuple[list[Stage], Callable[[Stage], None]]:
    heard: list[Stage] = []
    return heard, heard.append


async def test_the_whole_way_with_the_relay(
    tmp_path_factory: pytest.TempPathFactory,
    begin: Begin,
    hand: Hand,
    institution: Institution,
) -> None:
    """Terminal and appliance understand one another: without PIN, with PIN, a pulled card, an appliance started again."""
    socket = tmp_path_factory.mktemp("r") / "s"
    running = await begin(
        addresses=(Address("ws://appliance/v1/terminal", socket=str(socket)),), **answering("1234")
    )
    await running.away()
    hand.put()
    async with served(socket, Relay(Terms(), "appliance.test")) as relay:
        name = await desk(relay, DeskState.CARD)
        assert name == f"ward-3.{READER}"
        heard, hear = _stages()
        async with relay.card(name, Work("1" * 32, Mode.PINLESS), hear) as card:
            assert len((await institution.authenticate(card)).signature) == 256
        assert heard == [Stage.TALKING, Stage.TALKING]
        await running.place(Place.DONE)
        async with relay.card(name, Work("2" * 32, Mode.PIN), hear) as card:
            assert len((await institution.authenticate(card, Mode.PIN)).signature) == 256
        assert heard[-1] is Stage.WAITING_FOR_PIN
        with pytest.raises(TerminalCommandRefused):
            async with relay.card(name, Work("3" * 32, Mode.PINLESS), hear) as card:
                await institution.authenticate(card, Mode.PIN)

        async def pull(challenge: bytes) -> bytes:
            hand.take()
            await desk_is_empty(relay)
            return await institution.sign(challenge)

        with pytest.raises(CardRemoved):
            async with relay.card(name, Work("4" * 32, Mode.PINLESS), hear) as card:
                await converse(jpki.pinless(PROFILE, institution.chain, NONCE), card, pull)
        await running.until(lambda status: status.readers[READER].code == CardRemoved.code)
    await running.away()
    socket.unlink(missing_ok=True)
    hand.put()
    async with served(socket, Relay(Terms(), "appliance.test")) as relay:
        name = await desk(relay, DeskState.CARD)
        async with relay.card(name, Work("5" * 32, Mode.PINLESS), hear) as card:
            assert len((await institution.authenticate(card)).signature) == 256


@pytest.mark.parametrize(
    ("change", "refusal"),
    [({"kind": Kind.FACE_ONLY}, CardWithoutPin), ({"signing": True}, PinBlocked)],
)
async def test_a_card_whose_pin_has_no_try_left_is_told_for_what_it_is(
    tmp_path_factory: pytest.TempPathFactory,
    begin: Begin,
    hand: Hand,
    institution: Institution,
    hierarchy: Hierarchy,
    now: datetime,
    change: dict[str, object],
    refusal: type[ApplianceError],
) -> None:
    """At a terminal as at the appliance's own reader: a locked PIN and a card without PIN are told apart, and nobody is asked."""
    socket = tmp_path_factory.mktemp("r") / "s"
    asked: list[str] = []

    def ask(reader: str, _given_up: threading.Event, _silent: Callable[[], None]) -> str | None:
        asked.append(reader)
        return "1234"

    await begin(
        addresses=(Address("ws://appliance/v1/terminal", socket=str(socket)),),
        pin_entry=PinEntry.SCREEN,
        ask_pin=ask,
    )
    hand.data = hierarchy.issue_card(now=now, **change)  # type: ignore[arg-type]  # options of several types
    hand.put()
    for command in (JPKI, PIN, *[VERIFY_WRONG] * 3):
        hand.card.respond(bytes.fromhex(command))
    async with served(socket, Relay(Terms(), "appliance.test")) as relay:
        name = await desk(relay, DeskState.CARD)
        _, hear = _stages()
        with pytest.raises(refusal):
            async with relay.card(name, Work("1" * 32, Mode.PIN), hear) as card:
                await institution.authenticate(card, Mode.PIN)
    assert not asked


async def desk_is_empty(relay: Relay) -> None:
    """Wait until the relay has heard that the card is gone; the desk is busy as long as its session lasts."""
    async with asyncio.timeout(PATIENCE):
        while any(one.places[READER].state is CardState.PRESENT for one in relay.register):  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.02)


async def test_the_relay_s_signatures_are_believed(
    tmp_path_factory: pytest.TempPathFactory,
    begin: Begin,
    hand: Hand,
    institution: Institution,
) -> None:
    """A terminal that insists on signatures by the pinned key takes what the appliance signs, and no other's."""
    now = datetime.now(UTC)

    def signer(key: ec.EllipticCurvePrivateKey) -> ScenarioSigner:
        async def sign(signing_input: bytes) -> bytes:
            return key.sign(signing_input, ec.ECDSA(SHA256()))

        return ScenarioSigner("appliance.test", key.public_key(), sign, lambda: now)

    folder = tmp_path_factory.mktemp("r")
    await begin(
        addresses=(Address("ws://appliance/v1/terminal", socket=str(folder / "s")),),
        **SIGNED,
        clock=now.timestamp,
    )
    hand.put()
    _, hear = _stages()
    async with served(folder / "s", Relay(Terms(), "appliance.test", signer(KEY))) as relay:
        name = await desk(relay, DeskState.CARD)
        async with relay.card(name, Work("1" * 32, Mode.PINLESS), hear) as card:
            assert len((await institution.authenticate(card)).signature) == 256
    (folder / "s").unlink(missing_ok=True)
    async with served(folder / "s", Relay(Terms(), "appliance.test", signer(STRANGER))) as relay:
        name = await desk(relay, DeskState.CARD)
        with pytest.raises(TerminalSignatureRefused):
            async with relay.card(name, Work("2" * 32, Mode.PINLESS), hear) as card:
                await institution.authenticate(card)
