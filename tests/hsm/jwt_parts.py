"""Signing inputs of result tokens and scenarios, right ones and others."""

import base64
import json
import time
from typing import Any

from tests.hsm.conftest import ISSUER


def part(value: object) -> bytes:
    """Return *value* as base64url of JSON."""
    return encoded(json.dumps(value).encode())


def encoded(content: bytes) -> bytes:
    """Return *content* as base64url."""
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def header(kid: str) -> dict[str, Any]:
    """Return the header of a result token."""
    return {"typ": "jpki-authentication+jwt", "alg": "ES256", "kid": kid}


def payload(**changes: object) -> dict[str, Any]:
    """Return the claims of a result token that is issued now."""
    now = int(time.time())
    return {"iss": ISSUER, "iat": now, "exp": now + 300, **changes}


def signing_input(kid: str, **changes: object) -> bytes:
    """Return what is signed of a result token with *changes* to its claims."""
    return part(header(kid)) + b"." + part(payload(**changes))


def scenario(**changes: object) -> dict[str, Any]:
    """Return the claims of a scenario that is issued now."""
    now = int(time.time())
    return {
        "iss": ISSUER,
        "iat": now,
        "exp": now + 60,
        "terminal": "desk",
        "nonce": "0" * 32,
        "reader": "r1",
        "mode": "pinless",
        "session": "1" * 32,
        "seq": 0,
        "deadline_ms": 10_000,
        "steps": [{"name": "get-challenge", "expect": ["9000"], "command": "0084000010"}],
        **changes,
    }


def scenario_input(kid: str, **changes: object) -> bytes:
    """Return what is signed of a scenario with *changes* to its claims."""
    return part({**header(kid), "typ": "jpki-scenario+jwt"}) + b"." + part(scenario(**changes))
