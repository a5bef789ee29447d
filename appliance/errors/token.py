"""What keeps a result token from being accepted."""

from appliance.errors.base import ApplianceError


class TokenError(ApplianceError):
    """A result token cannot be accepted."""


class TokenInvalid(TokenError):
    """The token's signature, shape, audience or time is wrong."""

    code = "token_invalid"


class JwksInvalid(TokenError):
    """The JWKS file is not a set of public keys of ours."""

    code = "jwks_invalid"
