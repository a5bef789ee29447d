"""What HSMs and the workers that speak with them do."""

from appliance.errors.base import EX_CONFIG, ApplianceError


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
