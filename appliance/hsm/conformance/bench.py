"""The module, token and login that a probe works with, and the few things it does with keys."""

from collections.abc import Callable
from typing import Any, cast

from pkcs11 import Attribute, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import Object, PrivateKey, Session, Token

from appliance.errors import ApplianceError, HsmPinRejected
from appliance.hsm.conformance.results import SIGNS, Order, Phase
from appliance.hsm.ladder import ErrorClass, Operation, treatment
from appliance.hsm.messages import Role
from appliance.hsm.pkcs11.pin import Pin
from appliance.hsm.pkcs11.return_values import named
from appliance.hsm.pkcs11.signing import prepared
from appliance.hsm.pkcs11.token import (
    find_token,
    load_module,
    log_in,
    mechanism,
    refuse_risky_login,
    return_value,
)

MESSAGE = b"jpki-appliance conformance v1\0"
ROLES = {
    "institution": Role.INSTITUTION,
    "institution-raw": Role.INSTITUTION,
    "token": Role.TOKEN,
    "ledger": Role.LEDGER,
}
"""The throw-away keys, by the end of their labels. There are two of RSA, for the two ways to sign with it."""


class LoginRefused(Exception):
    """The PIN was rejected, or may have been: no probe logs in any more. No answer to a question of ours."""


class Bench:
    """A module, its token and a PIN for as many logins as a probe needs."""

    def __init__(self, order: Order, say: Callable[[Phase], None], pin: Pin | None) -> None:
        self.order = order
        self.say = say
        self._pin = pin
        self.module = load_module(order.module)

    @property
    def token(self) -> Token:
        """The token, looked for anew."""
        return find_token(self.module, self.order.token)

    @property
    def role(self) -> Role:
        """What the key of the order is for."""
        return ROLES[self.order.key]

    @property
    def mechanism(self) -> Mechanism:
        """What the key of the order signs with."""
        return mechanism(self.order.vendor, self.role)

    @property
    def label(self) -> str:
        """Label of the key of the order."""
        return f"{self.order.mark}-{self.order.key}"

    def log_in(self, *, writable: bool = False, again: bool = False) -> Session:
        """
        Return a session, logged in; raise LoginRefused for the PIN's sake, or what else the module says.

        *again* is a login with a PIN that was right a moment ago: an answer nobody understands says nothing about the PIN.
        """
        try:
            token = self.token
            refuse_risky_login(token)
            self.say(Phase("logging in"))
            try:
                return log_in(token, self.order.vendor, self._pin, writable=writable)
            finally:
                self.say(Phase("logged in"))
        except ApplianceError as error:
            if isinstance(error, HsmPinRejected) or (not again and _of_unknown_fate(error)):
                raise LoginRefused(error.detail) from error
            raise

    def key(self, session: Session) -> PrivateKey:
        """Return the throw-away key of the order; raise LookupError where *session* does not see just one."""
        found = objects(session, ObjectClass.PRIVATE_KEY, self.label)
        if len(found) != 1:
            raise LookupError(f"{len(found)} private keys of that label")
        return cast("PrivateKey", found[0])

    def signs(self, private: PrivateKey) -> str:
        """Return "signs", or what the module answers to a signature with *private*."""
        return answer(lambda: sign(private, prepared(MESSAGE, self.mechanism), self.mechanism), SIGNS)


def _of_unknown_fate(error: ApplianceError) -> bool:
    """Return whether the module's answer to a login counts as a rejected PIN."""
    cause = error.__cause__
    if not isinstance(cause, PKCS11Error):
        return False
    return treatment(named(return_value(cause)), Operation.LOGIN).error_class is ErrorClass.AUTH


def objects(session: Session, kind: ObjectClass, label: str) -> list[Object]:
    """Return the objects of *kind* with exactly this *label*."""
    return list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label}))


def sign(private: PrivateKey, data: bytes, how: Mechanism) -> bytes:
    """Sign *data* as it is, whatever the key's attributes say; raises python-pkcs11's errors."""
    return cast("bytes", cast("Any", private).sign(data, mechanism=how))


def answer(call: Callable[[], object], success: str) -> str:
    """Return *success*, or the return value with which *call* failed."""
    try:
        call()
    except PKCS11Error as error:
        return return_value(error)
    except ApplianceError as error:
        return refusal(error)
    return success


def refusal(error: ApplianceError) -> str:
    """Return the return value behind *error*, or what it says."""
    cause = error.__cause__
    return return_value(cause) if isinstance(cause, PKCS11Error) else error.detail
