"""
A conversation with a card as a generator: ordinary code that yields what only the outside can do.

Two kinds of request are yielded, and the answer to each is sent back in:

    Exchange(steps)                 -> the responses, in order     one round trip to the terminal
    InstitutionSignature(challenge) -> the signature               the HSM

A far end works through the steps of an exchange until one answers a status word that the step does not
expect, and returns what it has, that last answer included. What an unexpected word means is for the
dialogue to say: at the end of a file it is no error at all. Among the steps may be `VerifyHolder`: the far
end takes the PIN from its user and sends VERIFY itself, once. No PIN ever enters a dialogue.

Whoever drives a dialogue wraps `next` and `send` alone in `try`, so that a channel which leaks StopIteration
cannot end it as if it had succeeded.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from appliance.card.apdu import SUCCESS, Command, Response
from appliance.card.profile import Header
from appliance.errors import CardAnswerMalformed


@dataclass(frozen=True, slots=True)
class Step:
    """A *command* and the status words it may answer; *name* is what people and metrics call it."""

    name: str
    command: Command
    expect: frozenset[int] = frozenset({SUCCESS})


@dataclass(frozen=True, slots=True)
class VerifyHolder:
    """
    Have the far end ask its user for the PIN and send VERIFY with it, once.

    *header* is that of VERIFY. A PIN has *digits* digits; the far end checks that before it sends anything.
    """

    name: str
    header: Header
    digits: int
    expect: frozenset[int] = frozenset({SUCCESS})


@dataclass(frozen=True, slots=True)
class Exchange:
    """A batch of steps: one round trip to the terminal, whatever the network."""

    steps: tuple[Step | VerifyHolder, ...]


@dataclass(frozen=True, slots=True)
class InstitutionSignature:
    """Have the institution key sign the card's *challenge*."""

    challenge: bytes


Request: TypeAlias = Exchange | InstitutionSignature
Answer: TypeAlias = tuple[Response, ...] | bytes

T = TypeVar("T")
Dialogue: TypeAlias = Generator[Request, Answer, T]
"""What every conversation with a card is; `T` is what it ends with."""


def exchange(*steps: Step | VerifyHolder) -> Dialogue[tuple[Response, ...]]:
    """
    Have *steps* done, and return the answers: one for each, or fewer where the last is unexpected.

    Raises CardAnswerMalformed for what no far end working by the rules would return.
    """
    responses = yield Exchange(steps)
    if not isinstance(responses, tuple):
        raise TypeError("an exchange is answered with responses")
    if not 1 <= len(responses) <= len(steps):
        raise CardAnswerMalformed(f"{len(responses)} answers came back for {len(steps)} commands")
    for step, response in zip(steps, responses[:-1], strict=False):
        if response.status not in step.expect:
            raise CardAnswerMalformed(f"the terminal went on after {response.status:04X} to '{step.name}'")
    if len(responses) < len(steps) and responses[-1].status in steps[len(responses) - 1].expect:
        raise CardAnswerMalformed(f"the terminal stopped after '{steps[len(responses) - 1].name}'")
    return responses


def institution_signature(challenge: bytes) -> Dialogue[bytes]:
    """Have *challenge* signed by the institution key, and return the signature."""
    signature = yield InstitutionSignature(challenge)
    if not isinstance(signature, bytes):
        raise TypeError("a challenge is answered with a signature")
    return signature
