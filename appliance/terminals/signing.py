"""Scenarios signed by the token key, for terminals that insist on it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.terminals.messages import Jwk, Scenario, ScenarioClaims, SignedScenario, Start
from appliance.trust.hsm_key import Writer
from appliance.trust.jwk import SCENARIO_SECONDS, SCENARIO_TYPE, jwk


@dataclass(frozen=True, slots=True)
class ScenarioSigner:
    """
    Signs scenarios as *issuer* with the key whose public half is *public_key*.

    *sign* has the HSM sign a signing input and returns the DER signature, or raises HsmError.
    """

    issuer: str
    public_key: ec.EllipticCurvePublicKey
    sign: Callable[[bytes], Awaitable[bytes]]
    clock: Callable[[], datetime]
    _writer: Writer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_writer", Writer(SCENARIO_TYPE, self.public_key, self.sign))

    @property
    def key(self) -> Jwk:
        """What verifies these signatures."""
        return msgspec.convert(jwk(self.public_key), Jwk)

    async def signed(self, said: Scenario, start: Start, terminal: str, nonce: str) -> SignedScenario:
        """Return *said* signed for the *terminal* that introduced itself with *nonce*, in the session of *start*."""
        issued = int(self.clock().timestamp())
        claims = ScenarioClaims(
            iss=self.issuer,
            iat=issued,
            exp=issued + SCENARIO_SECONDS,
            terminal=terminal,
            nonce=nonce,
            reader=start.reader,
            mode=start.mode,
            session=said.session,
            seq=said.seq,
            deadline_ms=said.deadline_ms,
            steps=said.steps,
        )
        return SignedScenario(jws=await self._writer.write(claims))
