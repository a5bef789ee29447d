"""
The result token: a JWT that states one authentication, signed by the token key in the HSM.

It says who (a pseudonym), how presence was proved, how the holder was checked, where, when, and what is
known of revocation. PyJWT does the writing and the reading; the key it signs with asks the HSM.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NoReturn
from uuid import UUID

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.authentication import Authentication
from appliance.card.jpki import Mode
from appliance.errors import JwksInvalid, TokenInvalid
from appliance.trust.jwk import ALGORITHM, TOKEN_TYPE, jwk, thumbprint
from appliance.trust.pseudonym import PseudonymKey
from appliance.trust.revocation import Standing

REQUIRED: Final = [
    *("iss", "aud", "iat", "exp", "jti", "auth_time", "sub", "mode", "institution_code"),
    *("identity_check", "terminal", "revocation", "assurance", "certificate", "evidence"),
]
"""Claims without which a token is none of ours."""


class _HsmKey(ec.EllipticCurvePrivateKey):
    """A private key whose `sign` asks somebody else; everything that would need its number is refused."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey, sign: Callable[[bytes], bytes]) -> None:
        self._public_key = public_key
        self._sign = sign

    def sign(
        self,
        data: Any,  # noqa: ANN401  # `cryptography` says Buffer, which Python 3.11 cannot name
        signature_algorithm: ec.EllipticCurveSignatureAlgorithm,
    ) -> bytes:
        """Return the DER signature over *data*; ECDSA with SHA-256 is all there is."""
        if not isinstance(signature_algorithm, ec.ECDSA) or not isinstance(
            signature_algorithm.algorithm, hashes.SHA256
        ):
            raise TypeError("the token key signs with ECDSA and SHA-256")
        return self._sign(bytes(data))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """The key's curve."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """The key's size in bits."""
        return self._public_key.key_size

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("the key is in the HSM and signs tokens only")

    exchange = private_numbers = private_bytes = _refuse
    __copy__ = __deepcopy__ = _refuse


@dataclass(frozen=True, slots=True)
class ResultTokens:
    """
    Makes result tokens for one *audience*.

    *sign* has the HSM sign a token's signing input and returns the DER signature; *new_id* makes the jti.
    """

    issuer: str
    audience: str
    lifetime: timedelta
    public_key: ec.EllipticCurvePublicKey
    pseudonym_key: PseudonymKey
    sign: Callable[[bytes], Awaitable[bytes]]
    new_id: Callable[[], UUID]

    async def issue(self, result: Authentication) -> str:
        """Return the signed token that states *result*."""
        loop = asyncio.get_running_loop()

        async def ask(signing_input: bytes) -> bytes:
            return await self.sign(signing_input)

        def sign(signing_input: bytes) -> bytes:
            return asyncio.run_coroutine_threadsafe(ask(signing_input), loop).result()

        # PyJWT is synchronous and the HSM is not: it writes the token in a thread that waits for the signature.
        return await asyncio.to_thread(
            jwt.encode,
            self.claims(result),
            _HsmKey(self.public_key, sign),
            algorithm=ALGORITHM,
            headers={"typ": TOKEN_TYPE, "kid": thumbprint(self.public_key)},
        )

    def claims(self, result: Authentication) -> dict[str, object]:
        """Return what the token says of *result*."""
        proved, holder = result.holder.proved, result.holder.certificate
        device_or_operator = "operator" if result.identity_check.method == "visual" else "device"
        issued = int(result.time.timestamp())
        return {
            "iss": self.issuer,
            "aud": self.audience,
            "iat": issued,
            "exp": issued + int(self.lifetime.total_seconds()),
            "jti": str(self.new_id()),
            "auth_time": issued,
            "sub": self.pseudonym_key.pseudonym(holder, self.audience),
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
            **({} if result.log is None else {"log": {"origin": result.log[0], "index": result.log[1]}}),
        }

    def jwks(self) -> dict[str, object]:
        """Return the key set that verifies these tokens."""
        return {"keys": [jwk(self.public_key)]}


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


def verify(token: str, jwks: bytes, audience: str, now: datetime) -> Mapping[str, Any]:
    """
    Return the claims of *token*, or raise TokenInvalid; JwksInvalid where *jwks* is no key set.

    Checks: the type is ours; the key is the one of *jwks* that the token names, for ES256 alone; the signature;
    the audience; that *now* lies within its time; that all our claims are there, the mode one we know.
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
    return claims


def _require_time(claims: Mapping[str, Any], now: datetime) -> None:
    issued, expires = claims["iat"], claims["exp"]
    if not isinstance(issued, int) or not isinstance(expires, int):
        raise TokenInvalid("the token's times are not numbers")
    if not issued <= now.timestamp() < expires:
        raise TokenInvalid("the token's time is over, or has not begun")
