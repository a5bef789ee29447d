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
    ├── TrustError           what the answer is worth: proof_invalid, wrong_mode, certificate_*
    ├── HsmError             where keys live: absent, unsafe, late, refusing
    ├── TokenError           token_invalid, jwks_invalid
    └── CeremonyError        ceremony_plan_invalid, ceremony_refused, ceremony_unfinished, transcript_invalid

Foreign exceptions are mapped where they arise, always with `from`. Misuse of our own functions is a bug and
raises ValueError or TypeError instead.
"""

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


class ReaderAbsent(CardError):
    """No connected reader has the configured name."""

    code = "reader_absent"


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


class CertificateUntrusted(TrustError):
    """No configured CA has issued the holder's certificate."""

    code = "certificate_untrusted"


class CertificateUnsuitable(TrustError):
    """A configured CA issued the certificate, but not for user authentication under the JPKI policy."""

    code = "certificate_unsuitable"


class CertificateExpired(TrustError):
    """The holder's certificate has ended."""

    code = "certificate_expired"


class CertificateNotYetValid(TrustError):
    """The holder's certificate begins in the future: a wrong clock, or a wrong certificate."""

    code = "certificate_not_yet_valid"


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
