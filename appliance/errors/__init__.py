"""
Every way to fail, each with a stable code.

A code is used word for word wherever the failure is met: exit message, problem body, metric label, ledger
entry, log. What a clerk or operator reads about it, in Japanese and English, stands in `catalogue.toml`
under the same code. A leaf exists only where a caller acts differently on it.

    ApplianceError
    ├── ConfigurationError   config_invalid, profile_invalid, profile_unsafe, part_missing, root_refused
    ├── InstitutionError     cvc_malformed, cvc_chain_invalid, institution_key_mismatch
    ├── CardError            what readers and cards do: absent, removed, mute, lying, refusing
    │   └── PinError         pin_rejected, pin_blocked, pin_last_try, pin_cancelled
    ├── TerminalError        terminals on the network: absent, lost, breaking the rules, refusing
    ├── TrustError           what the answer is worth: proof_invalid, wrong_mode, certificate_*, revocation_*
    ├── HsmError             where keys live: absent, unsafe, late, refusing
    ├── TokenError           token_invalid, jwks_invalid
    ├── LedgerError          what is remembered: unavailable, contended, damaged, rolled back
    ├── CeremonyError        ceremony_plan_invalid, ceremony_refused, ceremony_unfinished, transcript_invalid
    └── GatewayError         what is asked wrongly, too often, or by the wrong one; and what cannot be begun now

Foreign exceptions are mapped where they arise, always with `from`. Misuse of our own functions is a bug and
raises ValueError or TypeError instead.
"""

from appliance.errors.base import EX_CONFIG, EX_REFUSED, ApplianceError
from appliance.errors.card import (
    CardAbsent,
    CardAnswerMalformed,
    CardBusy,
    CardError,
    CardNotJpki,
    CardRemoved,
    CardStatusUnexpected,
    CardTimeout,
    CardUnreadable,
    CardWithoutFront,
    CardWithoutInstitutionMode,
    CertificateTooLong,
    InstitutionChainRefused,
    InstitutionSignatureRefused,
    PcscRefused,
    PcscUnavailable,
    PinBlocked,
    PinCancelled,
    PinError,
    PinLastTry,
    PinRejected,
    ReaderAbsent,
    ReaderAmbiguous,
    ReaderBusy,
    ReaderStuck,
    ReaderWithoutExtended,
    VerificationNumberBlocked,
    VerificationNumberInvalid,
    VerificationNumberLastTry,
    VerificationNumberRejected,
)
from appliance.errors.ceremony import (
    CeremonyError,
    CeremonyPlanInvalid,
    CeremonyRefused,
    CeremonyUnfinished,
    TranscriptInvalid,
)
from appliance.errors.configuration import (
    ConfigInvalid,
    ConfigurationError,
    PartMissing,
    ProfileInvalid,
    ProfileUnsafe,
    RootRefused,
)
from appliance.errors.gateway import (
    AccessDenied,
    BudgetSpent,
    GatewayBusy,
    GatewayDraining,
    GatewayError,
    IdempotencyConflict,
    MediaTypeRefused,
    MethodRefused,
    PeerUnknown,
    RequestLate,
    RequestMalformed,
    RequestTooLarge,
    ResourceAbsent,
)
from appliance.errors.hsm import (
    HsmBusy,
    HsmError,
    HsmKeyAbsent,
    HsmKeyAmbiguous,
    HsmKeyUnsafe,
    HsmModuleUnusable,
    HsmPinRejected,
    HsmPinUnavailable,
    HsmRequestRefused,
    HsmSigningFailed,
    HsmTimeout,
    HsmTokenAbsent,
    HsmTokenAmbiguous,
    HsmUnavailable,
)
from appliance.errors.institution import (
    CvcChainInvalid,
    CvcMalformed,
    InstitutionError,
    InstitutionKeyMismatch,
)
from appliance.errors.ledger import (
    LedgerContended,
    LedgerDamaged,
    LedgerEntryAbsent,
    LedgerError,
    LedgerNotCopied,
    LedgerProofInvalid,
    LedgerRolledBack,
    LedgerUnavailable,
    LedgerUnusable,
)
from appliance.errors.terminal import (
    DeskUnknown,
    TerminalAbsent,
    TerminalCancelled,
    TerminalCommandRefused,
    TerminalError,
    TerminalFlooding,
    TerminalLost,
    TerminalMessageInvalid,
    TerminalProtocolViolated,
    TerminalsFull,
    TerminalSignatureRefused,
    TerminalSigningOff,
)
from appliance.errors.token import JwksInvalid, TokenError, TokenInvalid
from appliance.errors.trust import (
    CertificateExpired,
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateRevoked,
    CertificateUnknown,
    CertificateUnsuitable,
    CertificateUntrusted,
    Defect,
    Distrust,
    EvidenceInvalid,
    FrontImageUnreadable,
    FrontNotGenuine,
    IdentityCheckMissing,
    ProofInvalid,
    RevocationDataInvalid,
    RevocationDefect,
    RevocationStale,
    RevocationUnavailable,
    TrustError,
    WrongMode,
)

__all__ = [
    "BY_CODE",
    "EX_CONFIG",
    "EX_REFUSED",
    "AccessDenied",
    "ApplianceError",
    "BudgetSpent",
    "CardAbsent",
    "CardAnswerMalformed",
    "CardBusy",
    "CardError",
    "CardNotJpki",
    "CardRemoved",
    "CardStatusUnexpected",
    "CardTimeout",
    "CardUnreadable",
    "CardWithoutFront",
    "CardWithoutInstitutionMode",
    "CeremonyError",
    "CeremonyPlanInvalid",
    "CeremonyRefused",
    "CeremonyUnfinished",
    "CertificateExpired",
    "CertificateMalformed",
    "CertificateNotYetValid",
    "CertificateRevoked",
    "CertificateTooLong",
    "CertificateUnknown",
    "CertificateUnsuitable",
    "CertificateUntrusted",
    "ConfigInvalid",
    "ConfigurationError",
    "CvcChainInvalid",
    "CvcMalformed",
    "Defect",
    "DeskUnknown",
    "Distrust",
    "EvidenceInvalid",
    "FrontImageUnreadable",
    "FrontNotGenuine",
    "GatewayBusy",
    "GatewayDraining",
    "GatewayError",
    "HsmBusy",
    "HsmError",
    "HsmKeyAbsent",
    "HsmKeyAmbiguous",
    "HsmKeyUnsafe",
    "HsmModuleUnusable",
    "HsmPinRejected",
    "HsmPinUnavailable",
    "HsmRequestRefused",
    "HsmSigningFailed",
    "HsmTimeout",
    "HsmTokenAbsent",
    "HsmTokenAmbiguous",
    "HsmUnavailable",
    "IdempotencyConflict",
    "IdentityCheckMissing",
    "InstitutionChainRefused",
    "InstitutionError",
    "InstitutionKeyMismatch",
    "InstitutionSignatureRefused",
    "JwksInvalid",
    "LedgerContended",
    "LedgerDamaged",
    "LedgerEntryAbsent",
    "LedgerError",
    "LedgerNotCopied",
    "LedgerProofInvalid",
    "LedgerRolledBack",
    "LedgerUnavailable",
    "LedgerUnusable",
    "MediaTypeRefused",
    "MethodRefused",
    "PartMissing",
    "PcscRefused",
    "PcscUnavailable",
    "PeerUnknown",
    "PinBlocked",
    "PinCancelled",
    "PinError",
    "PinLastTry",
    "PinRejected",
    "ProfileInvalid",
    "ProfileUnsafe",
    "ProofInvalid",
    "ReaderAbsent",
    "ReaderAmbiguous",
    "ReaderBusy",
    "ReaderStuck",
    "ReaderWithoutExtended",
    "RequestLate",
    "RequestMalformed",
    "RequestTooLarge",
    "ResourceAbsent",
    "RevocationDataInvalid",
    "RevocationDefect",
    "RevocationStale",
    "RevocationUnavailable",
    "RootRefused",
    "TerminalAbsent",
    "TerminalCancelled",
    "TerminalCommandRefused",
    "TerminalError",
    "TerminalFlooding",
    "TerminalLost",
    "TerminalMessageInvalid",
    "TerminalProtocolViolated",
    "TerminalSignatureRefused",
    "TerminalSigningOff",
    "TerminalsFull",
    "TokenError",
    "TokenInvalid",
    "TranscriptInvalid",
    "TrustError",
    "VerificationNumberBlocked",
    "VerificationNumberInvalid",
    "VerificationNumberLastTry",
    "VerificationNumberRejected",
    "WrongMode",
]


def _leaves(branch: type[ApplianceError]) -> dict[str, type[ApplianceError]]:
    found = {} if branch.code == "internal" else {branch.code: branch}
    for kind in branch.__subclasses__():
        found |= _leaves(kind)
    return found


_BRANCHES = (
    ConfigurationError,
    InstitutionError,
    CardError,
    TerminalError,
    TrustError,
    HsmError,
    TokenError,
    LedgerError,
    CeremonyError,
    GatewayError,
)

BY_CODE = {code: leaf for branch in _BRANCHES for code, leaf in _leaves(branch).items()}
"""Every leaf by its code, in the catalogue's order: the closed set that labels, problems and ledger entries draw from."""
