"""Problems: each failure as an HTTP client gets it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.catalogue import Language, error_text
from appliance.errors import (
    BY_CODE,
    BudgetSpent,
    CertificateUntrusted,
    ConfigInvalid,
    Distrust,
    EvidenceInvalid,
    GatewayBusy,
    GatewayDraining,
    HsmBusy,
    HsmUnavailable,
    LedgerUnavailable,
    MethodRefused,
    PinRejected,
    ReaderBusy,
    TokenInvalid,
)
from appliance.gateway.problems import (
    INTERNAL,
    MEDIA_TYPE,
    RETRY_AFTER,
    STATUS,
    is_for_another_node,
    language,
    problem,
    response,
)

EN, JA = Language.EN, Language.JA


def test_every_code_has_a_status_and_nothing_else_has() -> None:
    """Whatever is raised has its place in the table."""
    assert set(STATUS) == {*BY_CODE, INTERNAL}
    assert {status for code, status in STATUS.items() if code != INTERNAL} <= {
        *(400, 403, 404, 405, 408, 409, 413, 415, 422, 429, 503)
    }
    assert set(RETRY_AFTER) <= set(STATUS)


def test_a_problem_has_the_texts_in_the_readers_language() -> None:
    """Title, clerk and operator are the catalogue's; type and code are for software and never change."""
    for reader in Language:
        told = problem(TokenInvalid("the token is of 1999"), reader, "request-1")
        text = error_text("token_invalid")
        assert told.type == "urn:jpki-appliance:error:token_invalid"
        assert (told.status, told.code, told.request_id) == (422, "token_invalid", "request-1")
        assert (told.title, told.clerk, told.operator) == (
            text.title.in_language(reader),
            text.clerk.in_language(reader),
            text.operator.in_language(reader),
        )
        assert told.detail == "the token is of 1999"


def test_what_the_failure_knows_is_told() -> None:
    """How many tries are left, for which reason, at which step: software need not read texts."""
    assert problem(PinRejected(2), EN, "-").tries_left == 2
    assert problem(CertificateUntrusted(Distrust.NO_ISSUER, "-"), EN, "-").reason == "no-issuer"
    assert problem(EvidenceInvalid("digest", "-"), EN, "-").step == "digest"


@pytest.mark.parametrize(
    "error", [ConfigInvalid("/etc/hidden/path is wrong"), RuntimeError("password=1234"), KeyError("holder")]
)
def test_of_faults_on_our_side_nothing_is_told(error: Exception) -> None:
    """Paths and whatever stands in a bug's message stay in the log."""
    answer = response(error, EN, "request-1")
    assert answer.status in {500, 503}
    assert isinstance(answer.body, bytes)
    for word in (b"hidden", b"password", b"1234", b"holder"):
        assert word not in answer.body
    assert "detail" not in json.loads(answer.body)


def test_a_bug_is_internal() -> None:
    """What is none of ours has the code `internal`, with texts like all others."""
    told = problem(ZeroDivisionError(), JA, "request-1")
    assert (told.code, told.status) == ("internal", 500)
    assert told.title.endswith("。")


def test_answers_say_when_to_come_again_and_what_is_allowed() -> None:
    """Retry-After is a whole number of seconds, at least one; Allow names the methods."""
    assert response(BudgetSpent("-", 0.2), EN, "-").headers["Retry-After"] == "1"
    assert response(BudgetSpent("-", 59.1), EN, "-").headers["Retry-After"] == "60"
    assert response(HsmBusy("-"), EN, "-").headers["Retry-After"] == "1"
    assert response(MethodRefused("-", ("GET", "POST")), EN, "-").headers["Allow"] == "GET, POST"
    answer = response(TokenInvalid("-"), JA, "-")
    assert "Retry-After" not in answer.headers
    assert answer.content_type == MEDIA_TYPE
    assert answer.headers["Content-Language"] == "ja"
    assert answer.headers["Vary"] == "Accept-Language"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, EN), ("", EN), ("ja", JA), ("ja-JP", JA), ("JA;q=0.1", JA), ("en, ja", EN), ("ja, en", JA),
        ("en;q=0.5, ja;q=0.9", JA), ("ja;q=0.5, en;q=0.9", EN), ("fr, ja;q=0.2", JA), ("fr", EN), ("*", EN),
        ("ja;q=0", EN), ("ja;q=nan", EN), ("ja;q=2", EN), ("jam", EN),
    ],
)  # fmt: skip
def test_the_language_is_the_preferred_one_of_ours(header: str | None, expected: Language) -> None:
    """Japanese where it is preferred over English, and English for everybody else."""
    assert language(header) is expected


@given(header=st.text(max_size=300))
def test_any_header_leads_to_a_language(header: str) -> None:
    """Nothing that stands in Accept-Language is an error."""
    assert language(header) in Language


def test_only_the_nodes_own_trouble_ends_a_connection() -> None:
    """What another node may not have is asked again on a new connection; what is over in a moment, or the caller's, is not."""
    for error, is_elsewhere in (
        (HsmUnavailable("away"), True),
        (LedgerUnavailable("away"), True),
        (GatewayDraining("ending"), True),
        (HsmBusy("queue"), False),
        (GatewayBusy("full"), False),
        (ReaderBusy("taken"), False),
        (ValueError("a bug"), False),
    ):
        assert is_for_another_node(error) is is_elsewhere, error
        assert (response(error, Language.EN, "id").keep_alive is False) is is_elsewhere, error
