"""
What terminal and appliance say to one another: the subprotocol `jpki-terminal.v1`, as values.

    terminal                                     appliance
    Hello, Card           ──▶
                          ◀──                    Welcome
                          ◀──                    Start          a person may be asked to place the card
    Card                  ──▶                                   one lies there now
                          ◀──                    Scenario       commands, and the status words they may answer
    Responses             ──▶
                          ◀──                    Scenario
    Responses             ──▶
                          ◀──                    Result
    Problem, Abort        ──▶  ◀──               Problem, Abort end a session at any time

Pure: no I/O, clock or randomness. Everything a frame holds is bounded and of one spelling; what is in a frame that nobody
asked for is refused. When which message may come stands in `sessions`; `docs/terminal-protocol.md` is for those who write
a terminal of their own. APDUs may hold what is personal, so no message shows them in its repr.
"""

from appliance.terminals.messages.coding import (
    decode_claims,
    decode_from_appliance,
    decode_from_terminal,
    encode,
)
from appliance.terminals.messages.frame import (
    LARGEST_ANSWER,
    LARGEST_FRAME,
    MOST_READERS,
    MOST_STEPS,
    SUBPROTOCOL,
    Alias,
    Code,
    Count,
    Hex,
    Label,
    Milliseconds,
    Nonce,
    Sequence,
    SessionId,
    StatusText,
    StepName,
    Text,
    require_hex,
)
from appliance.terminals.messages.from_appliance import (
    ApplianceProblem,
    Drain,
    FromAppliance,
    Jwk,
    Result,
    Start,
    Welcome,
)
from appliance.terminals.messages.from_terminal import (
    Abort,
    Card,
    FromTerminal,
    Hello,
    Reader,
    Responses,
    TerminalProblem,
)
from appliance.terminals.messages.scenario import (
    HolderVerification,
    Scenario,
    ScenarioClaims,
    ScenarioStep,
    SignedScenario,
    Steps,
)
from appliance.terminals.messages.vocabulary import (
    CardState,
    CloseCode,
    Mode,
    Outcome,
    PinEntry,
    TerminalCode,
)

__all__ = [
    "LARGEST_ANSWER",
    "LARGEST_FRAME",
    "MOST_READERS",
    "MOST_STEPS",
    "SUBPROTOCOL",
    "Abort",
    "Alias",
    "ApplianceProblem",
    "Card",
    "CardState",
    "CloseCode",
    "Code",
    "Count",
    "Drain",
    "FromAppliance",
    "FromTerminal",
    "Hello",
    "Hex",
    "HolderVerification",
    "Jwk",
    "Label",
    "Milliseconds",
    "Mode",
    "Nonce",
    "Outcome",
    "PinEntry",
    "Reader",
    "Responses",
    "Result",
    "Scenario",
    "ScenarioClaims",
    "ScenarioStep",
    "Sequence",
    "SessionId",
    "SignedScenario",
    "Start",
    "StatusText",
    "StepName",
    "Steps",
    "TerminalCode",
    "TerminalProblem",
    "Text",
    "Welcome",
    "decode_claims",
    "decode_from_appliance",
    "decode_from_terminal",
    "encode",
    "require_hex",
]
