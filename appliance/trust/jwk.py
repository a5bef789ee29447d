"""How result tokens are typed, and how the key that signs them is named and published."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

TOKEN_TYPE: Final = "jpki-authentication+jwt"  # noqa: S105  # a type, not a secret
"""`typ` of a result token, so that it cannot be taken for another kind of JWT."""
ALGORITHM: Final = "ES256"
_REQUIRED: Final = ("crv", "kty", "x", "y")


def thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the RFC 7638 thumbprint of *key*: SHA-256 over its required members, in base64url."""
    members = ECAlgorithm.to_jwk(key, as_dict=True)
    required = json.dumps({name: members[name] for name in _REQUIRED}, separators=(",", ":"))
    return urlsafe_b64encode(sha256(required.encode()).digest()).rstrip(b"=").decode()


def jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """Return *key* as a JWK (RFC 7517) for ES256, named by its thumbprint."""
    return ECAlgorithm.to_jwk(key, as_dict=True) | {"kid": thumbprint(key), "use": "sig", "alg": ALGORITHM}
