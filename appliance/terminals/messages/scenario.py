"""Commands for a card, and the status words they may answer: plain, and signed."""

from typing import Annotated

import msgspec

from appliance.terminals.messages.frame import (
    MOST_STEPS,
    Alias,
    Count,
    Hex,
    Label,
    Message,
    Milliseconds,
    Nonce,
    Part,
    Sequence,
    SessionId,
    StatusText,
    StepName,
    require_hex,
)
from appliance.terminals.messages.vocabulary import Mode


class HolderVerification(Part, frozen=True):
    """Have the holder enter a PIN of *digits* digits and send VERIFY with it, once."""

    header: Annotated[str, msgspec.Meta(pattern=r"^0020[0-9A-F]{4}\Z")]
    """CLA, INS, P1 and P2. It is always VERIFY: under another instruction a PIN could be written to a file."""
    digits: Annotated[int, msgspec.Meta(ge=4, le=16)]


class ScenarioStep(Part, frozen=True, omit_defaults=True):
    """One step: a *command*, or *verify_holder*. The next one is done only where it answers one of *expect*."""

    name: StepName
    expect: Annotated[tuple[StatusText, ...], msgspec.Meta(min_length=1, max_length=32)]
    command: Hex | None = None
    verify_holder: HolderVerification | None = None

    def __post_init__(self) -> None:
        if (self.command is None) is (self.verify_holder is None):
            raise ValueError("a step is either a command or verify_holder")
        if self.command is not None:
            require_hex(self.command)
        if list(self.expect) != sorted(set(self.expect)):
            raise ValueError("expected status words stand once each, in ascending order")

    def __repr__(self) -> str:
        """Show the name; a command may hold what is personal."""
        return f"ScenarioStep({self.name!r})"


Steps = Annotated[tuple[ScenarioStep, ...], msgspec.Meta(min_length=1, max_length=MOST_STEPS)]


class Scenario(Message, frozen=True, tag="scenario"):
    """Commands for the session's card: done one after another until one answers what it should not."""

    session: SessionId
    seq: Sequence
    """0, 1, 2, … in each session."""
    deadline_ms: Milliseconds
    """What the terminal has for it from its arrival. Nothing is sent to the card afterwards."""
    steps: Steps


class SignedScenario(Message, frozen=True, tag="signed_scenario"):
    """A scenario as a compact JWS (RFC 7515) whose payload is `ScenarioClaims`."""

    jws: Annotated[
        str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z", max_length=20_000)
    ]

    def __repr__(self) -> str:
        """Show nothing of the claims, which hold commands."""
        return "SignedScenario()"


class ScenarioClaims(Part, frozen=True):
    """What a signed scenario says: the scenario, for whom, and until when."""

    iss: Label
    iat: Count
    exp: Count
    terminal: Alias
    nonce: Nonce
    """That of the terminal's `Hello`."""
    reader: Alias
    mode: Mode
    session: SessionId
    seq: Sequence
    deadline_ms: Milliseconds
    steps: Steps

    @property
    def scenario(self) -> Scenario:
        """The scenario that was signed."""
        return Scenario(session=self.session, seq=self.seq, deadline_ms=self.deadline_ms, steps=self.steps)
