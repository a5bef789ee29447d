"""The desk page of an appliance that asks an eligibility service, and at which an emergency window is open."""

from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from playwright.sync_api import expect

from appliance.catalogue import Language as Spoken
from appliance.catalogue import catalogue
from tests.browser.axe import require_accessible
from tests.browser.chromium import Language
from tests.browser.clinic import OPERATOR, RECEPTION, Clinic
from tests.browser.conftest import Open
from tests.browser.desk import DeskPage
from tests.browser.insured import Insured
from tests.eligibility.fhir_service import NAME, answer, fhir, genuine, outcome

WORDS = {
    "valid": ("good", "Insured"),
    "invalid": ("bad", "Not insured"),
    "unknown": ("warn", "does not say plainly"),
}


@pytest.fixture(scope="module")
def insured() -> Iterator[Insured]:
    """The clinic and its eligibility service. Emergency windows may be opened there."""
    with Insured.open() as made:
        yield made


@pytest.fixture(scope="module")
def clinic(insured: Insured) -> Clinic:
    """The clinic, for the browser of this module."""
    return insured.clinic


def authenticated(clinic: Clinic, opened: Open, **manner: Any) -> DeskPage:  # noqa: ANN401  # as `window` takes it
    """Return the desk page at the end of an authentication by face."""
    desk = DeskPage(opened(RECEPTION, **manner)).open()
    with clinic.card():
        desk.choose("face")
        desk.page.locator("button.main").click()
        assert desk.ended() == "authenticated"
    return desk


@pytest.mark.parametrize(("in_force", "summary"), [(True, "valid"), (False, "invalid"), (None, "unknown")])
def test_the_answer_is_beside_the_result(
    in_force: bool | None,  # noqa: FBT001  # a parameter of the test
    summary: str,
    insured: Insured,
    opened: Open,
) -> None:
    """Insured, not insured, or not plain: in colour and words; the authentication is green whatever it is."""
    insurance = {"coverage": {"display": "1234"}, **({} if in_force is None else {"inforce": in_force})}

    async def answering(asked: dict[str, Any]) -> web.StreamResponse:
        return fhir(answer(asked, insurance=[insurance]))

    insured.service.answering = answering
    desk = authenticated(insured.clinic, opened)
    kind, words = WORDS[summary]
    assert desk.page.locator(".result.good").count() == 1
    expect(desk.page.locator(f".strip.{kind} h3")).to_contain_text(words)
    expect(desk.page.locator(".strip")).to_contain_text("E-4711")
    assert NAME not in desk.page.content()
    require_accessible(desk.page)


def test_a_result_that_nobody_reads_says_nothing_of_the_person(insured: Insured, opened: Open) -> None:
    """Two minutes after it appeared: how it ended stays, with what is asked on the phone; insurance and check go."""
    insured.service.answering = genuine
    window = opened(RECEPTION)
    window.page.clock.install()
    desk = DeskPage(window).open()
    with insured.clinic.card():
        desk.choose("face")
        desk.page.locator("button.main").click()
        assert desk.ended() == "authenticated"
    expect(desk.result).to_contain_text("kiosk-1")
    expect(desk.page.locator(".strip")).to_be_visible()
    window.page.clock.fast_forward(121_000)
    expect(desk.result).to_contain_text("has been taken off the screen")
    expect(desk.page.locator(".strip")).to_have_count(0)
    expect(desk.result).not_to_contain_text("kiosk-1")
    assert desk.page.locator(".result.good .phone").count() == 1
    desk.page.get_by_role("button", name="日本語").click()
    expect(desk.page.locator("html")).to_have_attribute("lang", "ja")
    assert "kiosk-1" not in desk.page.content()
    require_accessible(desk.page)
    desk.page.get_by_role("button").last.click()
    assert "face" in desk.methods()


def test_of_a_result_no_more_is_kept_than_is_shown(opened: Open) -> None:
    """Neither token, pseudonym, nonce nor evidence, nor the insurer's document."""
    window = opened(RECEPTION)
    window.go("/desk")
    shown = ["identity_check", "assurance", "certificate", "terminal"]
    job = {
        "state": "authenticated",
        "token": "t",
        "evidence": "{}",
        "claims": dict.fromkeys([*shown, "sub", "jti", "nonce", "evidence", "log"], "x"),
        "eligibility": dict.fromkeys(["state", "summary", "reference", "document"], "x"),
    }
    kept = window.page.evaluate(
        "async (job) => (await import('/pages/desk-result.js')).shown(job)",
        job,
    )
    assert set(kept) == {"state", "problem", "claims", "eligibility"}
    assert set(kept["claims"]) == set(shown)
    assert set(kept["eligibility"]) == {"state", "summary", "reference", "problem"}


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_service_that_fails_is_told_apart_from_the_authentication(
    language: Language, insured: Insured, opened: Open
) -> None:
    """Green above, and beside it that the other service did not answer, with its own code and what to do."""

    async def failing(_asked: dict[str, Any]) -> web.StreamResponse:
        return fhir(outcome("exception"), 500)

    insured.service.answering = failing
    desk = authenticated(insured.clinic, opened, language=language)
    strip = desk.page.locator(".strip.warn")
    expect(strip).to_contain_text("eligibility_unavailable")
    assert desk.page.locator(".result.good").count() == 1
    require_accessible(desk.page)


@pytest.mark.parametrize("language", ["ja", "en"])
def test_in_an_emergency_nobody_is_checked_and_everybody_sees_it(
    language: Language, insured: Insured, opened: Open
) -> None:
    """Offered only while two operators have a window open, with its reason and end; and the result is not green."""
    clinic = insured.clinic
    insured.service.answering = genuine
    desk = DeskPage(opened(RECEPTION, language=language)).open()
    assert "none_emergency" not in desk.methods()
    window = insured.open_window()
    try:
        # Nobody has to reload the page for it.
        desk.page.locator("[data-method=none_emergency]").wait_for()
        require_accessible(desk.page)
        with clinic.card():
            desk.choose("none_emergency")
            reason = catalogue().story["emergency-reason-unconscious"].in_language(Spoken(language))
            expect(desk.page.locator(".note")).to_contain_text(reason)
            require_accessible(desk.page)
            desk.page.locator("button.main").click()
            assert desk.ended() == "authenticated"
        assert desk.page.locator(".result.warn").count() == 1
        expect(desk.heading).to_have_text(
            {"ja": "カードは本物です（本人確認なし）", "en": "Card genuine, person not checked"}[language]  # noqa: RUF001
        )
        require_accessible(desk.page)
    finally:
        clinic.asked("DELETE", f"/v1/emergency-windows/{window}", as_peer=OPERATOR)


def test_a_window_that_has_closed_refuses(insured: Insured, opened: Open) -> None:
    """Between the choice and the card: the code says it, and nothing is offered any more."""
    clinic = insured.clinic
    page = opened(RECEPTION)
    page.expected.add("the server responded with a status of")
    window = insured.open_window()
    desk = DeskPage(page).open()
    desk.choose("none_emergency")
    clinic.asked("DELETE", f"/v1/emergency-windows/{window}", as_peer=OPERATOR)
    desk.page.locator("button.main").click()
    assert desk.ended() == "emergency_closed"
    desk.page.get_by_role("button", name="From the beginning").click()
    assert "none_emergency" not in desk.methods()
