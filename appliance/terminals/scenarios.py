"""
Exchanges as scenarios, and responses as answers: how what a dialogue asks for is said to a terminal, and back.

Pure. Whatever no terminal working by the rules would answer is told apart here, before a dialogue sees it.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from appliance.card.apdu import Command, CommandMalformed, Response
from appliance.card.dialogue import Exchange, Step, VerifyHolder
from appliance.card.profile import Header
from appliance.errors import CardAnswerMalformed, TerminalMessageInvalid, TerminalProtocolViolated
from appliance.terminals.messages import (
    LARGEST_ANSWER,
    MOST_STEPS,
    HolderVerification,
    Responses,
    Scenario,
    ScenarioStep,
)

LARGEST_SCENARIO: Final = 11_000
"""Characters of a scenario's steps, as written: signed, it still fits into what the HSM's worker takes."""
_SELECT: Final = 0xA4
"""INS of SELECT."""
_STEP_OVERHEAD: Final = 100
"""Characters around a step's name, its command and one expected status word. More than there are."""


def batches(exchange: Exchange) -> Iterator[Exchange]:
    """
    Yield *exchange* in parts whose answers fit into one frame each; nearly always that is one part.

    What asks for more than a frame holds by itself is the caller's bug.
    """
    steps: list[Step | VerifyHolder] = []
    written = answered = 0
    for step in exchange.steps:
        ours, answer = _written(step), _answered(step)
        if ours > LARGEST_SCENARIO or answer > LARGEST_ANSWER:
            raise ValueError(f"the step '{step.name}' does not fit into a frame")
        full = (
            written + ours > LARGEST_SCENARIO
            or answered + answer > LARGEST_ANSWER
            or len(steps) == MOST_STEPS
        )
        if full:
            yield Exchange(tuple(steps))
            steps, written, answered = [], 0, 0
        steps.append(step)
        written, answered = written + ours, answered + answer
    yield Exchange(tuple(steps))


def _written(step: Step | VerifyHolder) -> int:
    command = 2 * len(step.command.to_bytes()) if isinstance(step, Step) else 0
    return _STEP_OVERHEAD + len(step.name) + 7 * len(step.expect) + command


def _answered(step: Step | VerifyHolder) -> int:
    # Data, status word, quotes and comma.
    return 2 * (_longest(step) + 2) + 3


def _longest(step: Step | VerifyHolder) -> int:
    """Return how many bytes of data *step* asks for."""
    return (step.command.le or 0) if isinstance(step, Step) else 0


def scenario(session: str, seq: int, deadline_ms: int, exchange: Exchange) -> Scenario:
    """Return *exchange* as the scenario *seq* of *session*."""
    steps = tuple(_step(step) for step in exchange.steps)
    return Scenario(session=session, seq=seq, deadline_ms=deadline_ms, steps=steps)


def _step(step: Step | VerifyHolder) -> ScenarioStep:
    if isinstance(step, Step) and (step.command.ins == _SELECT or not step.command.data):
        return _known_step(step)
    return _written_step(step)


def _written_step(step: Step | VerifyHolder) -> ScenarioStep:
    expect = tuple(f"{status:04X}" for status in sorted(step.expect))
    if isinstance(step, Step):
        return ScenarioStep(name=step.name, expect=expect, command=_hex(step.command.to_bytes()))
    asked = HolderVerification(header=_hex(step.header), digits=step.digits)
    return ScenarioStep(name=step.name, expect=expect, verify_holder=asked)


_known_step = lru_cache(maxsize=256)(_written_step)
"""For steps that are the same with every card. Others hold what is one card's, and are not kept."""


def exchange_of(said: Scenario) -> Exchange:
    """Return the exchange that *said* asks for, or raise TerminalMessageInvalid for what is no command APDU."""
    return Exchange(tuple(_asked(step) for step in said.steps))


def _asked(step: ScenarioStep) -> Step | VerifyHolder:
    expect = frozenset(int(status, 16) for status in step.expect)
    if step.verify_holder is not None:
        asked = step.verify_holder
        return VerifyHolder(step.name, Header.from_hex(asked.header), asked.digits, expect)
    try:
        return Step(step.name, Command.from_bytes(bytes.fromhex(step.command or "")), expect)
    except CommandMalformed as error:
        raise TerminalMessageInvalid(f"the command of '{step.name}' is no APDU") from error


def responses(session: str, seq: int, answers: Iterable[Response]) -> Responses:
    """Return *answers* as what is said to the scenario *seq* of *session*."""
    texts = tuple(_hex(answer.to_bytes()) for answer in answers)
    return Responses(session=session, seq=seq, responses=texts)


def require_fitting(exchange: Exchange, answers: Iterable[Response]) -> None:
    """
    Raise CardAnswerMalformed where a card answered with more than *exchange* asks for.

    For the terminal's side: it reports that, since what it would send the appliance does not take.
    """
    for step, answer in zip(exchange.steps, answers, strict=False):
        if len(answer.data) > _longest(step):
            raise CardAnswerMalformed(
                f"'{step.name}' brought {len(answer.data)} bytes, more than it asks for"
            )


def answers_of(exchange: Exchange, said: Responses) -> tuple[Response, ...]:
    """
    Return what *said* brings for *exchange*, or raise TerminalProtocolViolated.

    Checks, on what no terminal working by the rules would send: no more answers than steps; each a response APDU, with
    no more data than its step asks for; no step done after one that answered what it should not; none left out.
    """
    if len(said.responses) > len(exchange.steps):
        raise TerminalProtocolViolated(
            f"{len(said.responses)} answers came back for {len(exchange.steps)} commands"
        )
    answers: list[Response] = []
    for step, text in zip(exchange.steps, said.responses, strict=False):
        if answers and not _expected(exchange, answers):
            raise TerminalProtocolViolated(
                f"the terminal went on to '{step.name}' after an unexpected answer"
            )
        try:
            answer = Response.from_bytes(bytes.fromhex(text))
        except CardAnswerMalformed as error:
            raise TerminalProtocolViolated(f"the answer to '{step.name}' is no response APDU") from error
        if len(answer.data) > _longest(step):
            raise TerminalProtocolViolated(f"'{step.name}' brought more than it asks for")
        answers.append(answer)
    if len(answers) < len(exchange.steps) and _expected(exchange, answers):
        raise TerminalProtocolViolated(
            f"the terminal stopped after '{exchange.steps[len(answers) - 1].name}'"
        )
    return tuple(answers)


def ran_through(exchange: Exchange, answers: tuple[Response, ...]) -> bool:
    """Tell whether every step of *exchange* was done and answered what it may."""
    return len(answers) == len(exchange.steps) and _expected(exchange, list(answers))


def _expected(exchange: Exchange, answers: list[Response]) -> bool:
    """Tell whether the last of *answers* is one that its step may give."""
    return answers[-1].status in exchange.steps[len(answers) - 1].expect


def _hex(octets: bytes) -> str:
    return octets.hex().upper()
