"""
What is done when a module fails, as data: return value and operation lead to how bad it is and what is tried first.

    rung             what is done                                              by
    0 retry          the same once more, on the same session                   worker
    1 find_key       drop the key object and find the key again                worker
    2 new_session    open another session, find all keys again                 worker
    3 reinitialise   finalize, initialize, log in, find all keys again         worker, at the pool's word
    4 restart        end the worker and start another                          pool
    5 breaker        refuse callers at once; try again with growing pauses     pool

A rung has healed when the key signs a canary that its pinned public key verifies; otherwise the next rung is tried.

Rules for whoever edits the table:

  * `unsigned` says that the standard lets this value come only *before* a signature can exist. Without it the
    outcome is unknown, and a card's challenge is not signed again: the ladder heals the HSM for the next one.
  * `retry` is for unsigned values alone. A session whose operation may still be active is not retried on.
  * `auth` has no rung. Whoever tries a refused PIN again locks the token; only a person leads out of this.
  * A value that is not in the table, a vendor's own for example, is UNKNOWN: transient, outcome unknown, and the
    module is initialised anew. As the answer to a login it is `auth`: a PIN whose fate is unknown is not tried again.
  * No step leads down, and `breaker` leads out by itself, so nothing is ever stuck.

Source: PKCS#11 3.0, §5.1 (function return values) and §5.13 (signing); for what modules really do, the measurements
that the tests repeat.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, assert_never


class ErrorClass(StrEnum):
    """How bad a failure is."""

    TRANSIENT = "transient"
    """It may be gone after a rung."""
    PERMANENT = "permanent"
    """Key, module or configuration are wrong; a person has to do something."""
    AUTH = "auth"
    """The PIN was refused, or its fate is unknown: nothing is tried again."""


class Rung(IntEnum):
    """What is tried, from cheap to expensive."""

    RETRY = 0
    FIND_KEY = 1
    NEW_SESSION = 2
    REINITIALISE = 3
    RESTART = 4
    BREAKER = 5


class Operation(StrEnum):
    """What a worker was doing."""

    LOAD = "load"
    """C_Initialize, and looking for the token."""
    LOGIN = "login"
    FIND = "find"
    """Searching keys and reading their attributes."""
    SIGN = "sign"


@dataclass(frozen=True, slots=True)
class Treatment:
    """How bad a failure is, the first *rung* to try (None: none at all), and whether surely nothing was signed."""

    error_class: ErrorClass
    rung: Rung | None
    unsigned: bool = False


_UNSIGNED: Final = True


def _transient(rung: Rung, unsigned: bool = False) -> Treatment:  # noqa: FBT001, FBT002 - a column of the table
    return Treatment(ErrorClass.TRANSIENT, rung, unsigned)


_PERMANENT: Final = Treatment(ErrorClass.PERMANENT, Rung.BREAKER, unsigned=True)
"""The request itself is impossible with this key or module. Said by C_SignInit, or before anything is computed."""
_MEANINGLESS: Final = _transient(Rung.REINITIALISE)
"""No function we call may return it. A module that does is in disorder."""
_AUTH: Final = Treatment(ErrorClass.AUTH, None, unsigned=True)

UNKNOWN: Final = _transient(Rung.REINITIALISE)
"""For values that are not in the table."""
WRONG_SIGNATURE: Final = "SIGNATURE_WRONG"
"""Our own: the module returned CKR_OK, and the pinned public key does not verify what came out."""

TABLE: Final[dict[str, Treatment]] = {
    WRONG_SIGNATURE: _transient(Rung.REINITIALISE),
    # The PIN.
    **dict.fromkeys(
        (
            "CKR_PIN_INCORRECT",
            "CKR_PIN_INVALID",
            "CKR_PIN_LEN_RANGE",
            "CKR_PIN_EXPIRED",
            "CKR_PIN_LOCKED",
            "CKR_USER_PIN_NOT_INITIALIZED",
        ),
        _AUTH,
    ),
    # Handles that are no longer good: "invalid at the time that the function was invoked".
    "CKR_KEY_HANDLE_INVALID": _transient(Rung.FIND_KEY, _UNSIGNED),
    "CKR_OBJECT_HANDLE_INVALID": _transient(Rung.FIND_KEY, _UNSIGNED),
    "CKR_SESSION_HANDLE_INVALID": _transient(Rung.NEW_SESSION, _UNSIGNED),
    "CKR_OPERATION_ACTIVE": _transient(Rung.NEW_SESSION, _UNSIGNED),
    "CKR_OPERATION_NOT_INITIALIZED": _transient(Rung.RETRY, _UNSIGNED),
    "CKR_CRYPTOKI_NOT_INITIALIZED": _transient(Rung.REINITIALISE, _UNSIGNED),
    "CKR_SLOT_ID_INVALID": _transient(Rung.REINITIALISE, _UNSIGNED),
    "CKR_TOKEN_NOT_PRESENT": _transient(Rung.REINITIALISE, _UNSIGNED),
    "CKR_TOKEN_NOT_RECOGNIZED": _transient(Rung.REINITIALISE, _UNSIGNED),
    "CKR_USER_NOT_LOGGED_IN": _transient(Rung.REINITIALISE, _UNSIGNED),
    # Something happened while the function ran: nobody knows how far it came.
    "CKR_SESSION_CLOSED": _transient(Rung.NEW_SESSION),
    "CKR_CANCEL": _transient(Rung.NEW_SESSION),
    "CKR_FUNCTION_CANCELED": _transient(Rung.NEW_SESSION),
    "CKR_FUNCTION_FAILED": _transient(Rung.NEW_SESSION),
    "CKR_BUFFER_TOO_SMALL": _transient(Rung.NEW_SESSION),
    "CKR_DEVICE_MEMORY": _transient(Rung.NEW_SESSION),
    "CKR_TOKEN_RESOURCE_EXCEEDED": _transient(Rung.NEW_SESSION),
    "CKR_SESSION_COUNT": _transient(Rung.REINITIALISE),
    "CKR_DEVICE_ERROR": _transient(Rung.REINITIALISE),
    "CKR_DEVICE_REMOVED": _transient(Rung.REINITIALISE),
    "CKR_GENERAL_ERROR": _transient(Rung.REINITIALISE),
    # The process itself is in disorder.
    "CKR_HOST_MEMORY": _transient(Rung.RESTART),
    "CKR_MUTEX_BAD": _transient(Rung.RESTART),
    "CKR_MUTEX_NOT_LOCKED": _transient(Rung.RESTART),
    "CKR_CRYPTOKI_ALREADY_INITIALIZED": _transient(Rung.RESTART),
    "CKR_USER_ALREADY_LOGGED_IN": _transient(Rung.RESTART),
    "CKR_USER_ANOTHER_ALREADY_LOGGED_IN": _transient(Rung.RESTART),
    "CKR_USER_TOO_MANY_TYPES": _transient(Rung.RESTART),
    "CKR_SESSION_EXISTS": _transient(Rung.RESTART),
    "CKR_SESSION_READ_ONLY_EXISTS": _transient(Rung.RESTART),
    "CKR_SESSION_READ_WRITE_SO_EXISTS": _transient(Rung.RESTART),
    # What no rung changes.
    **dict.fromkeys(
        (
            "CKR_ARGUMENTS_BAD",
            "CKR_NEED_TO_CREATE_THREADS",
            "CKR_CANT_LOCK",
            "CKR_ACTION_PROHIBITED",
            "CKR_ATTRIBUTE_TYPE_INVALID",
            "CKR_ATTRIBUTE_SENSITIVE",
            "CKR_ATTRIBUTE_VALUE_INVALID",
            "CKR_DATA_INVALID",
            "CKR_DATA_LEN_RANGE",
            "CKR_FUNCTION_NOT_PARALLEL",
            "CKR_FUNCTION_NOT_SUPPORTED",
            "CKR_FUNCTION_REJECTED",
            "CKR_KEY_EXHAUSTED",
            "CKR_KEY_FUNCTION_NOT_PERMITTED",
            "CKR_KEY_SIZE_RANGE",
            "CKR_KEY_TYPE_INCONSISTENT",
            "CKR_MECHANISM_INVALID",
            "CKR_MECHANISM_PARAM_INVALID",
            "CKR_SESSION_PARALLEL_NOT_SUPPORTED",
            "CKR_SESSION_READ_ONLY",
            "CKR_TEMPLATE_INCOMPLETE",
            "CKR_TEMPLATE_INCONSISTENT",
            "CKR_TOKEN_WRITE_PROTECTED",
            "CKR_USER_TYPE_INVALID",
            "CKR_DOMAIN_PARAMS_INVALID",
            "CKR_CURVE_NOT_SUPPORTED",
            "CKR_RANDOM_NO_RNG",
            "CKR_FIPS_SELF_TEST_FAILED",
            "CKR_LIBRARY_LOAD_FAILED",
        ),
        _PERMANENT,
    ),
    # What only functions that we never call return.
    **dict.fromkeys(
        (
            "CKR_NO_EVENT",
            "CKR_ATTRIBUTE_READ_ONLY",
            "CKR_ENCRYPTED_DATA_INVALID",
            "CKR_ENCRYPTED_DATA_LEN_RANGE",
            "CKR_AEAD_DECRYPT_FAILED",
            "CKR_KEY_NOT_NEEDED",
            "CKR_KEY_CHANGED",
            "CKR_KEY_NEEDED",
            "CKR_KEY_INDIGESTIBLE",
            "CKR_KEY_NOT_WRAPPABLE",
            "CKR_KEY_UNEXTRACTABLE",
            "CKR_SIGNATURE_INVALID",
            "CKR_SIGNATURE_LEN_RANGE",
            "CKR_UNWRAPPING_KEY_HANDLE_INVALID",
            "CKR_UNWRAPPING_KEY_SIZE_RANGE",
            "CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT",
            "CKR_WRAPPED_KEY_INVALID",
            "CKR_WRAPPED_KEY_LEN_RANGE",
            "CKR_WRAPPING_KEY_HANDLE_INVALID",
            "CKR_WRAPPING_KEY_SIZE_RANGE",
            "CKR_WRAPPING_KEY_TYPE_INCONSISTENT",
            "CKR_RANDOM_SEED_NOT_SUPPORTED",
            "CKR_SAVED_STATE_INVALID",
            "CKR_INFORMATION_SENSITIVE",
            "CKR_STATE_UNSAVEABLE",
            "CKR_NEW_PIN_MODE",
            "CKR_NEXT_OTP",
            "CKR_EXCEEDED_MAX_ITERATIONS",
            "CKR_PIN_TOO_WEAK",
            "CKR_PUBLIC_KEY_INVALID",
            "CKR_OPERATION_CANCEL_FAILED",
        ),
        _MEANINGLESS,
    ),
}


def treatment(ckr: str, operation: Operation) -> Treatment:
    """
    Return how the return value called *ckr* is treated after *operation*.

    While a worker comes up, or logs in again, a failure ends it: the rung is at least `restart`. Only a signing
    operation can have signed.
    """
    known = TABLE.get(ckr, UNKNOWN)
    match operation:
        case Operation.SIGN:
            return known
        case Operation.FIND:
            return Treatment(known.error_class, known.rung, unsigned=True)
        case Operation.LOGIN if ckr not in TABLE or known is _MEANINGLESS:
            return _AUTH
        case Operation.LOAD | Operation.LOGIN:
            rung = None if known.rung is None else max(known.rung, Rung.RESTART)
            return Treatment(known.error_class, rung, unsigned=True)
        case _:
            assert_never(operation)
