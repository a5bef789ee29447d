"""
Is a result token genuine: what whoever is handed one decides first, beside the appliance or far away from it.

    1. its type is ours, and its algorithm ES256;                                                        `Keys.named_by`
    2. the key that it names is in the set;
    3. its signature; 4. it is for the audience; 5. all our claims are in it;                                     `opened`
    6. *now* lies within its time, give or take what two clocks may differ by                              `require_time`

Of what kind the claims are, and whether they answer what was asked, is for the caller to say (`gateway.token`,
`client.result`). PyJWT does the reading.
"""

from collections.abc import Mapping
from typing import Any, Final

import jwt

from appliance.errors import JwksInvalid, TokenInvalid
from appliance.trust.jwk import ALGORITHM, TOKEN_TYPE

REQUIRED: Final = [
    *("iss", "aud", "iat", "exp", "jti", "auth_time", "sub", "mode", "institution_code"),
    *("identity_check", "terminal", "revocation", "assurance", "certificate", "log", "evidence"),
]
"""Claims without which a token is none of ours."""


class Keys:
    """The public keys in *jwks*, a JWKS; raises JwksInvalid where it is none."""

    def __init__(self, jwks: bytes) -> None:
        try:
            self._keys = jwt.PyJWKSet.from_json(jwks.decode()).keys
        except (jwt.PyJWTError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise JwksInvalid("this is not a JWKS with public keys") from error

    def named_by(self, token: str) -> jwt.PyJWK | None:
        """Return the key that *token* says it was signed with, None where it is not here; or raise TokenInvalid."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise TokenInvalid(f"the token is not valid: {error}") from error
        if header.get("typ") != TOKEN_TYPE or header.get("alg") != ALGORITHM:
            raise TokenInvalid(f"the token is not of type {TOKEN_TYPE} signed with {ALGORITHM}")
        name = header.get("kid")
        found = next((key for key in self._keys if key.key_id and key.key_id == name), None)
        return found if found is not None and found.algorithm_name == ALGORITHM else None


def opened(token: str, key: jwt.PyJWK, audience: str) -> Mapping[str, Any]:
    """Return the claims of *token*, signed with *key* for *audience*, or raise TokenInvalid. Its time is not looked at."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=audience,
            # The library compares times with its own clock; ours is an argument.
            options={"require": REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except jwt.PyJWTError as error:
        raise TokenInvalid(f"the token is not valid: {error}") from error
    return claims


def require_time(claims: Mapping[str, Any], now: float, may_differ: float = 0) -> None:
    """Raise TokenInvalid unless *now*, seconds since 1970, lies in the token's time, *may_differ* seconds more or less."""
    issued, expires = claims["iat"], claims["exp"]
    # bool is an int to Python, and not to JSON.
    if type(issued) is not int or type(expires) is not int:
        raise TokenInvalid("the token's times are not numbers")
    if not issued - may_differ <= now < expires + may_differ:
        raise TokenInvalid("the token's time is over, or has not begun: are both clocks right?")
