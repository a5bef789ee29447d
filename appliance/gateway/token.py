"""
The result token: a JWT that states one authentication, signed by the token key in the HSM.

It says who (a pseudonym), how presence was proved, how the holder was checked, where, when, and what is
known of revocation. `trust.hsm_key` does the writing, PyJWT the reading.
"""

from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.authentication import Authentication
from appliance.card.jpki import Mode
from appliance.errors import JwksInvalid, TokenInvalid
from appliance.trust.hsm_key import Writer
from appliance.trust.jwk import ALGORITHM, TOKEN_TYPE, jwk
from appliance.trust.pseudonym import PseudonymKey
from appliance.trust.revocation import Standing

REQUIRED: Final = [
    *("iss", "aud", "iat", "exp", "jti", "auth_time", "sub", "mode", "institution_code"),
    *("identity_check", "terminal", "revocation", "assurance", "certificate", "log", "evidence"),
]
"""Claims without which a token is none of ours."""


@dataclass(frozen=True, slots=True)
class ResultTokens:
    """
    Makes result tokens, for *audience* where their receiver names none.

    *sign* has the HSM sign a token's signing input and returns the DER signature; *new_id* makes the jti.
    """

    issuer: str
    audience: str
    lifetime: timedelta
    public_key: ec.EllipticCurvePublicKey
    pseudonym_key: PseudonymKey
    sign: Callable[[bytes], Awaitable[bytes]]
    new_id: Callable[[], UUID]
    _writer: Writer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_writer", Writer(TOKEN_TYPE, self.public_key, self.sign))

    async def issue(self, result: Authentication) -> str:
        """Return the signed token that states *result*."""
        return await self._writer.write(self.claims(result))

    def claims(self, result: Authentication) -> dict[str, object]:
        """Return what the token says of *result*; nothing is said of what is not in the ledger."""
        if result.log is None:
            raise ValueError("an authentication that was reserved nowhere gets no token")
        audience = result.receiver.audience or self.audience
        proved, holder = result.holder.proved, result.holder.certificate
        device_or_operator = "operator" if result.identity_check.method == "visual" else "device"
        issued = int(result.time.timestamp())
        return {
            "iss": self.issuer,
            "aud": audience,
            "iat": issued,
            "exp": issued + int(self.lifetime.total_seconds()),
            "jti": str(self.new_id()),
            "auth_time": issued,
            "sub": self.pseudonym_key.pseudonym(holder, audience),
            "mode": proved.mode,
            "institution_code": proved.institution_code,
            "identity_check": {
                "method": result.identity_check.method,
                device_or_operator: result.identity_check.by,
            },
            "terminal": result.terminal,
            "revocation": _revocation(result.standing),
            "assurance": result.standing.assurance,
            "certificate": {"not_after": int(holder.not_after.timestamp()), "ends_soon": result.ends_soon},
            "evidence": sha256(result.evidence).hexdigest(),
            "log": {"origin": result.log[0], "index": result.log[1]},
            **({} if result.receiver.nonce is None else {"nonce": result.receiver.nonce}),
        }

    def jwks(self) -> dict[str, object]:
        """Return the key set that verifies these tokens; `gateway.keys` has that of all that still count."""
        return {"keys": [jwk(self.public_key)]}


def claims_of(token: str) -> dict[str, Any]:
    """Return what *token*, just made by us, says. Of a token from elsewhere `verify` alone tells."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def _revocation(standing: Standing) -> dict[str, object]:
    """Return what a token says of *standing*: method, result and times, and nothing of what it rests on."""
    times = {
        "checked_at": standing.checked_at,
        "this_update": standing.this_update,
        "next_update": standing.next_update,
    }
    return {
        "method": standing.method,
        "result": standing.result,
        **{name: None if time is None else int(time.timestamp()) for name, time in times.items()},
    }


def verify(
    token: str, jwks: bytes, audience: str, now: datetime, nonce: str | None = None
) -> Mapping[str, Any]:
    """
    Return the claims of *token*, or raise TokenInvalid; JwksInvalid where *jwks* is no key set.

    Checks: the type is ours; the key is the one of *jwks* that the token names, for ES256 alone; the signature;
    the audience; that *now* lies within its time; that all our claims are there, the mode one we know; and that
    the token answers to *nonce*, where one is expected.
    """
    try:
        keys = jwt.PyJWKSet.from_json(jwks.decode())
    except (jwt.PyJWTError, ValueError, AttributeError, TypeError) as error:
        raise JwksInvalid("the file is not a JWKS with public keys") from error
    try:
        header = jwt.get_unverified_header(token)
        if header.get("typ") != TOKEN_TYPE or header.get("alg") != ALGORITHM:
            raise TokenInvalid(f"the token is not of type {TOKEN_TYPE} signed with {ALGORITHM}")
        key = next((key for key in keys.keys if key.key_id and key.key_id == header.get("kid")), None)
        if key is None or key.algorithm_name != ALGORITHM:
            raise TokenInvalid("the key that the token names is not in the JWKS")
        # The library compares with its own clock; ours is an argument, so times are compared below.
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=audience,
            options={"require": REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except jwt.PyJWTError as error:
        raise TokenInvalid(f"the token is not valid: {error}") from error
    _require_time(claims, now)
    if claims["mode"] not in tuple(Mode):
        raise TokenInvalid(f"the token names a mode that does not exist: {claims['mode']!r}")
    if nonce is not None and claims.get("nonce") != nonce:
        raise TokenInvalid("the token answers to another nonce than the expected one, or to none")
    return claims


def _require_time(claims: Mapping[str, Any], now: datetime) -> None:
    issued, expires = claims["iat"], claims["exp"]
    if not isinstance(issued, int) or not isinstance(expires, int):
        raise TokenInvalid("the token's times are not numbers")
    if not issued <= now.timestamp() < expires:
        raise TokenInvalid("the token's time is over, or has not begun")
