"""What readers and cards do: absent, removed, mute, lying, refusing."""

from appliance.errors.base import ApplianceError


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


class CardWithoutPin(PinError):
    """No PIN of this card can be used, as on a 顔認証マイナンバーカード."""

    code = "card_without_pin"


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
