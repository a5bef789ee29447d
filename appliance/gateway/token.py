"""
The result token: a JWT that states one authentication, signed by the token key in the HSM.

It says who (a pseudonym), how presence was proved, how the holder was checked, where, when, and what is
known of revocation. `trust.hsm_key` does the writing, `trust.result_token` the reading.
"""

from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, assert_never
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.authentication import Authentication, CheckMethod, IdentityCheck
from appliance.card.jpki import Mode
from appliance.errors import TokenInvalid
from appliance.trust.hsm_key import Writer
from appliance.trust.jwk import TOKEN_TYPE, jwk
from appliance.trust.pseudonym import PseudonymKey
from appliance.trust.result_token import Keys, opened, require_time
from appliance.trust.revocation import Standing


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
            "identity_check": _identity_check(result.identity_check),
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


def _identity_check(check: IdentityCheck) -> dict[str, str]:
    """Return what a token says of how the holder was checked."""
    match check.method:
        case CheckMethod.VISUAL:
            by = {"operator": check.by}
        case CheckMethod.FACE | CheckMethod.PIN:
            by = {"device": check.by}
        case CheckMethod.NONE_EMERGENCY:
            by = {"window": check.by} | ({} if check.reason is None else {"reason": check.reason})
        case _:
            assert_never(check.method)
    return {"method": check.method.value, **by}


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

    Checks: all of `trust.result_token`, by this clock alone; that the mode is one we know; and that the token answers to
    *nonce*, where one is expected.
    """
    key = Keys(jwks).named_by(token)
    if key is None:
        raise TokenInvalid("the key that the token names is not in the JWKS")
    claims = opened(token, key, audience)
    require_time(claims, now.timestamp())
    if claims["mode"] not in tuple(Mode):
        raise TokenInvalid(f"the token names a mode that does not exist: {claims['mode']!r}")
    if nonce is not None and claims.get("nonce") != nonce:
        raise TokenInvalid("the token answers to another nonce than the expected one, or to none")
    return claims
