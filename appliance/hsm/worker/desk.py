"""
The worker's desk: what may be asked for, what each request may have signed, and the one place that has it signed.

The verbs are `messages.Verb`. The institution keys sign a challenge that `ChallengeAdmission` has let through, and
the canary, which no card would take for one; the token key signs what `TokenAdmission` or
`ScenarioAdmission` has let through, the ledger key what `CheckpointAdmission` has.
"""

import os
import time
from collections.abc import Callable
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from appliance.errors import HsmRequestRefused
from appliance.hsm.messages import (
    Answer,
    Canary,
    CanaryResult,
    Climbed,
    Climbing,
    Role,
    Signature,
    SignChallenge,
    SignCheckpoint,
    SignScenario,
    SignToken,
    Status,
    StatusReport,
    TokenSetup,
    Verb,
    fingerprint,
)
from appliance.hsm.worker.admission import (
    ChallengeAdmission,
    CheckpointAdmission,
    ScenarioAdmission,
    TokenAdmission,
)
from appliance.hsm.worker.climber import Climber
from appliance.hsm.worker.keyring import Keyring
from appliance.trust.jwk import thumbprint


class Desk:
    """Answers requests with the keys of *keyring*. What happens on the way is *told*."""

    __slots__ = (
        "_challenges",
        "_checkpoints",
        "_climber",
        "_keyring",
        "_ledger_key",
        "_roles",
        "_signatures",
        "_statements",
        "_token_key",
    )

    def __init__(
        self, setup: TokenSetup, keyring: Keyring, tell: Callable[[Climbing | Climbed], None]
    ) -> None:
        self._keyring = keyring
        self._roles = keyring.roles
        self._climber = Climber(keyring, tell, time.monotonic)
        self._challenges = ChallengeAdmission(
            setup.challenge_bytes, setup.challenges_per_minute, time.monotonic
        )
        self._token_key: str | None = None
        self._statements: dict[type[Verb], TokenAdmission | ScenarioAdmission] = {}
        if setup.token_key is not None:
            key = load_der_public_key(setup.token_key)
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise ValueError("the keyring has let another kind of token key pass")
            self._token_key = fingerprint(setup.token_key)
            self._statements = {
                SignToken: TokenAdmission(
                    setup.issuer, thumbprint(key), setup.token_lifetime_seconds, time.time
                ),
                SignScenario: ScenarioAdmission(setup.issuer, thumbprint(key), time.time),
            }
        self._ledger_key = None if setup.ledger_key is None else fingerprint(setup.ledger_key)
        self._checkpoints = CheckpointAdmission(setup.ledger_origin)
        self._signatures = 0

    def answer(self, verb: Verb, deadline: float) -> Answer:
        """Return the answer to *verb*; raise HsmRequestRefused for what is not let through, Unanswered."""
        match verb:
            case SignChallenge(challenge, key):
                if self._roles.get(key) is not Role.INSTITUTION:
                    raise HsmRequestRefused("no institution key has that fingerprint")
                self._challenges.admit(challenge)
                return self._sign(key, challenge, deadline, repeatable=False)
            case SignToken(signing_input) | SignScenario(signing_input):
                if self._token_key is None:
                    raise HsmRequestRefused("this HSM holds no token key")
                self._statements[type(verb)].admit(signing_input)
                # The same statement signed twice is the same statement.
                return self._sign(self._token_key, signing_input, deadline, repeatable=True)
            case SignCheckpoint(text):
                if self._ledger_key is None:
                    raise HsmRequestRefused("this HSM holds no ledger key")
                self._checkpoints.admit(text)
                return self._sign(self._ledger_key, text, deadline, repeatable=True)
            case Canary(key):
                if key not in self._roles:
                    raise HsmRequestRefused("no key has that fingerprint")
                self._signatures += 1
                return CanaryResult(self._climber.canary(key, deadline))
            case Status():
                return self._report()
            case _:
                assert_never(verb)

    def _sign(self, key: str, message: bytes, deadline: float, *, repeatable: bool) -> Signature:
        self._signatures += 1
        return Signature(self._climber.sign(key, message, deadline, repeatable=repeatable))

    def _report(self) -> StatusReport:
        module, token = self._keyring.module, self._keyring.token
        return StatusReport(
            pid=os.getpid(),
            library=f"{module.library_description} {'.'.join(map(str, module.library_version))}",
            token=token.label,
            manufacturer=token.manufacturer_id,
            model=token.model,
            firmware=".".join(map(str, token.firmware_version)),
            serial=token.serial.decode("ascii", "replace").strip(),
            signatures=self._signatures,
        )
