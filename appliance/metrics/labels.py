"""Labels' values: closed sets, so that nobody outside can make new ones."""

from functools import cache
from typing import Final, Literal, TypeAlias

from appliance.authentication import CheckMethod
from appliance.card.jpki import Mode
from appliance.errors import (
    BY_CODE,
    CardError,
    ConfigurationError,
    EligibilityError,
    EligibilityNotConfigured,
    EligibilityPartMissing,
    EvidenceInvalid,
    GatewayBusy,
    HsmError,
    InstitutionError,
    LedgerError,
    TerminalError,
    TrustError,
)
from appliance.hsm.ladder import Rung

Transport: TypeAlias = Literal["local", "remote"]
"""How a card was spoken to: on a reader of this machine, or of a terminal."""

TRANSPORTS: Final[tuple[Transport, ...]] = ("local", "remote")
AUTHENTICATED: Final = "authenticated"
CANCELLED: Final = "cancelled"
ANSWERED: Final = "answered"
OTHER: Final = "other"

PHASES: Final = ("total", "exchange", "reserve", "institution-signature", "revocation", "finish", "token")
"""Parts of an authentication; `total` begins when a card is there."""
STEPS: Final = (
    *("select-application", "select-anchor", "load-body", "load-signature", "get-challenge"),
    *("present-signature", "select-key", "sign", "select-certificate", "read-certificate"),
    *("select-pin", "query-pin", "verify-holder"),
    *("select-surface", "select-number", "query-number", "verify-number", "select-front", "read-front"),
    *("select-issuer", "read-issuer", "prove-genuine"),
)
"""The dialogues' steps by their names in `card`."""
EXCHANGE: Final = "exchange"
"""All steps of one exchange with a remote terminal, its network included: how long each takes, only the terminal knows."""
TALKS: Final = ("pinless", "pin", "front", "visual")
"""What sessions with remote terminals are for, as `terminals.messages.Mode` has it."""
STATUSES: Final = (
    *("9000", "6282", "6300", "63cx", "6700", "6982", "6983", "6984", "6985", "6a80", "6a81", "6a82", "6a86"),
    *("6b00", "6d00", "6e00"),
)
"""Status words that are told apart; 63Cx stands for every number of tries left."""
ENDING_DAYS: Final = (30, 90)


def transport_of(desk: str) -> Transport:
    """Return how cards at *desk* are spoken to: a remote one is called TERMINAL.READER."""
    return "remote" if "." in desk else "local"


def refusals() -> list[str]:
    """Return the codes that an authentication can end with."""
    # Too busy is, within one, whoever makes the images of a front that somebody is to look at.
    ends = (CardError, TerminalError, TrustError, HsmError, LedgerError, GatewayBusy)
    return [
        code
        for code, kind in BY_CODE.items()
        if issubclass(kind, ends) and not issubclass(kind, EvidenceInvalid)
    ]


def eligibility_outcomes() -> list[str]:
    """Return what becomes of a question to the eligibility service."""
    never = (EligibilityNotConfigured, EligibilityPartMissing)  # nobody is asked then
    failures = (
        code
        for code, kind in BY_CODE.items()
        if issubclass(kind, EligibilityError) and not issubclass(kind, never)
    )
    return [ANSWERED, CANCELLED, *failures]


def hsm_codes() -> list[str]:
    """Return the codes that a worker of an HSM can fail with (`hsm.crews.recruit.error_of`)."""
    ends = (HsmError, InstitutionError, ConfigurationError)
    return [code for code, kind in BY_CODE.items() if issubclass(kind, ends)]


def rung_name(rung: Rung) -> str:
    """Return what *rung* is called."""
    return rung.name.lower().replace("_", "-")


@cache
def status_label(word: int) -> str:
    """Return under what the status *word*, of two bytes, is counted."""
    text = f"{word:04x}"
    text = "63cx" if text.startswith("63c") else text
    return text if text in KNOWN_STATUSES else OTHER


NO_CHECK: Final = "none"
"""Of an authentication that ended before a card was there, where nobody asks how its holder was checked."""
CHECKS: Final = (
    *((Mode.PIN, CheckMethod.PIN.value), (Mode.PINLESS, CheckMethod.FACE.value)),
    *((Mode.PINLESS, CheckMethod.VISUAL.value), (Mode.PINLESS, CheckMethod.NONE_EMERGENCY.value)),
    (Mode.PINLESS, NO_CHECK),
)
KNOWN_STEPS: Final = frozenset((*STEPS, EXCHANGE))
KNOWN_STATUSES: Final = frozenset(STATUSES)
REVOCATION_RESULTS: Final = (
    *("good", "certificate_revoked", "certificate_unknown"),
    *("revocation_stale", "revocation_unavailable", "revocation_data_invalid"),
)
