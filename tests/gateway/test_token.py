"""Result tokens."""

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.authentication import Authentication, CheckMethod, IdentityCheck, Receiver
from appliance.card.algorithm import Algorithm
from appliance.card.jpki import Mode
from appliance.card.nonce import Nonce
from appliance.errors import HsmUnavailable, JwksInvalid, TokenInvalid
from appliance.gateway.token import ResultTokens, claims_of, verify
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import HolderCertificate, parse
from appliance.trust.jwk import jwk
from appliance.trust.proof import Expectation, Holder
from appliance.trust.pseudonym import PseudonymKey
from appliance.trust.result_token import REQUIRED
from appliance.trust.revocation import UNCHECKED

ISSUER, AUDIENCE = "appliance.test", "reception.test"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


async def sign(signing_input: bytes) -> bytes:
    """Sign as the HSM would, elsewhere and later."""
    await asyncio.sleep(0)
    return KEY.sign(signing_input, ec.ECDSA(hashes.SHA256()))


TOKENS = ResultTokens(
    ISSUER,
    AUDIENCE,
    timedelta(minutes=5),
    KEY.public_key(),
    PseudonymKey(bytes(32)),
    sign,
    lambda: UUID(int=7),
)
JWKS = json.dumps(TOKENS.jwks()).encode()


@pytest.fixture(scope="session")
def result(hierarchy: Hierarchy, now: datetime) -> Authentication:
    """Return a successful authentication without PIN, after a visual check."""
    holder = HolderCertificate(parse(hierarchy.issue_card(now=now).certificate), hierarchy.ca_certificates[1])
    proved = Expectation(Mode.PINLESS, Nonce(b"\xff" * 32), "9912345", Algorithm.RSA_2048_PKCS1_SHA256)
    check = IdentityCheck(CheckMethod.VISUAL, "operator-3")
    log = ("example.com/ledger", 41)
    return Authentication(Holder(proved, holder), check, "desk-1", now, UNCHECKED, b"evidence", log)


@pytest.fixture
async def token(result: Authentication) -> str:
    """Return the token for the result."""
    return await TOKENS.issue(result)


def forged(claims: dict[str, object], *, key: ec.EllipticCurvePrivateKey = KEY, **header: object) -> str:
    """Return a token with *claims* that the token key really signed, or another *key*."""
    headers = {"typ": "jpki-authentication+jwt", "kid": jwk(KEY.public_key())["kid"], **header}
    return jwt.encode(claims, key, algorithm="ES256", headers=headers)


async def test_the_token_says_who_how_where_and_when(
    token: str, result: Authentication, now: datetime
) -> None:
    """The receiver learns mode, institution code, identity check, terminal, time, and what is unchecked."""
    claims = verify(token, JWKS, AUDIENCE, now)
    assert claims["mode"] == "pinless"
    assert claims["institution_code"] == "9912345"
    assert claims["identity_check"] == {"method": "visual", "operator": "operator-3"}
    assert claims["terminal"] == "desk-1"
    assert claims["auth_time"] == int(now.timestamp())
    assert claims["exp"] - claims["iat"] == 300
    assert claims["revocation"] == {
        "method": "none",
        "result": "unchecked",
        "checked_at": None,
        "this_update": None,
        "next_update": None,
    }
    assert claims["evidence"] == sha256(b"evidence").hexdigest()
    assert claims["log"] == {"origin": "example.com/ledger", "index": 41}
    assert claims["assurance"] == "unchecked"
    assert claims["certificate"] == {
        "not_after": int(result.holder.certificate.not_after.timestamp()),
        "ends_soon": False,
    }


@pytest.mark.parametrize(
    ("check", "claim"),
    [
        (IdentityCheck(CheckMethod.FACE, "kiosk-1"), {"method": "face", "device": "kiosk-1"}),
        (IdentityCheck(CheckMethod.PIN, "desk-1"), {"method": "pin", "device": "desk-1"}),
        (
            IdentityCheck(CheckMethod.NONE_EMERGENCY, "w-12", "drill"),
            {"method": "none_emergency", "window": "w-12", "reason": "drill"},
        ),
        (IdentityCheck(CheckMethod.NONE_EMERGENCY, "w-12"), {"method": "none_emergency", "window": "w-12"}),
    ],
)
def test_each_check_is_told_in_its_own_words(
    check: IdentityCheck, claim: dict[str, str], result: Authentication
) -> None:
    """A device, or that nobody has checked, and which emergency window lets that pass."""
    assert TOKENS.claims(replace(result, identity_check=check))["identity_check"] == claim


async def test_the_header_is_typed_and_names_its_key(token: str) -> None:
    """A token cannot be taken for another kind of JWT; its key's name is the RFC 7638 thumbprint."""
    header = jwt.get_unverified_header(token)
    assert header == {"typ": "jpki-authentication+jwt", "alg": "ES256", "kid": jwk(KEY.public_key())["kid"]}


async def test_no_personal_data_is_in_the_token(token: str, result: Authentication) -> None:
    """Neither the certificate's serial nor its common name leaves the appliance in a token."""
    body = urlsafe_b64decode(token.split(".")[1] + "==").decode()
    certificate = result.holder.certificate.certificate
    assert str(certificate.serial_number) not in body
    assert f"{certificate.serial_number:x}" not in body
    assert "TEST" not in body


@pytest.mark.parametrize("seconds", [-1, 300])
async def test_a_token_has_its_time(token: str, now: datetime, seconds: int) -> None:
    """Before it was issued and from its end on, a token is not valid."""
    assert verify(token, JWKS, AUDIENCE, now + timedelta(seconds=299))
    with pytest.raises(TokenInvalid, match="time"):
        verify(token, JWKS, AUDIENCE, now + timedelta(seconds=seconds))


async def test_a_token_is_for_its_audience(token: str, now: datetime) -> None:
    """Another audience cannot use the token."""
    with pytest.raises(TokenInvalid, match=r"(?i)audience"):
        verify(token, JWKS, "somebody.else", now)


async def test_a_receiver_has_tokens_of_their_own(result: Authentication, now: datetime) -> None:
    """Who names an audience gets tokens for it, in which the holder is called otherwise than for others."""
    usual = await TOKENS.issue(result)
    other = await TOKENS.issue(replace(result, receiver=Receiver(audience="ward.test")))
    with pytest.raises(TokenInvalid, match=r"(?i)audience"):
        verify(other, JWKS, AUDIENCE, now)
    mine, theirs = verify(usual, JWKS, AUDIENCE, now), verify(other, JWKS, "ward.test", now)
    assert (theirs["aud"], len({mine["sub"], theirs["sub"]})) == ("ward.test", 2)


async def test_the_callers_nonce_comes_back(result: Authentication, token: str, now: datetime) -> None:
    """Who expects a nonce accepts the token with exactly it: none other, and none without."""
    answering = await TOKENS.issue(replace(result, receiver=Receiver(nonce="visit 4711")))
    assert verify(answering, JWKS, AUDIENCE, now, "visit 4711")["nonce"] == "visit 4711"
    assert verify(answering, JWKS, AUDIENCE, now)
    assert "nonce" not in verify(token, JWKS, AUDIENCE, now)
    for refused, expected in ((answering, "visit 4712"), (token, "visit 4711"), (token, "")):
        with pytest.raises(TokenInvalid, match="nonce"):
            verify(refused, JWKS, AUDIENCE, now, expected)


async def test_what_is_in_no_ledger_gets_no_token(result: Authentication) -> None:
    """Nothing is stated that was not recorded: that would be a bug, and ends there."""
    with pytest.raises(ValueError, match="reserved nowhere"):
        await TOKENS.issue(replace(result, log=None))


async def test_our_own_token_is_read_without_verifying(token: str, now: datetime) -> None:
    """The claims that are shown beside a token are the token's."""
    assert claims_of(token) == verify(token, JWKS, AUDIENCE, now)


async def test_a_token_by_another_key_is_refused(result: Authentication, now: datetime) -> None:
    """Only keys of the key set count, also when a token claims the name of one."""
    claims = TOKENS.claims(result)
    other = ec.generate_private_key(ec.SECP256R1())
    for token in (forged(claims, key=other), forged(claims, key=other, kid=jwk(other.public_key())["kid"])):
        with pytest.raises(TokenInvalid):
            verify(token, JWKS, AUDIENCE, now)


async def test_another_kind_of_token_is_refused(result: Authentication, now: datetime) -> None:
    """A token of another type, even by the same key, is none of ours."""
    with pytest.raises(TokenInvalid, match="type"):
        verify(forged(TOKENS.claims(result), typ="JWT"), JWKS, AUDIENCE, now)


async def test_no_other_algorithm_is_accepted(result: Authentication, now: datetime) -> None:
    """Unsigned tokens and such with a public key as HMAC secret are refused."""
    claims, headers = (
        TOKENS.claims(result),
        {"typ": "jpki-authentication+jwt", "kid": jwk(KEY.public_key())["kid"]},
    )
    unsigned = jwt.encode(claims, "", algorithm="none", headers=headers)
    hmac = jwt.encode(claims, "a secret that is long enough to be one", algorithm="HS256", headers=headers)
    for token in (unsigned, hmac):
        with pytest.raises(TokenInvalid):
            verify(token, JWKS, AUDIENCE, now)


@pytest.mark.parametrize("claim", REQUIRED)
async def test_every_claim_has_to_be_there(claim: str, result: Authentication, now: datetime) -> None:
    """A token without one of our claims is refused although its signature is right."""
    claims = TOKENS.claims(result)
    del claims[claim]
    with pytest.raises(TokenInvalid):
        verify(forged(claims), JWKS, AUDIENCE, now)


@pytest.mark.parametrize("mode", ["face", 1, None, ["pin"]])
async def test_a_mode_that_does_not_exist_is_refused(
    mode: object, result: Authentication, now: datetime
) -> None:
    """Only the modes we know are results."""
    with pytest.raises(TokenInvalid, match="mode"):
        verify(forged({**TOKENS.claims(result), "mode": mode}), JWKS, AUDIENCE, now)


@given(
    st.text(max_size=100) | st.binary(max_size=60).map(lambda raw: urlsafe_b64encode(raw).decode() + "..x")
)
def test_any_text_is_a_token_or_refused(text: str) -> None:
    """Any text raises TokenInvalid, and nothing else."""
    with pytest.raises(TokenInvalid):
        verify(text, JWKS, AUDIENCE, NOW)


@given(
    st.binary(max_size=60) | st.sampled_from([b"{}", b"[]", b'{"keys":[]}', b'{"keys":[1]}', b'{"keys":{}}'])
)
@example(b'{"keys":' + b"[" * 20_000)
def test_any_bytes_are_a_key_set_or_refused(jwks: bytes) -> None:
    """Any file that is no key set raises JwksInvalid, and nothing else."""
    with pytest.raises(JwksInvalid):
        verify("a.b.c", jwks, AUDIENCE, NOW)


async def test_without_the_hsm_there_is_no_token(result: Authentication) -> None:
    """What stops the HSM from signing reaches the caller as it is."""

    async def unavailable(_signing_input: bytes) -> bytes:
        raise HsmUnavailable("no worker")

    tokens = ResultTokens(
        ISSUER,
        AUDIENCE,
        timedelta(minutes=5),
        KEY.public_key(),
        PseudonymKey(bytes(32)),
        unavailable,
        TOKENS.new_id,
    )
    with pytest.raises(HsmUnavailable):
        await tokens.issue(result)
