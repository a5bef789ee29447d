"""Certificates for the service and its client, a token key, and questions that carry a token of it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.eligibility.service import Question
from appliance.simulator.network_pki import NetworkAuthority
from appliance.trust.jwk import jwk
from tests.eligibility.fhir_service import certify

TOKEN_KEY = ec.generate_private_key(ec.SECP256R1())
SUBJECT = "pseudonym-of-somebody"


@pytest.fixture(scope="session")
def tls_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates."""
    folder = tmp_path_factory.mktemp("eligibility-tls")
    certify(folder, NetworkAuthority.create(datetime.now(UTC)))
    return folder


@pytest.fixture(scope="session")
def strange_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of another CA."""
    folder = tmp_path_factory.mktemp("strange-tls")
    certify(folder, NetworkAuthority.create(datetime.now(UTC)))
    return folder


@pytest.fixture
def jwks() -> dict[str, Any]:
    """The keys that the token verifies with."""
    return {"keys": [jwk(TOKEN_KEY.public_key())]}


@pytest.fixture
def question() -> Question:
    """A question about somebody."""
    return ask_about(SUBJECT)


def ask_about(subject: str, key: ec.EllipticCurvePrivateKey = TOKEN_KEY, of: str | None = None) -> Question:
    """Return the question about *subject*, with a token of *key*, which is *of* somebody else where that is given."""
    issued = int(datetime.now(UTC).timestamp())
    claims = {"aud": "reception.example.jp", "iat": issued, "exp": issued + 300, "sub": of or subject}
    token = jwt.encode(claims, key, "ES256", headers={"kid": jwk(key.public_key())["kid"]})
    return Question(token, subject, "desk-1", "request-4711", "1234567890")
