"""Appliances that misbehave, and days on which they are gone."""

import asyncio
from typing import Any

import pytest

from appliance.simulator.pcscd import PrivatePcscd
from appliance.terminals.agent.status import Link, Place
from appliance.terminals.messages import (
    Abort,
    ApplianceProblem,
    CloseCode,
    Drain,
    Mode,
    Outcome,
    Result,
    SignedScenario,
    Start,
    TerminalCode,
    Welcome,
)
from appliance.terminals.view import Desk
from tests.pcsc import Client
from tests.terminals.agent.conftest import (
    LOOK,
    OTHER,
    SELECT,
    Begin,
    Hand,
    Institution,
    address,
    problem,
)
from tests.terminals.agent.far_side import READER, SESSION, FarCard, FarSide, far_side


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (["{"], CloseCode.MESSAGE_INVALID),
        (['{"type":"hello"}'], CloseCode.MESSAGE_INVALID),
        (["[" * 50_000], CloseCode.MESSAGE_INVALID),
        ([b"\x00\xff"], CloseCode.MESSAGE_INVALID),
        (["x" * (64 * 1024 + 1)], CloseCode.TOO_LARGE),
        ([Abort(session=OTHER)], CloseCode.VIOLATED),
        ([Result(session=OTHER, outcome=Outcome.DONE)], CloseCode.VIOLATED),
        ([ApplianceProblem(session=OTHER, code="internal")], CloseCode.VIOLATED),
        ([Welcome(terminal="a", heartbeat_ms=1_000, issuer="b")], CloseCode.VIOLATED),
        ([FarCard(None, OTHER).scenario(LOOK)], CloseCode.VIOLATED),  # type: ignore[arg-type]  # it has no line yet
        ([FarCard(None, SESSION, seq=1).scenario(LOOK)], CloseCode.VIOLATED),  # type: ignore[arg-type]  # it has no line yet
        ([FarCard(None, SESSION).scenario(LOOK)] * 2, CloseCode.VIOLATED),  # type: ignore[arg-type]  # it has no line yet
        ([FarCard(None, SESSION).scenario(LOOK), Result(session=SESSION, outcome=Outcome.DONE)], CloseCode.VIOLATED),  # type: ignore[arg-type]  # it has no line yet
        ([Start(session=SESSION, reader=READER, mode=Mode.PINLESS, wait_ms=1_000)], CloseCode.VIOLATED),
        ([SignedScenario(jws="a.b.c")], CloseCode.MESSAGE_INVALID),
        ([ApplianceProblem(code="internal")] * 300, None),
    ],
)  # fmt: skip
async def test_an_appliance_that_breaks_the_rules_loses_the_connection(
    frames: list[Any], code: CloseCode | None, side: FarSide, begin: Begin
) -> None:
    """Garbage, too much, and whatever comes where it may not: closed with a code, and called again after a pause."""
    running = await begin()
    line = await side.welcomed()
    await line.start(Mode.PINLESS)
    for frame in frames:
        if isinstance(frame, bytes):
            await line.socket.send_bytes(frame)
        elif isinstance(frame, str):
            await line.socket.send_str(frame)
        else:
            await line.say(frame)
    closed = await line.closed()
    assert closed == code if code is not None else True
    assert (await running.away()).seconds >= 0.05
    await side.welcomed()


async def test_a_flood_of_frames_is_cut_off(side: FarSide, begin: Begin) -> None:
    """Pings are frames, too: more than anybody needs end the connection."""
    await begin()
    line = await side.welcomed()

    async def flood() -> None:
        for _ in range(2_000):
            await line.socket.ping(b"x")

    flooding = asyncio.create_task(flood())
    assert await line.closed() == CloseCode.FLOODING
    flooding.cancel()
    await asyncio.wait({flooding})
    if not flooding.cancelled():
        flooding.exception()


@pytest.mark.parametrize("first", ["", "problem", "drain", "start"])
async def test_what_does_not_begin_with_a_welcome(
    first: str, side: FarSide, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence, a problem, a goodbye and anything else in its place: another attempt after a pause."""
    if not first:
        monkeypatch.setattr("appliance.terminals.agent.connection.WELCOME_SECONDS", 0.5)
    running = await begin()
    line = await side.line()
    match first:
        case "problem":
            await line.say(ApplianceProblem(code="terminal_signing_off"))
        case "drain":
            await line.say(Drain(retry_ms=100))
        case "start":
            await line.start(Mode.PINLESS)
        case _:
            pass
    away = await running.away()
    monkeypatch.undo()
    assert away.code == {"problem": "terminal_signing_off", "start": "terminal_protocol_violated"}.get(first)
    await side.welcomed()
    await running.until(lambda status: status.link is Link.CONNECTED)


async def test_an_appliance_that_falls_silent_is_given_up(side: FarSide, begin: Begin) -> None:
    """Two heartbeats missed, and the connection counts as lost; while they come, it does not."""
    running = await begin()
    line = await side.line()
    # Missed are two after three seconds, which is longer than this process is ever kept waiting.
    await line.welcome(heartbeat_ms=1_500)
    for _ in range(7):
        await asyncio.sleep(0.5)
        await line.socket.ping()
    assert not any(status.link is Link.AWAY for status in running.seen)
    assert "silent" in (await running.away()).reason


async def test_it_comes_back_after_the_appliance_was_gone(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """A restarted appliance finds its terminal again, with the card that lies there; a session does not survive."""
    hand.put()
    running = await begin()
    line = await side.welcomed()
    await (await line.start(Mode.PINLESS)).exchange(LOOK)
    await side.end()
    await running.until(lambda status: status.link is Link.AWAY and "cannot be reached" in status.reason)
    await side.begin()
    line = await side.welcomed()
    assert (await line.card(present=True)).insertion >= 1
    assert len((await institution.authenticate(await line.start(Mode.PINLESS))).signature) == 256


@pytest.mark.parametrize(("status", "code"), [(403, "peer_unknown"), (503, "terminals_full"), (404, None)])
async def test_an_appliance_that_does_not_let_it_in(
    status: int, code: str | None, side: FarSide, begin: Begin
) -> None:
    """The person at the terminal is told why, as far as it is known; the terminal goes on trying."""
    side.status = status
    running = await begin()
    away = await running.away()
    assert (away.code, f"{status}" in away.reason) == (code, True)
    side.status = None
    await side.welcomed()


async def test_something_else_that_speaks_websocket(side: FarSide, begin: Begin) -> None:
    """A server without our subprotocol is none of ours."""
    side.protocols = ()
    running = await begin()
    assert "terminal protocol" in (await running.away()).reason


async def test_a_drain_lets_running_sessions_end(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """What is under way comes to its end; then the terminal leaves by itself and comes back after the pause."""
    hand.put()
    await begin()
    line = await side.welcomed()
    card = await line.start(Mode.PINLESS)
    await card.exchange(LOOK)
    await line.say(Drain(retry_ms=100))
    assert len((await institution.authenticate(card)).signature) == 256
    await line.say(Result(session=SESSION, outcome=Outcome.DONE))
    assert await line.closed() == CloseCode.DONE
    await side.welcomed()


async def test_stopped_it_takes_leave_and_lets_go_of_the_card(
    side: FarSide, begin: Begin, hand: Hand
) -> None:
    """The session is aborted, the connection closed as going away, and the card is free for others."""
    hand.put()
    running = await begin()
    line = await side.welcomed()
    await (await line.start(Mode.PINLESS)).exchange(LOOK)
    running.terminal.stop()
    assert (await line.hear(Abort)).session == SESSION
    assert await line.closed() == CloseCode.GOING_AWAY
    await running.task
    with Client.of(hand.reader) as client:
        assert client.connect()(SELECT.command.to_bytes().hex()) == "9000"


async def test_ends_that_cross_on_the_wire_do_no_harm(side: FarSide, begin: Begin, hand: Hand) -> None:
    """What the appliance sent before it knew that the terminal had ended the session is dropped."""
    await begin()
    line = await side.welcomed()
    card = await line.start(Mode.PINLESS, wait_ms=50)
    await problem(line, TerminalCode.CARD_ABSENT)
    await line.say(card.scenario(LOOK), Result(session=SESSION, outcome=Outcome.DONE), Abort(session=SESSION))
    again = await line.start(Mode.PINLESS, OTHER)
    hand.put()
    await line.card(present=True)
    assert (await again.exchange(LOOK))[0].status == 0x9000


@pytest.mark.usefixtures("hand")
async def test_a_scenario_that_finds_no_card_is_answered_at_once(side: FarSide, begin: Begin) -> None:
    """It was meant for a card that has gone meanwhile, and is not kept for the next one."""
    await begin()
    line = await side.welcomed()
    await line.card(present=False)
    card = await line.start(Mode.PINLESS)
    await line.say(card.scenario(LOOK))
    await problem(line, TerminalCode.CARD_REMOVED)


async def test_a_scenario_meant_for_the_card_before_is_not_done_with_the_next(
    side: FarSide, begin: Begin, hand: Hand
) -> None:
    """A card is taken away and another one put on before the session has spoken to either: it is the other's no more."""
    hand.put()
    await begin()
    line = await side.welcomed()
    await line.card(present=True)
    card = await line.start(Mode.PINLESS)
    hand.take()
    await line.card(present=False)
    hand.put()
    await line.card(present=True)
    await line.say(card.scenario(LOOK))
    await problem(line, TerminalCode.CARD_REMOVED)


async def test_readers_work_side_by_side(
    side: FarSide, begin: Begin, hand: Hand, private_pcscd: PrivatePcscd, institution: Institution
) -> None:
    """Each reader has its session, and what happens at one is nothing to the other."""
    desks = {
        alias: Desk(reader.name, pin_pad=False)
        for alias, reader in zip((READER, "desk-2"), private_pcscd.readers[1:], strict=True)
    }
    hand.put()
    await begin(desks=desks)
    line = await side.welcomed()
    card = await line.start(Mode.PINLESS)
    await line.say(Start(session=OTHER, reader="desk-2", mode=Mode.PINLESS, wait_ms=15_000))
    assert len((await institution.authenticate(card)).signature) == 256
    await line.say(Abort(session=OTHER), Result(session=SESSION, outcome=Outcome.DONE))
    again = await line.start(Mode.PINLESS, "3" * 32)
    assert len((await institution.authenticate(again)).signature) == 256


async def test_any_node_may_ask_and_one_does_at_a_time(
    side: FarSide,
    begin: Begin,
    hand: Hand,
    institution: Institution,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """It is connected to all nodes; a reader that one of them has is busy for the other, and free when it is over."""
    async with far_side(tmp_path_factory.mktemp("s")) as other_side:
        running = await begin(addresses=[address(side), address(other_side)])
        line, other = await side.line(), await other_side.line()
        await line.welcome()
        await other.welcome()
        assert (await running.until(lambda status: status.connected == 2)).nodes == 2
        hand.put()
        card = await line.start(Mode.PINLESS)
        await institution.authenticate(card)
        await other.card(present=True)
        await other.start(Mode.PINLESS, OTHER)
        assert (await problem(other, TerminalCode.READER_BUSY)).session == OTHER
        assert not [status for status in running.seen if status.readers[READER].place is Place.REFUSED]
        await line.say(Result(session=SESSION, outcome=Outcome.DONE))
        await running.place(Place.DONE)
        again = "1" * 32
        await institution.authenticate(await other.start(Mode.PINLESS, again))
        await other.say(Result(session=again, outcome=Outcome.DONE))


async def test_a_node_that_goes_takes_nothing_with_it(
    side: FarSide,
    begin: Begin,
    hand: Hand,
    institution: Institution,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A session of the node that is gone ends, the other node has the card at once, and the first one is called again."""
    async with far_side(tmp_path_factory.mktemp("s")) as other_side:
        running = await begin(addresses=[address(side), address(other_side)])
        line, other = await side.line(), await other_side.line()
        await line.welcome()
        await other.welcome()
        await running.until(lambda status: status.connected == 2)
        hand.put()
        await (await line.start(Mode.PINLESS)).exchange(LOOK)
        await side.end()
        status = await running.until(lambda status: status.connected == 1)
        assert status.link is Link.CONNECTED
        await other.card(present=True)
        await institution.authenticate(await other.start(Mode.PINLESS))
        await side.begin()
        await side.welcomed()
        await running.until(lambda status: status.connected == 2)
