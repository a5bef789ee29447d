"""What the appliance says."""

from typing import Literal, TypeAlias

from appliance.terminals.messages.frame import (
    Alias,
    Code,
    Coordinate,
    Label,
    Message,
    Milliseconds,
    Part,
    SessionId,
    Text,
)
from appliance.terminals.messages.from_terminal import Abort
from appliance.terminals.messages.scenario import Scenario, SignedScenario
from appliance.terminals.messages.vocabulary import Mode, Outcome


class Jwk(Part, frozen=True):
    """The public key that signs scenarios (RFC 7517)."""

    x: Coordinate
    y: Coordinate
    kid: Coordinate
    """RFC 7638 thumbprint."""
    kty: Literal["EC"] = "EC"
    crv: Literal["P-256"] = "P-256"
    use: Literal["sig"] = "sig"
    alg: Literal["ES256"] = "ES256"


class Welcome(Message, frozen=True, tag="welcome"):
    """The terminal is connected as *terminal*."""

    terminal: Alias
    heartbeat_ms: Milliseconds
    """The appliance sends a WebSocket ping this often. Two without a ping: the connection is dead."""
    issuer: Label
    """`iss` of signed scenarios."""
    scenario_key: Jwk | None = None
    """What verifies signed scenarios; null where there are none."""


class Start(Message, frozen=True, tag="start"):
    """A session begins at *reader*: its card, or the next one that is put on it within *wait_ms*, is spoken to."""

    session: SessionId
    reader: Alias
    mode: Mode
    wait_ms: Milliseconds


class Result(Message, frozen=True, tag="result"):
    """The session came to its end; the card may be taken away."""

    session: SessionId
    outcome: Outcome
    code: Code | None = None
    """Why it was refused."""


class ApplianceProblem(Message, frozen=True, tag="problem"):
    """The *session* is over for the reason *code*; without a session, the connection is about to be closed."""

    code: Code
    session: SessionId | None = None
    detail: Text = ""


class Drain(Message, frozen=True, tag="drain"):
    """The appliance is about to stop: no new session; connect again in *retry_ms*, to another node where there is one."""

    retry_ms: Milliseconds


FromAppliance: TypeAlias = (
    Welcome | Start | Scenario | SignedScenario | Result | ApplianceProblem | Abort | Drain
)
