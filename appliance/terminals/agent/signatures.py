"""
Scenarios signed by the appliance: what a terminal that insists on it takes for one.

What the signature is worth depends on where the key comes from. Pinned in the terminal's configuration, it says that the
appliance's HSM has signed these very commands, whoever holds the connection; taken from `Welcome`, it says no more
than the connection does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.errors import ConfigInvalid, TerminalMessageInvalid, TerminalSignatureRefused
from appliance.terminals import messages
from appliance.terminals.messages import Jwk, Scenario, SignedScenario, Start, Welcome
from appliance.trust.jwk import ALGORITHM, SCENARIO_SECONDS, SCENARIO_TYPE, thumbprint


@dataclass(frozen=True, slots=True)
class Verifier:
    """Knows what the signed scenarios of one connection have to say: the *keys* by thumbprint, and for whom they are."""

    keys: dict[str, ec.EllipticCurvePublicKey]
    issuer: str
    terminal: str
    nonce: str

    @classmethod
    def of(cls, pinned: Sequence[ec.EllipticCurvePublicKey] | None, welcome: Welcome, nonce: str) -> Self:
        """
        Return the verifier for a connection that began with *nonce* and *welcome*.

        Raises TerminalSignatureRefused where there is no key to verify with.
        """
        if pinned is None:
            if welcome.scenario_key is None:
                raise TerminalSignatureRefused("the appliance does not sign scenarios")
            pinned = (_announced(welcome.scenario_key),)
        return cls({thumbprint(key): key for key in pinned}, welcome.issuer, welcome.terminal, nonce)

    def verified(self, signed: SignedScenario, start: Start, now: float) -> Scenario:
        """
        Return the scenario in *signed*, for the session that *start* began; or raise TerminalSignatureRefused.

        Checks: type and algorithm are ours; the key is one of ours, and made the signature; issuer, terminal, this
        connection's nonce, reader, mode and session are those that are meant; *now* lies within its time, which is short.
        That the number is the session's next is for the caller to check, as with any scenario.
        """
        header, payload = self._opened(signed.jws)
        if header.get("typ") != SCENARIO_TYPE:
            raise TerminalSignatureRefused(f"the signed scenario is not of type {SCENARIO_TYPE}")
        try:
            claims = messages.decode_claims(payload)
        except TerminalMessageInvalid as error:
            raise TerminalSignatureRefused("what was signed is no scenario") from error
        said = (claims.iss, claims.terminal, claims.nonce, claims.session, claims.reader, claims.mode)
        if said != (self.issuer, self.terminal, self.nonce, start.session, start.reader, start.mode):
            raise TerminalSignatureRefused("the signed scenario is for somebody else, or another session")
        # The terminal's clock may be ahead by as much as the scenario holds, or behind by as much.
        if not claims.iat - SCENARIO_SECONDS <= now < claims.exp:
            raise TerminalSignatureRefused("the signed scenario's time is over, or has not begun")
        if not 0 < claims.exp - claims.iat <= SCENARIO_SECONDS:
            raise TerminalSignatureRefused("the signed scenario would hold for too long")
        return claims.scenario

    def _opened(self, jws: str) -> tuple[dict[str, Any], bytes]:
        """Return header and payload of *jws*, signed by a key of ours."""
        try:
            key = self.keys.get(jwt.get_unverified_header(jws).get("kid", ""))
            if key is None:
                raise TerminalSignatureRefused(
                    "the scenario is signed by a key that this terminal does not know"
                )
            opened = jwt.PyJWS().decode_complete(jws, key, algorithms=[ALGORITHM])
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise TerminalSignatureRefused("the scenario's signature is not one") from error
        return opened["header"], opened["payload"]


def addressee(signed: SignedScenario) -> str:
    """Return the session that *signed* says it is for, which nobody has verified; or raise TerminalMessageInvalid."""
    try:
        payload = jwt.PyJWS().decode_complete(signed.jws, options={"verify_signature": False})["payload"]
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise TerminalMessageInvalid("a signed scenario is no JWS") from error
    return messages.decode_claims(payload).session


def _announced(said: Jwk) -> ec.EllipticCurvePublicKey:
    """Return the key that the appliance announces."""
    try:
        key = _public(jwt.PyJWK({"kty": said.kty, "crv": said.crv, "x": said.x, "y": said.y}, ALGORITHM))
    except (jwt.PyJWTError, ValueError) as error:
        raise TerminalSignatureRefused("the appliance's key is not one") from error
    if thumbprint(key) != said.kid:
        raise TerminalSignatureRefused("the appliance's key does not have the name it is given")
    return key


def keys_of(document: bytes) -> tuple[ec.EllipticCurvePublicKey, ...]:
    """Return the P-256 keys in a JWK or JWKS *document*, or raise ConfigInvalid."""
    try:
        parsed = jwt.PyJWKSet.from_json(document.decode()).keys
    except (jwt.PyJWTError, ValueError, AttributeError, TypeError):
        try:
            parsed = [jwt.PyJWK.from_json(document.decode(), ALGORITHM)]
        except (jwt.PyJWTError, ValueError, AttributeError, TypeError) as error:
            raise ConfigInvalid("scenarios.keys is neither a JWK nor a JWKS of a P-256 key") from error
    try:
        return tuple(_public(key) for key in parsed)
    except ValueError as error:
        raise ConfigInvalid(f"scenarios.keys: {error}") from error


def _public(jwk: jwt.PyJWK) -> ec.EllipticCurvePublicKey:
    key = jwk.key
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("a key is not a public one on P-256")  # noqa: TRY004  # of a document's content
    return key
