"""What a client believes of a token."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.client.checks import EmergencyCheck
from appliance.client.result import MAY_DIFFER_SECONDS, Claims, Question, require_evidence, verify
from appliance.errors import JwksInvalid, TokenInvalid
from appliance.trust.result_token import Keys
from tests.client.tokens import CHECK, KEY, NOW, OTHER, jwks, token

QUESTION = Question("a", "n", "desk-1", "pinless", CHECK)


def verified(text: str, now: float = NOW, question: Question = QUESTION) -> Claims:
    """Return what *text* says by the keys of the appliance."""
    key = Keys(jwks(OTHER, KEY)).named_by(text)
    if key is None:
        raise TokenInvalid("the key is not there")
    return verify(text, key, question, now)


def test_a_token_that_answers_the_question_is_believed() -> None:
    """Its claims come with their types."""
    claims = verified(token())
    assert (claims.sub, claims.log.index, claims.revocation.result) == ("s", 1, "good")
    assert claims.certificate.ends_soon is False


def test_that_nobody_checked_is_not_missed() -> None:
    """Who asks for it gets a result that says so; who asks for anything else never does."""
    check = {"method": "none_emergency", "window": "w-12", "reason": "unconscious"}
    question = replace(QUESTION, identity_check=EmergencyCheck().claimed)
    assert verified(token(identity_check=check), question=question).is_unchecked
    assert not verified(token()).is_unchecked
    with pytest.raises(TokenInvalid):
        verified(token(identity_check=check))
    with pytest.raises(TokenInvalid):
        verified(token(), question=question)


def test_a_newer_appliance_may_say_more() -> None:
    """A claim that is not known is passed over."""
    assert verified(token(newest="thing")).sub == "s"


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "b"},
        {"aud": None},
        {"nonce": "m"},
        {"nonce": None},
        {"terminal": "desk-2"},
        {"mode": "pin"},
        {"mode": "other"},
        {"identity_check": {"method": "visual", "operator": "x"}},
        {"identity_check": {"method": "face", "device": "kiosk-2"}},
        {"identity_check": {"method": "none_emergency"}},
        {"sub": None},
        {"iat": "today"},
        {"exp": None},
        {"log": None},
        {"revocation": {}},
    ],
)
def test_an_answer_to_another_question_is_none(changed: dict[str, Any]) -> None:
    """Audience, nonce, desk, mode and check are ours, and every claim is there, or the token does not count."""
    with pytest.raises(TokenInvalid):
        verified(token(**changed))


@pytest.mark.parametrize(
    ("now", "counts"),
    [
        (NOW - MAY_DIFFER_SECONDS - 1, False),
        (NOW - MAY_DIFFER_SECONDS, True),
        (NOW + 299 + MAY_DIFFER_SECONDS, True),
        (NOW + 300 + MAY_DIFFER_SECONDS, False),
    ],
)
def test_a_token_counts_in_its_time(now: int, *, counts: bool) -> None:
    """Give or take what clocks may differ by."""
    if counts:
        assert verified(token(), now).iat == NOW
    else:
        with pytest.raises(TokenInvalid):
            verified(token(), now)


def test_another_kind_of_token_is_none() -> None:
    """Type, algorithm and key have to be those of result tokens."""
    forged = token(OTHER, {"kid": Keys(jwks(KEY))._keys[0].key_id})
    for wrong in (
        token(header={"typ": "JWT"}),
        token(header={"kid": "x"}),
        forged,
        "",
        "a.b.c",
        token()[:-8],
    ):
        with pytest.raises(TokenInvalid):
            verified(wrong)


def test_evidence_is_the_one_that_the_token_names() -> None:
    """Another document, even by one byte, is refused."""
    claims = verified(token(evidence=sha256(b"{}").hexdigest()))
    require_evidence(claims, b"{}")
    with pytest.raises(TokenInvalid):
        require_evidence(claims, b"{} ")


@given(st.one_of(st.binary(), st.sampled_from([b'{"keys":[]}', b'{"keys":[{}]}', b'{"keys":1}', b"[]"])))
def test_any_bytes_are_keys_or_refused(content: bytes) -> None:
    """And never anything else."""
    with pytest.raises(JwksInvalid):
        Keys(content)


@given(st.text())
def test_any_text_is_a_token_or_refused(text: str) -> None:
    """And never anything else."""
    with pytest.raises(TokenInvalid):
        verified(text)
