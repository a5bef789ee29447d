"""Sessions as tables, on either side of the wire."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from appliance.errors import TerminalProtocolViolated
from appliance.terminals.sessions import APPLIANCE, TERMINAL, Move, Phase, TerminalMove, TerminalPhase, after


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("move", Move)
def test_the_appliances_table_is_all_there_is(phase: Phase, move: Move) -> None:
    """A move leads where the table says, and is a violation where the table is silent."""
    if (phase, move) in APPLIANCE:
        assert after(APPLIANCE, phase, move) is APPLIANCE[phase, move]
    else:
        with pytest.raises(TerminalProtocolViolated):
            after(APPLIANCE, phase, move)


@pytest.mark.parametrize("phase", TerminalPhase)
@pytest.mark.parametrize("move", TerminalMove)
def test_the_terminals_table_is_all_there_is(phase: TerminalPhase, move: TerminalMove) -> None:
    """A move leads where the table says, and is a violation where the table is silent."""
    if (phase, move) in TERMINAL:
        assert after(TERMINAL, phase, move) is TERMINAL[phase, move]
    else:
        with pytest.raises(TerminalProtocolViolated):
            after(TERMINAL, phase, move)


def test_what_is_over_stays_over() -> None:
    """No move leads out of a session's end, and on the appliance's side none is even expected."""
    assert not [move for phase, move in APPLIANCE if phase is Phase.OVER]
    assert all(to is TerminalPhase.OVER for (phase, _), to in TERMINAL.items() if phase is TerminalPhase.OVER)


def test_an_answer_is_taken_once() -> None:
    """Responses are expected after a scenario and at no other time; a second answer is a violation."""
    assert {phase for phase, move in APPLIANCE if move is Move.RESPONSES} == {Phase.ASKED, Phase.LATE}
    with pytest.raises(TerminalProtocolViolated):
        after(APPLIANCE, after(APPLIANCE, Phase.ASKED, Move.RESPONSES), Move.RESPONSES)


class Both(NamedTuple):
    """Both ends of one session, what is on its way between them, and how things stand at the reader."""

    ours: Phase
    theirs: TerminalPhase | None
    """None before `start` has arrived."""
    down: tuple[str, ...]
    up: tuple[str, ...]
    seen: int
    """The card that the appliance was told of last; 0 for none."""
    bound: int
    """The session's card, to the appliance; 0 for none yet."""
    lies: int
    """The card on the reader."""
    told: int
    """The card that the terminal has told of last."""
    held: int
    """The session's card, to the terminal."""
    asked: int
    """Scenarios so far."""
    cards: int
    """Cards so far."""


SENT_DOWN = {Move.SEND_SCENARIO: "scenario", Move.SEND_RESULT: "result", Move.SEND_END: "problem"}
SENT_UP = {
    TerminalMove.SEND_RESPONSES: "responses",
    TerminalMove.SEND_PROBLEM: "problem",
    TerminalMove.SEND_ABORT: "abort",
}
ARRIVES_DOWN = {
    "scenario": TerminalMove.SCENARIO,
    "result": TerminalMove.RESULT,
    "problem": TerminalMove.PROBLEM,
}
ARRIVES_UP = {"responses": Move.RESPONSES, "problem": Move.PROBLEM, "abort": Move.ABORT}
TRACKS = {Phase.CALLED, Phase.HELD, Phase.ASKED, Phase.GONE}
CARDS, SCENARIOS = 3, 2


def following(now: Both) -> Iterator[Both]:
    """Yield all that can happen next between two ends that keep to the rules; raise where one would see a violation."""
    yield from appliance_speaks(now)
    yield from terminal_speaks(now)
    if now.up:
        yield appliance_hears(now._replace(up=now.up[1:]), now.up[0])
    if now.down:
        yield terminal_hears(now._replace(down=now.down[1:]), now.down[0])
    # Whoever stands at the desk: cards come and go.
    if now.lies == 0 and now.cards < CARDS:
        yield tell(now._replace(lies=now.cards + 1, cards=now.cards + 1))
    if now.lies:
        yield tell(now._replace(lies=0))


def appliance_speaks(now: Both) -> Iterator[Both]:
    """Yield what the appliance may send now."""
    for move, message in SENT_DOWN.items():
        if (now.ours, move) not in APPLIANCE or (message == "scenario" and now.asked == SCENARIOS):
            continue
        more = now.asked + (message == "scenario")
        yield now._replace(ours=APPLIANCE[now.ours, move], down=(*now.down, message), asked=more)


def appliance_hears(now: Both, message: str) -> Both:
    """Let *message* arrive at the appliance."""
    if not message.startswith("card"):
        return now._replace(ours=after(APPLIANCE, now.ours, ARRIVES_UP[message]))
    card = int(message.removeprefix("card"))
    now = now._replace(seen=card)
    if now.ours not in TRACKS:
        return now
    if now.bound == 0 and card:
        return now._replace(ours=after(APPLIANCE, now.ours, Move.CARD), bound=card)
    if card == now.bound:
        return now
    now = now._replace(ours=after(APPLIANCE, now.ours, Move.CARD_GONE))
    if now.ours is Phase.ASKED:
        return now._replace(ours=after(APPLIANCE, now.ours, Move.SEND_END), down=(*now.down, "problem"))
    return now


def terminal_speaks(now: Both) -> Iterator[Both]:
    """Yield what the terminal may send now."""
    if now.theirs is None:
        return
    for move, message in SENT_UP.items():
        if (now.theirs, move) not in TERMINAL:
            continue
        if move is TerminalMove.SEND_RESPONSES and (now.held == 0 or now.held != now.lies):
            continue  # it has no card to answer for
        if move is TerminalMove.SEND_PROBLEM and now.theirs is TerminalPhase.READY:
            continue  # nothing goes wrong where nothing is done
        yield tell(now._replace(theirs=TERMINAL[now.theirs, move], up=(*now.up, message)))


def terminal_hears(now: Both, message: str) -> Both:
    """Let *message* arrive at the terminal."""
    if message == "start":
        phase = TerminalPhase.READY if now.lies else TerminalPhase.WAITING
        return now._replace(theirs=phase, held=now.lies)
    assert now.theirs is not None
    phase = after(TERMINAL, now.theirs, ARRIVES_DOWN[message])
    if phase is TerminalPhase.BUSY and (now.held == 0 or now.held != now.lies):
        return now._replace(theirs=after(TERMINAL, phase, TerminalMove.SEND_PROBLEM), up=(*now.up, "problem"))
    return tell(now._replace(theirs=phase))


def tell(now: Both) -> Both:
    """Have the terminal tell of the card at its reader, if it has changed; during a scenario, after the answer."""
    if now.theirs is TerminalPhase.BUSY or now.lies == now.told:
        return now
    card = now.lies
    now = now._replace(told=card, up=(*now.up, f"card{card}"))
    if now.theirs in {TerminalPhase.READY, TerminalPhase.GONE} and card != now.held:
        return now._replace(theirs=after(TERMINAL, now.theirs, TerminalMove.CARD_GONE))
    if now.theirs is TerminalPhase.WAITING and card:
        return now._replace(theirs=after(TERMINAL, now.theirs, TerminalMove.CARD), held=card)
    return now


@pytest.mark.parametrize("card", [0, 1])
def test_two_ends_that_keep_to_the_rules_never_see_a_violation(card: int) -> None:
    """Whatever crosses on the wire: every interleaving of scenarios, answers, ends, and cards that come and go is legal."""
    first = Both(
        Phase.HELD if card else Phase.CALLED, None, ("start",), (), card, card, card, card, 0, 0, card
    )
    seen, waiting = {first}, [first]
    phases: set[Phase | TerminalPhase | None] = set()
    while waiting:
        now = waiting.pop()
        phases |= {now.ours, now.theirs}
        for one in following(now):
            if one not in seen:
                seen.add(one)
                waiting.append(one)
    assert phases >= {*Phase, *TerminalPhase} - ({Phase.CALLED} if card else set())
