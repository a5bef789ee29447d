"""
The process that holds a PKCS#11 session: `python -I -m appliance.hsm.worker`, one thread, one login, one session.

It reads requests on standard input and answers on standard output, or over one socket that is both. It ends when
the input ends, so it never outlives its daemon, and never on a signal that means the daemon: a terminal's Ctrl-C
or systemd's SIGTERM to the whole group must not hit it in the middle of a login.

Any failure of the module while signing ends the process after it was reported: a session with an operation left
open answers CKR_OPERATION_ACTIVE for ever, and objects never outlive their login.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from appliance.errors import (
    EX_REFUSED,
    ApplianceError,
    ConfigInvalid,
    HsmRequestRefused,
    HsmUnavailable,
)
from appliance.hsm.admission import ChallengeAdmission, TokenAdmission
from appliance.hsm.messages import (
    HEADER_BYTES,
    Answer,
    Canary,
    CanaryResult,
    Loaded,
    LoggedIn,
    LogIn,
    Ready,
    Refusal,
    Reply,
    Request,
    Role,
    Signature,
    SignChallenge,
    SignToken,
    Status,
    StatusReport,
    TokenSetup,
    Verb,
    body_length,
    frame,
    read_request,
)
from appliance.hsm.pin import locked_credential
from appliance.hsm.signing import SigningKey
from appliance.hsm.token import (
    PublicKey,
    find_private_key,
    find_token,
    load_module,
    log_in,
    refuse_risky_login,
)
from appliance.trust.jwk import thumbprint

_SMALLEST_RSA_KEY = 2048
_PR_SET_DUMPABLE = 4


class ChannelEnded(Exception):
    """The daemon has closed its end."""


class Channel:
    """Frames over two descriptors of our own, out of reach for a module that prints."""

    __slots__ = ("_input", "_output")

    def __init__(self) -> None:
        self._input, self._output = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)

    def receive(self) -> Request:
        """Return the next request; raise ChannelEnded when there is none, HsmUnavailable when it is malformed."""
        return read_request(self._read(body_length(self._read(HEADER_BYTES))))

    def send(self, number: int, answer: Answer) -> None:
        """Send the *answer* to request *number*."""
        unsent = memoryview(frame(Reply(number, answer)))
        try:
            while unsent:
                unsent = unsent[os.write(self._output, unsent) :]
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelEnded from error

    def _read(self, length: int) -> bytes:
        content = bytearray()
        while len(content) < length:
            try:
                chunk = os.read(self._input, length - len(content))
            except ConnectionResetError as error:
                raise ChannelEnded from error
            if not chunk:
                raise ChannelEnded
            content += chunk
        return bytes(content)


class Desk:
    """What the worker has once it is logged in: its keys, and the rules for what reaches them."""

    __slots__ = ("_challenges", "_describe", "_keys", "_signatures", "_tokens")

    def __init__(
        self,
        keys: Mapping[Role, SigningKey],
        challenges: ChallengeAdmission,
        tokens: TokenAdmission,
        describe: Callable[[int], StatusReport],
    ) -> None:
        self._keys = keys
        self._challenges = challenges
        self._tokens = tokens
        self._describe = describe
        self._signatures = 0
        for role in self._keys:
            self._canary(role)

    def answer(self, verb: Verb) -> Answer:
        """Return the answer to *verb*, or raise what speaks against it."""
        match verb:
            case SignChallenge(challenge):
                self._challenges.admit(challenge)
                return self._sign(Role.INSTITUTION, challenge)
            case SignToken(signing_input):
                self._tokens.admit(signing_input)
                return self._sign(Role.TOKEN, signing_input)
            case Canary(key):
                return CanaryResult(self._canary(key))
            case Status():
                return self._describe(self._signatures)
            case _:
                assert_never(verb)

    def _sign(self, role: Role, message: bytes) -> Signature:
        self._signatures += 1
        return Signature(self._keys[role].sign(message))

    def _canary(self, role: Role) -> float:
        self._signatures += 1
        return self._keys[role].canary()


def open_desk(setup: TokenSetup, channel: Channel, number: int) -> Desk:
    """Load, wait for the word, log in, find and try the keys; raise what speaks against it."""
    institution_key = _institution_key(setup.institution_key)
    token_key = _token_key(setup.token_key)
    with locked_credential(Path(setup.pin_file)) as credential:
        module = load_module(setup.module)
        token = find_token(module, setup.token)
        refuse_risky_login(token)
        channel.send(number, Loaded())
        word = channel.receive()
        if not isinstance(word.verb, LogIn):
            raise HsmRequestRefused("a worker that has loaded its module is told to log in")
        with credential.pin() as pin:
            session = log_in(token, pin)
    channel.send(number, LoggedIn())

    def describe(signatures: int) -> StatusReport:
        return StatusReport(
            pid=os.getpid(),
            library=f"{module.library_description} {'.'.join(map(str, module.library_version))}",
            token=token.label,
            manufacturer=token.manufacturer_id,
            model=token.model,
            serial=token.serial.decode("ascii", "replace").strip(),
            signatures=signatures,
        )

    pinned: dict[Role, PublicKey] = {Role.INSTITUTION: institution_key, Role.TOKEN: token_key}
    return Desk(
        {role: SigningKey(role, find_private_key(session, role, key), key) for role, key in pinned.items()},
        ChallengeAdmission(setup.challenge_bytes, setup.challenges_per_minute, time.monotonic),
        TokenAdmission(setup.issuer, thumbprint(token_key), setup.token_lifetime_seconds),
        describe,
    )


def serve(channel: Channel) -> int:
    """Answer requests until the daemon goes away or the module fails; return the exit status."""
    try:
        request = channel.receive()
        if not isinstance(request.verb, TokenSetup):
            return EX_REFUSED
        try:
            desk = open_desk(request.verb, channel, request.number)
        except ApplianceError as error:
            channel.send(request.number, Refusal(error.code, error.detail))
            return error.exit_status
        channel.send(request.number, Ready())
        while True:
            request = channel.receive()
            if isinstance(request.verb, TokenSetup | LogIn):
                return EX_REFUSED
            try:
                channel.send(request.number, desk.answer(request.verb))
            except HsmRequestRefused as error:
                channel.send(request.number, Refusal(error.code, error.detail))
            except ApplianceError as error:
                channel.send(request.number, Refusal(error.code, error.detail))
                return error.exit_status
    except ChannelEnded:
        return 0
    except HsmUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status


def _institution_key(encoded: bytes) -> rsa.RSAPublicKey:
    key = _public_key(encoded)
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _SMALLEST_RSA_KEY:
        raise ConfigInvalid(f"the institution's key is not RSA of {_SMALLEST_RSA_KEY} bits or more")
    return key


def _token_key(encoded: bytes) -> ec.EllipticCurvePublicKey:
    key = _public_key(encoded)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigInvalid("the pinned token key is not P-256")
    return key


def _public_key(encoded: bytes) -> object:
    try:
        return load_der_public_key(encoded)
    except ValueError as error:
        raise ConfigInvalid("a pinned key is not a public key") from error


def _harden() -> None:
    """Keep the PIN and what the module holds out of core files and other processes' reach."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not in the standard library: without it, a process of the same user may attach and read memory. Where
    # it is refused the worker is no worse off than any other process.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)


def main() -> int:
    """Serve the daemon that has started this process."""
    channel = Channel()
    _harden()
    return serve(channel)


if __name__ == "__main__":
    sys.exit(main())
