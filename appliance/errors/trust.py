"""What keeps an answer from proving what was asked."""

from enum import StrEnum

from appliance.errors.base import ApplianceError


class TrustError(ApplianceError):
    """The card answered, and the answer does not prove what was asked."""


class IdentityCheckMissing(TrustError):
    """PIN-less authentication was asked for without saying how the holder was checked."""

    code = "identity_check_missing"


class FaceDeviceUnknown(TrustError):
    """A face check was claimed at a desk where none is registered, or in another device's name."""

    code = "face_device_unknown"


class OperatorUnknown(TrustError):
    """A visual check was claimed in the name of somebody who is not among the operators."""

    code = "operator_unknown"


class FrontMissing(TrustError):
    """A visual check was claimed without reading the front in the same session."""

    code = "front_missing"


class HolderNotMatched(TrustError):
    """The operator says that the person is not the one on the card's front."""

    code = "holder_not_matched"


class DecisionLate(TrustError):
    """Nobody said in time whether the person is the one on the card's front."""

    code = "decision_late"


class EmergencyClosed(TrustError):
    """It was claimed that nobody could check the holder, and no emergency window is open for this desk."""

    code = "emergency_closed"


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
