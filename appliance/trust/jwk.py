"""How result tokens and signed scenarios are typed, and how the key that signs them is named and published."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

TOKEN_TYPE: Final = "jpki-authentication+jwt"  # noqa: S105  # a type, not a secret
"""`typ` of a result token, so that it cannot be taken for another kind of JWT."""
SCENARIO_TYPE: Final = "jpki-scenario+jwt"
"""`typ` of a signed scenario: commands for a card that a terminal may trust to be ours."""
SCENARIO_CLAIMS: Final = frozenset(
    ("iss", "iat", "exp", "terminal", "nonce", "reader", "mode", "session", "seq", "deadline_ms", "steps")
)
"""What a signed scenario says, all of it and nothing else."""
SCENARIO_SECONDS: Final = 60
"""From `iat` to `exp` of a signed scenario: what it may take to its terminal, and clocks may differ by."""
ALGORITHM: Final = "ES256"
_COORDINATE_BYTES: Final = 32


def thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the RFC 7638 thumbprint of *key*: SHA-256 over its required members, in base64url."""
    required = json.dumps(_required(key), sort_keys=True, separators=(",", ":"))
    return _base64url(sha256(required.encode()).digest())


def jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """Return *key* as a JWK (RFC 7517) for ES256, named by its thumbprint."""
    return _required(key) | {"kid": thumbprint(key), "use": "sig", "alg": ALGORITHM}


def _required(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    # Six lines of RFC 7518 §6.2.1: with a library for them, workers of the HSM would load an HTTP client, too.
    if not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(f"{ALGORITHM} has no keys on {key.curve.name}")  # noqa: TRY004 - of the right type, on another curve
    point = key.public_numbers()
    x, y = (_base64url(coordinate.to_bytes(_COORDINATE_BYTES)) for coordinate in (point.x, point.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
