"""
Every way to fail, each with a stable code.

A code is used word for word wherever the failure is met: exit message, problem body, metric label, ledger
entry, log. What a clerk or operator reads about it, in Japanese and English, stands in `catalogue.toml`
under the same code. A leaf exists only where a caller acts differently on it.

    ApplianceError
    ├── ConfigurationError   config_invalid, profile_invalid, profile_unsafe, part_missing
    ├── InstitutionError     cvc_malformed, cvc_chain_invalid, institution_key_mismatch
    ├── CardError            what readers and cards do: absent, removed, mute, lying, refusing
    │   └── PinError         pin_rejected, pin_blocked, pin_last_try, pin_cancelled
    ├── TrustError           what the answer is worth: proof_invalid, wrong_mode, certificate_*, revocation_*
    ├── HsmError             where keys live: absent, unsafe, late, refusing
    ├── TokenError           token_invalid, jwks_invalid
    ├── LedgerError          what is remembered: unavailable, contended, damaged, rolled back
    └── CeremonyError        ceremony_plan_invalid, ceremony_refused, ceremony_unfinished, transcript_invalid

Foreign exceptions are mapped where they arise, always with `from`. Misuse of our own functions is a bug and
raises ValueError or TypeError instead.
"""

from enum import StrEnum
from typing import ClassVar

EX_REFUSED = 1
"""Exit status of a refusal."""
EX_CONFIG = 78
"""Exit status (sysexits.h) of what no restart can heal; the systemd unit does not restart after it."""


class ApplianceError(Exception):
    """A failure of ours: *detail* says what happened, in English, without personal data or secrets."""

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = EX_REFUSED

    def __init__(self, detail: str) -> None:
        super().__init__(f"{self.code}: {detail}")
        self.detail = detail


# --- configuration ---------------------------------------------------------------------------------------


class ConfigurationError(ApplianceError):
    """The appliance was set up in a way it cannot work with."""

    exit_status = EX_CONFIG


class ConfigInvalid(ConfigurationError):
    """The configuration file, or a file it names, is missing, unreadable or wrong."""

    code = "config_invalid"


class ProfileInvalid(ConfigurationError):
    """A card profile lacks a value, has an unknown one, or one that cannot be."""

    code = "profile_invalid"


class ProfileUnsafe(ConfigurationError):
    """A card profile could work, but would weaken what the institution key or a proof is worth."""

    code = "profile_unsafe"


class PartMissing(ConfigurationError):
    """A program or library of the system is not installed; the detail names its package."""

    code = "part_missing"


# --- the institution's certificates ----------------------------------------------------------------------


class InstitutionError(ApplianceError):
    """The institution's certificate chain cannot be used."""


class CvcMalformed(InstitutionError):
    """A card-verifiable certificate has not the one shape the card takes."""

    code = "cvc_malformed"


class CvcChainInvalid(InstitutionError):
    """Card-verifiable certificates are well-formed but do not certify one another."""

    code = "cvc_chain_invalid"


class InstitutionKeyMismatch(InstitutionError):
    """The HSM holds no key for the institution certificate."""

    code = "institution_key_mismatch"


# --- readers and cards -----------------------------------------------------------------------------------


class CardError(ApplianceError):
    """The reader or the card did not do its part."""


class PcscUnavailable(CardError):
    """The PC/SC service cannot be reached."""

    code = "pcsc_unavailable"


class PcscRefused(PcscUnavailable):
    """The PC/SC service runs, and its rules (polkit) do not let this account use it."""

    code = "pcsc_refused"


class ReaderAbsent(CardError):
    """No connected reader has the configured name."""

    code = "reader_absent"


class ReaderAmbiguous(CardError):
    """The configured name fits several readers, or one reader has two names: whose desk it is cannot be known."""

    code = "reader_ambiguous"


class ReaderBusy(CardError):
    """Another authentication of ours is under way at this reader."""

    code = "reader_busy"


class ReaderStuck(CardError):
    """The card before does not let go of the reader: its last command has not come back."""

    code = "reader_stuck"


class ReaderWithoutExtended(CardError):
    """The reader cannot transmit the extended APDUs that 特定機関認証 needs."""

    code = "reader_without_extended"


class CardAbsent(CardError):
    """There is no card on the reader."""

    code = "card_absent"


class CardBusy(CardError):
    """Another program holds the card."""

    code = "card_busy"


class CardRemoved(CardError):
    """The card left the reader, or was reset, in the middle."""

    code = "card_removed"


class CardTimeout(CardError):
    """The card did not answer within the deadline."""

    code = "card_timeout"


class CardUnreadable(CardError):
    """The reader reports a transmission failure."""

    code = "card_unreadable"


class CardAnswerMalformed(CardError):
    """The card answered something that is not a response, or not of the promised shape."""

    code = "card_answer_malformed"


class CardStatusUnexpected(CardError):
    """The card answered *status* at *step*, which no rule of the profile foresees."""

    code = "card_status_unexpected"

    def __init__(self, step: str, status: int) -> None:
        super().__init__(f"the card answered {status:04X} to '{step}'")
        self.step = step
        self.status = status


class CardNotJpki(CardError):
    """The card has no JPKI application: it is not a My Number card."""

    code = "card_not_jpki"


class CardWithoutInstitutionMode(CardError):
    """The card does not know 特定機関認証; another mode is another request."""

    code = "card_without_institution_mode"


class InstitutionChainRefused(CardError):
    """The card did not accept a certificate of the institution's chain."""

    code = "institution_chain_refused"


class InstitutionSignatureRefused(CardError):
    """The card did not accept the institution's signature over its challenge."""

    code = "institution_signature_refused"


class CertificateTooLong(CardError):
    """The certificate file announces more than a holder certificate can have."""

    code = "certificate_too_long"


class PinError(CardError):
    """The holder's PIN did not open the card. VERIFY is never sent twice."""


class PinRejected(PinError):
    """The PIN was wrong; *tries_left* remain."""

    code = "pin_rejected"

    def __init__(self, tries_left: int) -> None:
        super().__init__(f"the card refused the PIN; tries left: {tries_left}")
        self.tries_left = tries_left


class PinBlocked(PinError):
    """No try is left; only the municipal office can reset the PIN."""

    code = "pin_blocked"


class PinLastTry(PinError):
    """One try is left, and the request did not say that it may be used."""

    code = "pin_last_try"


class PinCancelled(PinError):
    """The holder did not enter a PIN, or something that is not one."""

    code = "pin_cancelled"


class CardWithoutFront(CardError):
    """There is no front to read: a phone, or another kind of card."""

    code = "card_without_front"


class VerificationNumberInvalid(CardError):
    """What was given for 照合番号B is not one; no try was used."""

    code = "verification_number_invalid"


class VerificationNumberRejected(CardError):
    """照合番号B was not this card's; *tries_left* remain."""

    code = "verification_number_rejected"

    def __init__(self, tries_left: int) -> None:
        super().__init__(f"the card refused the verification number; tries left: {tries_left}")
        self.tries_left = tries_left


class VerificationNumberBlocked(CardError):
    """No try of 照合番号B is left; the front cannot be read any more."""

    code = "verification_number_blocked"


class VerificationNumberLastTry(CardError):
    """One try of 照合番号B is left, and the request did not say that it may be used."""

    code = "verification_number_last_try"


# --- what the answer is worth ----------------------------------------------------------------------------


class TrustError(ApplianceError):
    """The card answered, and the answer does not prove what was asked."""


class IdentityCheckMissing(TrustError):
    """PIN-less authentication was asked for without saying how the holder was checked."""

    code = "identity_check_missing"


class ProofInvalid(TrustError):
    """The signature does not fit the message, in any mode."""

    code = "proof_invalid"


class WrongMode(TrustError):
    """The signature is over our nonce, but in the mode that was not asked for."""

    code = "wrong_mode"


class CertificateMalformed(TrustError):
    """What the card gave as the holder's certificate is not an X.509 certificate."""

    code = "certificate_malformed"


class Distrust(StrEnum):
    """Why no configured CA stands behind a certificate."""

    NO_ISSUER = "no-issuer"
    ISSUER_NOT_VALID = "issuer-not-valid"


class CertificateUntrusted(TrustError):
    """No configured CA has issued the holder's certificate; *reason* says what is known."""

    code = "certificate_untrusted"

    def __init__(self, reason: Distrust, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Defect(StrEnum):
    """What makes a certificate of a configured CA unfit for user authentication."""

    AUTHORITY = "authority"
    SIGNATURE_ALGORITHM = "signature-algorithm"
    KEY = "key"
    KEY_USAGE = "key-usage"
    POLICY = "policy"
    CRITICAL_EXTENSION = "critical-extension"
    PATH = "path"
    PROFILE = "profile"


class CertificateUnsuitable(TrustError):
    """A configured CA issued the certificate, but its *reason* keeps it from authenticating under the JPKI policy."""

    code = "certificate_unsuitable"

    def __init__(self, reason: Defect, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class CertificateExpired(TrustError):
    """The holder's certificate has ended."""

    code = "certificate_expired"


class CertificateNotYetValid(TrustError):
    """The holder's certificate begins in the future: a wrong clock, or a wrong certificate."""

    code = "certificate_not_yet_valid"


class CertificateRevoked(TrustError):
    """The issuer has revoked the holder's certificate."""

    code = "certificate_revoked"


class CertificateUnknown(TrustError):
    """The issuer's responder does not know the certificate: neither good nor revoked."""

    code = "certificate_unknown"


class RevocationUnavailable(TrustError):
    """No source could say whether the certificate was revoked."""

    code = "revocation_unavailable"


class RevocationStale(TrustError):
    """What is known of revocation is older than it may be."""

    code = "revocation_stale"


class RevocationDefect(StrEnum):
    """Why a CRL or an OCSP answer is not used."""

    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    ALGORITHM = "algorithm"
    ISSUER = "issuer"
    SIGNATURE = "signature"
    RESPONDER = "responder"
    SCOPE = "scope"
    EXTENSION = "extension"
    FUTURE = "future"
    STALE = "stale"
    ROLLED_BACK = "rolled-back"
    WITHOUT_BASE = "without-base"
    CERTIFICATE = "certificate"
    NONCE = "nonce"


class RevocationDataInvalid(TrustError):
    """A CRL or an OCSP answer is not one to rely on, for the *reason* given."""

    code = "revocation_data_invalid"

    def __init__(self, reason: RevocationDefect, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class EvidenceInvalid(TrustError):
    """Evidence does not show what it has to; *step* is the check that it fails."""

    code = "evidence_invalid"

    def __init__(self, step: str, detail: str) -> None:
        super().__init__(f"step '{step}': {detail}")
        self.step = step


class FrontNotGenuine(TrustError):
    """The front's signatures do not hold, or the card cannot prove that the front is its own."""

    code = "front_not_genuine"


class FrontImageUnreadable(TrustError):
    """An image on the front cannot be shown."""

    code = "front_image_unreadable"


# --- where keys live -------------------------------------------------------------------------------------


class HsmError(ApplianceError):
    """The HSM, or the worker process that speaks with it, did not do its part."""


class HsmModuleUnusable(HsmError):
    """The PKCS#11 module cannot be loaded or initialised."""

    code = "hsm_module_unusable"


class HsmTokenAbsent(HsmError):
    """No slot of the module holds the configured token."""

    code = "hsm_token_absent"


class HsmTokenAmbiguous(HsmError):
    """More than one slot holds a token of the configured name."""

    code = "hsm_token_ambiguous"


class HsmPinUnavailable(HsmError):
    """The credential file with the HSM's PIN cannot be read, or others can read it."""

    code = "hsm_pin_unavailable"
    exit_status = EX_CONFIG


class HsmPinRejected(HsmError):
    """The HSM refused the PIN, or has few tries left. Never tried a second time."""

    code = "hsm_pin_rejected"
    exit_status = EX_CONFIG


class HsmKeyAbsent(HsmError):
    """The HSM holds no private key for a pinned public key."""

    code = "hsm_key_absent"


class HsmKeyAmbiguous(HsmError):
    """The HSM holds more than one private key for a pinned public key."""

    code = "hsm_key_ambiguous"


class HsmKeyUnsafe(HsmError):
    """A key's attributes allow more than signing, or it was not made in the HSM."""

    code = "hsm_key_unsafe"


class HsmSigningFailed(HsmError):
    """The module returned an error, or a signature that the pinned public key does not verify."""

    code = "hsm_signing_failed"


class HsmRequestRefused(HsmError):
    """The worker was asked to sign what it must not sign."""

    code = "hsm_request_refused"


class HsmTimeout(HsmError):
    """No answer within the deadline, and nobody knows whether there is a signature."""

    code = "hsm_timeout"


class HsmBusy(HsmError):
    """Too many requests wait for the HSM; nothing was signed, and the same request may come again."""

    code = "hsm_busy"


class HsmUnavailable(HsmError):
    """No worker is there to sign: it died, was ended, or has not come up."""

    code = "hsm_unavailable"


# --- result tokens ---------------------------------------------------------------------------------------


class TokenError(ApplianceError):
    """A result token cannot be accepted."""


class TokenInvalid(TokenError):
    """The token's signature, shape, audience or time is wrong."""

    code = "token_invalid"


class JwksInvalid(TokenError):
    """The JWKS file is not a set of public keys of ours."""

    code = "jwks_invalid"


# --- what is remembered ----------------------------------------------------------------------------------


class LedgerError(ApplianceError):
    """The ledger cannot be written, or is not what it was."""


class LedgerUnavailable(LedgerError):
    """The store did not make an entry durable in time; nothing was signed for it."""

    code = "ledger_unavailable"


class LedgerContended(LedgerError):
    """Another process writes the log of this origin."""

    code = "ledger_contended"


class LedgerUnusable(LedgerError):
    """The database is not one of ours, is newer than this program, or holds a log that was closed for good."""

    code = "ledger_unusable"
    exit_status = EX_CONFIG


class LedgerDamaged(LedgerError):
    """What the store holds does not agree with itself, or with a checkpoint that was signed over it."""

    code = "ledger_damaged"


class LedgerRolledBack(LedgerError):
    """The log is older than a checkpoint of it that is known elsewhere: to write on would fork it."""

    code = "ledger_rolled_back"
    exit_status = EX_CONFIG


class LedgerNotCopied(LedgerError):
    """No copy of a checkpoint has left the machine for longer than is allowed."""

    code = "ledger_not_copied"


class LedgerProofInvalid(LedgerError):
    """A note, checkpoint, proof, key or tile is malformed, or not what its key has signed."""

    code = "ledger_proof_invalid"


class LedgerEntryAbsent(LedgerError):
    """The log has no such entry, not yet under a checkpoint, or no longer."""

    code = "ledger_entry_absent"


# --- ceremonies ------------------------------------------------------------------------------------------


class CeremonyError(ApplianceError):
    """A ceremony was not held, or what is left of one does not prove it."""


class CeremonyPlanInvalid(CeremonyError):
    """The plan of a ceremony is missing, unreadable or wrong."""

    code = "ceremony_plan_invalid"
    exit_status = EX_CONFIG


class CeremonyRefused(CeremonyError):
    """The plan is in order, but not the reviewed one, or its effects would replace what is there."""

    code = "ceremony_refused"


class CeremonyUnfinished(CeremonyError):
    """An earlier run of the same ceremony was interrupted and has left keys in the token."""

    code = "ceremony_unfinished"


class TranscriptInvalid(CeremonyError):
    """A transcript is not what its keys have signed, or does not show what it has to."""

    code = "transcript_invalid"


def _leaves(branch: type[ApplianceError]) -> dict[str, type[ApplianceError]]:
    found = {} if branch.code == "internal" else {branch.code: branch}
    for kind in branch.__subclasses__():
        found |= _leaves(kind)
    return found


BY_CODE = _leaves(ApplianceError)
"""Every leaf by its code: the closed set that labels, problems and ledger entries draw from."""
