"""
The keys of one token in a worker's hands, and how they are got back when the module has lost them.

No object outlives what it came from: each time the keys are found anew the old ones are dropped, and the generation
goes up. A session that logged in is not closed while the process lives, because closing it would log out all others.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import exceptions
from pkcs11.types import Session, Token

from appliance.errors import ApplianceError, ConfigInvalid, HsmModuleUnusable, HsmPinRejected, HsmUnavailable
from appliance.hsm.ladder import WRONG_SIGNATURE, ErrorClass, Operation
from appliance.hsm.messages import PinnedKey, Role, TokenSetup
from appliance.hsm.pkcs11.pin import locked_credential
from appliance.hsm.pkcs11.return_values import named
from appliance.hsm.pkcs11.signing import SigningKey
from appliance.hsm.pkcs11.token import (
    PublicKey,
    attribute_mapper,
    find_private_key,
    find_token,
    load_module,
    log_in,
    mapped,
    refuse_risky_login,
    return_value,
)
from appliance.hsm.worker.climber import ModuleFailed

_SMALLEST_RSA_KEY = 2048


class Keyring:
    """
    The keys that *setup* pins (`climber.Keys`), once `open` has been called.

    *word* is called when everything is ready for a login, and returns when the login may begin; *logged_in* is told
    when it is over.
    """

    def __init__(self, setup: TokenSetup, word: Callable[[], None], logged_in: Callable[[], None]) -> None:
        self._setup = setup
        self._word = word
        self._logged_in = logged_in
        self._pinned = {pinned.fingerprint: (pinned, _public_key(pinned)) for pinned in setup.pinned}
        self._module: Any = None
        self._token: Token | None = None
        self._session: Session | None = None
        self._extra: Session | None = None
        """A session that did not log in, opened where the first one was lost."""
        self._keys: dict[str, SigningKey] = {}
        self.generation = 0
        """How often all keys were found."""

    @property
    def module(self) -> Any:  # noqa: ANN401 - python-pkcs11 does not export the type of its library
        """The module, once it is open."""
        return self._module

    @property
    def token(self) -> Token:
        """The token, once it is open."""
        if self._token is None:
            raise ValueError("the keyring is not open")
        return self._token

    @property
    def roles(self) -> Mapping[str, Role]:
        """What each key is for, by its fingerprint."""
        return {fingerprint: pinned.role for fingerprint, (pinned, _) in self._pinned.items()}

    def open(self) -> None:
        """Load the module, log in and find all keys, or raise ModuleFailed."""
        self._enter(lambda: load_module(self._setup.module))

    def reinitialise(self) -> None:
        """Finalize and initialise the module, log in, and find all keys again."""
        self._enter(self._initialised_anew)

    def new_session(self) -> None:
        """Open another session in the same login, and find all keys again."""
        self._forget_keys()
        with _noted(Operation.FIND), mapped(HsmUnavailable, "opening a session"):
            if self._extra is not None:
                with suppress(exceptions.PKCS11Error):  # it may be what was lost
                    self._extra.close()
            self._extra = self.token.open(attribute_mapper=attribute_mapper())
        self._find_all(self._extra)

    def find(self, key: str) -> None:
        """Drop the object of *key* and find it again."""
        self._keys.pop(key, None)
        session = self._extra or self._session
        if session is None:
            raise ValueError("the keyring is not open")
        with _noted(Operation.FIND):
            self._keys[key] = self._found(session, key)

    def sign(self, key: str, message: bytes) -> bytes:
        """Return a verified signature of *key* over *message*."""
        signing = self._key(key)
        with _noted(Operation.SIGN):
            return signing.sign(message)

    def canary(self, key: str) -> float:
        """Have *key* sign a canary; return the seconds it took."""
        signing = self._key(key)
        with _noted(Operation.SIGN):
            return signing.canary()

    def canaries(self) -> tuple[float, ...]:
        """Have every key sign a canary; return the seconds each took."""
        return tuple(self.canary(key) for key in self._pinned)

    def _enter(self, initialised: Callable[[], Any]) -> None:
        self._forget_keys()
        self._session = self._extra = self._token = None
        with ExitStack() as stack:
            with _noted(Operation.LOAD):
                credential = stack.enter_context(
                    locked_credential(Path(self._setup.pin_file), self._setup.module, self._setup.token)
                )
                self._module = initialised()
                self._token = find_token(self._module, self._setup.token)
                refuse_risky_login(self._token)
                with mapped(HsmUnavailable, "opening a session"):
                    # Tried before the login, so that what fails in the login is the login's own failure.
                    self._token.open().close()
            self._word()
            with _noted(Operation.LOGIN):
                if self._setup.vendor.login.kind == "protected-path":
                    self._session = log_in(self._token, self._setup.vendor, None)
                else:
                    with credential.pin() as pin:
                        self._session = log_in(self._token, self._setup.vendor, pin)
        self._logged_in()
        self._find_all(self._session)

    def _initialised_anew(self) -> Any:  # noqa: ANN401 - as `module`
        # A module that has lost everything may say that it was never initialised. What counts comes next.
        with suppress(exceptions.PKCS11Error):
            self._module.finalize()
        with mapped(HsmModuleUnusable, "initialising the module again"):
            self._module.initialize()
        return self._module

    def _key(self, key: str) -> SigningKey:
        try:
            return self._keys[key]
        except KeyError as error:
            lost = HsmUnavailable("the key was lost and could not be found again")
            raise ModuleFailed(lost, "CKR_KEY_HANDLE_INVALID", Operation.SIGN) from error

    def _forget_keys(self) -> None:
        self._keys.clear()

    def _find_all(self, session: Session) -> None:
        with _noted(Operation.FIND):
            self._keys = {key: self._found(session, key) for key in self._pinned}
        self.generation += 1

    def _found(self, session: Session, key: str) -> SigningKey:
        pinned, public = self._pinned[key]
        vendor = self._setup.vendor
        return SigningKey(vendor, pinned.role, find_private_key(session, vendor, pinned.role, public), public)


@contextmanager
def _noted(operation: Operation) -> Iterator[None]:
    """Turn errors of ours into ModuleFailed, with the return value that is behind them."""
    try:
        yield
    except ApplianceError as error:
        cause = error.__cause__
        ckr = ""
        if isinstance(cause, exceptions.PKCS11Error):
            ckr = named(return_value(cause))
        elif isinstance(cause, InvalidSignature):
            ckr = WRONG_SIGNATURE
        failed = ModuleFailed(error, ckr, operation)
        if operation is Operation.LOGIN and failed.treatment.error_class is ErrorClass.AUTH:
            # Also a PIN whose fate the module's answer does not tell: it is not tried again.
            failed = ModuleFailed(HsmPinRejected(error.detail), ckr, operation)
        raise failed from error


def _public_key(pinned: PinnedKey) -> PublicKey:
    try:
        key = load_der_public_key(pinned.spki)
    except ValueError as error:
        raise ConfigInvalid("a pinned key is not a public key") from error
    match pinned.role:
        case Role.INSTITUTION if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA_KEY:
            return key
        case Role.INSTITUTION if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(
            key.curve, ec.SECP384R1
        ):
            return key
        case Role.LEDGER if isinstance(key, ed25519.Ed25519PublicKey):
            return key
        case Role.INSTITUTION:
            raise ConfigInvalid(
                f"the institution's key is neither RSA of {_SMALLEST_RSA_KEY} bits or more nor on P-384"
            )
        case _ if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return key
        case _:
            raise ConfigInvalid(f"the pinned {pinned.role} key is not P-256")
