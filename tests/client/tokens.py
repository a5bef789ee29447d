"""Result tokens of an appliance that there is not, right but for what a test changes."""

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.trust.jwk import TOKEN_TYPE, jwk, thumbprint

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
NOW = 1_800_000_000
CHECK = {"method": "face", "device": "kiosk-1"}


def jwks(*keys: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the set of the public halves of *keys*."""
    return json.dumps({"keys": [jwk(key.public_key()) for key in keys]}).encode()


def token(
    key: ec.EllipticCurvePrivateKey = KEY, header: dict[str, Any] | None = None, **changed: object
) -> str:
    """Return a token for the question of desk-1, nonce `n`, with claims *changed*; None takes one away."""
    times = dict.fromkeys(("checked_at", "this_update", "next_update"), NOW)
    claims: dict[str, Any] = {
        "iss": "i",
        "aud": "a",
        "iat": NOW,
        "exp": NOW + 300,
        "jti": "j",
        "auth_time": NOW,
        "sub": "s",
        "mode": "pinless",
        "institution_code": "9912345",
        "identity_check": CHECK,
        "terminal": "desk-1",
        "revocation": {"method": "crl", "result": "good", **times},
        "assurance": "cached",
        "certificate": {"not_after": NOW + 1},
        "log": {"origin": "o", "index": 1},
        "evidence": "0" * 64,
        "nonce": "n",
        **changed,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    named = {"typ": TOKEN_TYPE, "kid": thumbprint(key.public_key())}
    return jwt.encode(claims, key, algorithm="ES256", headers=named | (header or {}))
