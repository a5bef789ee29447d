"""The desk page through the real daemon: each check of a holder to its result, in both languages, by mouse and keyboard."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.axe import require_accessible
from tests.browser.chromium import Language, Size
from tests.browser.clinic import RECEPTION, WARD_DESK, Clinic
from tests.browser.conftest import Open
from tests.browser.desk import DeskPage
from tests.browser.ward import ward

JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
WORDS = {
    "en": ("Identity confirmed", "Compared by operator-1", "Give the card back"),
    "ja": ("本人確認ができました", "operator-1", "カードをお返し"),
}


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_holder_is_compared_with_the_front_of_the_card(
    language: Language, clinic: Clinic, opened: Open
) -> None:
    """From the choice to a green result, and nobody is kept out on the way: axe-core has nothing against any step."""
    desk = DeskPage(opened(RECEPTION, language=language)).open()
    assert desk.methods() == ["face", "visual", "pin"]
    require_accessible(desk.page)
    desk.choose("visual")
    desk.type_printed(clinic.printed)
    require_accessible(desk.page)
    desk.submit()
    desk.until_stage("waiting-for-card")
    require_accessible(desk.page)
    with clinic.card():
        photo = desk.page.locator(".front .photo")
        photo.wait_for()
        assert photo.evaluate("image => image.complete && image.naturalWidth > 100")
        require_accessible(desk.page)
        desk.compare(same_person=True)
        assert desk.ended() == "authenticated"
    require_accessible(desk.page)
    for words in WORDS[language]:
        expect(desk.result).to_contain_text(words)
    assert desk.page.locator(".result.good").count() == 1
    assert desk.page.locator("img").count() == 0
    desk.page.get_by_role("button").last.click()
    assert desk.methods() == ["face", "visual", "pin"]


def test_a_device_has_compared_the_face(clinic: Clinic, opened: Open) -> None:
    """The clerk says that it has, and the result names the device."""
    desk = DeskPage(opened(RECEPTION)).open()
    with clinic.card():
        desk.choose("face")
        expect(desk.page.locator("main")).to_contain_text("kiosk-1")
        require_accessible(desk.page)
        desk.page.locator("button.main").click()
        assert desk.ended() == "authenticated"
    expect(desk.result).to_contain_text("Face recognition by kiosk-1, at desk-1")


def test_the_holder_enters_the_pin_at_the_terminal(clinic: Clinic, opened: Open) -> None:
    """With two desks the clerk says which one this is; the page tells when the PIN is entered, and never what it is."""
    with ward(clinic) as terminal, clinic.card(desk=WARD_DESK):
        desk = DeskPage(opened(RECEPTION)).open(WARD_DESK)
        require_accessible(desk.page)
        desk.choose("pin")
        desk.until_stage("waiting-for-pin")
        require_accessible(desk.page)
        terminal.enter("1234")
        assert desk.ended() == "authenticated"
        expect(desk.result).to_contain_text("By the person's PIN, at ward-1.reader-1")


def test_a_wrong_pin_leaves_its_tries_on_the_screen(clinic: Clinic, opened: Open) -> None:
    """The clerk reads how many are left, and what else there is; another try with the right PIN succeeds."""
    with ward(clinic) as terminal, clinic.card(desk=WARD_DESK):
        desk = DeskPage(opened(RECEPTION)).open(WARD_DESK)
        desk.choose("pin")
        terminal.enter("9999")
        assert desk.ended() == "pin_rejected"
        expect(desk.result).to_contain_text("Tries left: 2")
        require_accessible(desk.page)
        desk.page.get_by_role("button", name="Try again").click()
        terminal.enter("1234")
        expect(desk.page.locator(".result.good")).to_be_visible()


@pytest.mark.parametrize(("era", "before"), [("showa", 1925), ("heisei", 1988), ("reiwa", 2018)])
def test_birth_dates_are_typed_as_cards_print_them(
    era: str, before: int, clinic: Clinic, opened: Open
) -> None:
    """In its era; a date that the era does not have is not sent to the card, which would count it as a wrong try."""
    desk = DeskPage(opened(RECEPTION)).open()
    birth = clinic.printed.birth
    desk.choose("visual")
    desk.type_printed(clinic.printed)
    desk.type_birth(era, birth, year=birth.year - before)
    desk.submit()
    is_of_era = {
        "showa": 1926 <= birth.year <= 1988,
        "heisei": 1989 < birth.year < 2019,
        "reiwa": birth.year > 2019,
    }
    if is_of_era[era]:
        desk.until_stage("waiting-for-card")
        # A window that is closed by the test may take the page's own word with it, and the desk would stay taken.
        desk.page.get_by_role("button", name="Cancel").click()
        assert desk.ended() == "cancelled"
    else:
        expect(desk.page.locator("#wrong")).to_contain_text("no date of birth in that era")
        expect(desk.page.locator("#birth-year")).to_be_focused()
        require_accessible(desk.page)


@pytest.mark.parametrize("size", [{"width": 800, "height": 600}, {"width": 768, "height": 1024}])
def test_it_works_on_an_old_pc_and_a_tablet(size: Size, clinic: Clinic, opened: Open) -> None:
    """Nothing has to be scrolled sideways; the two answers to the front are in sight together with the photo."""
    desk = DeskPage(opened(RECEPTION, size=size)).open()
    desk.begin_visual(clinic.printed)
    with clinic.card():
        desk.page.locator(".front .photo").wait_for()
        for part in (".photo", "button.main", "button.no"):
            expect(desk.page.locator(f".front {part}")).to_be_in_viewport(ratio=0.9)
        assert desk.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        desk.compare(same_person=True)
        assert desk.ended() == "authenticated"
    expect(desk.heading).to_be_in_viewport(ratio=1)
    expect(desk.page.get_by_role("button", name="Next person")).to_be_in_viewport(ratio=0.9)


def test_the_keyboard_alone_leads_to_the_result(clinic: Clinic, opened: Open) -> None:
    """Tab, Space, Enter, arrows and digits; each step begins at its heading, and focus is never lost."""
    desk = DeskPage(opened(RECEPTION))
    press = desk.page.keyboard.press
    desk.window.go("/desk")
    expect(desk.heading).to_be_focused()
    if desk.page.locator("input[data-focus]").count():
        # A terminal was there before, so that there is a choice of desks.
        tab_to(desk, "input[data-focus=desk-1]")
        press("Space")
    tab_to(desk, "[data-method=visual]")
    press("Enter")
    expect(desk.heading).to_be_focused()
    tab_to(desk, "#operator")
    desk.page.keyboard.type("operator-1")
    tab_to(desk, "#era")
    press("Home")
    printed = clinic.printed
    for field, value in (
        ("#birth-year", printed.birth.year),
        ("#birth-month", printed.birth.month),
        ("#birth-day", printed.birth.day),
        ("#expiry-year", printed.expiry_year),
        ("#security-code", printed.security_code),
    ):
        tab_to(desk, field)
        desk.page.keyboard.type(str(value))
    press("Enter")
    desk.until_stage("waiting-for-card")
    expect(desk.heading).to_be_focused()
    with clinic.card():
        desk.page.locator(".front .photo").wait_for()
        expect(desk.heading).to_be_focused()
        tab_to(desk, ".front button.main")
        press("Space")
        assert desk.ended() == "authenticated"
    expect(desk.heading).to_be_focused()
    tab_to(desk, ".result button.main")
    press("Enter")
    expect(desk.page.locator("[data-method=visual]")).to_be_visible()
    expect(desk.heading).to_be_focused()


def tab_to(desk: DeskPage, selector: str) -> None:
    """Press Tab until the element is reached, which it has to be on the way once around."""
    wanted = desk.page.locator(selector)
    for _ in range(20):
        desk.page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"the keyboard does not come to {selector}")


def test_the_language_changes_in_the_middle(clinic: Clinic, opened: Open) -> None:
    """Whatever is shown is shown in the other language at once, what was typed stays, and a bookmark keeps it."""
    desk = DeskPage(opened(RECEPTION, language="ja")).open()
    page = desk.page
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    desk.begin_visual(clinic.printed, operator="operator-2")
    page.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    with clinic.card():
        page.locator(".front .photo").wait_for()
        expect(desk.heading).to_have_text("Is this the person in front of you?")
        page.get_by_role("button", name="日本語").click()
        expect(desk.heading).to_have_text("目の前の方は、この写真のご本人ですか")
        desk.compare(same_person=False)
        assert desk.ended() == "holder_not_matched"
    japanese = desk.result.inner_text()
    page.get_by_role("button", name="English").click()
    expect(desk.heading).to_have_text("Not confirmed")
    assert JAPANESE.search(japanese)
    assert not JAPANESE.search(desk.result.inner_text())
    page.reload()
    expect(desk.heading).to_have_text("How is the person checked?")
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_a_reader_who_wants_rest_sees_nothing_turn(clinic: Clinic, opened: Open) -> None:
    """`prefers-reduced-motion` is followed; for others the sign of work turns."""
    for reduced, name in ((True, "none"), (False, "turn")):
        desk = DeskPage(opened(RECEPTION, reduced_motion=reduced)).open()
        desk.page.route("**/v1/authentications", lambda _route: None)
        desk.choose("pin")
        sign = desk.page.locator(".sign")
        assert sign.evaluate("sign => getComputedStyle(sign).animationName") == name
    assert clinic.state("desk-1") == "empty"


DAYS = {
    ("showa", "1", "12", "25"): "1926-12-25",
    ("showa", "1", "12", "24"): None,
    ("showa", "64", "1", "7"): "1989-01-07",
    ("showa", "64", "1", "8"): None,
    ("heisei", "1", "1", "7"): None,
    ("heisei", "01", "01", "08"): "1989-01-08",
    ("heisei", "31", "4", "30"): "2019-04-30",
    ("heisei", "31", "5", "1"): None,
    ("reiwa", "1", "5", "1"): "2019-05-01",
    ("reiwa", "80", "1", "1"): None,
    ("taisho", "15", "12", "24"): "1926-12-24",
    ("taisho", "15", "12", "25"): None,
    ("western", "2000", "2", "29"): "2000-02-29",
    ("western", "1900", "2", "29"): None,
    ("western", "1999", "13", "1"): None,
    ("western", "99", "1", "1"): None,
    ("western", "", "1", "1"): None,
    ("western", "1e3", "1", "1"): None,
    ("western", "1999", "-1", "1"): None,
}


def test_days_are_those_of_the_calendar(opened: Open) -> None:
    """The first and last day of each era, leap years, days to come, and what is none."""
    window = opened(RECEPTION)
    window.go("/desk")
    found = window.page.evaluate(
        "async (typed) => { const { day } = await import('/pages/desk-printed.js'); return typed.map((one) => day(...one)); }",
        [list(one) for one in DAYS],
    )
    assert dict(zip(DAYS, found, strict=True)) == DAYS


def test_the_clerk_is_told_what_the_result_is_worth(clinic: Clinic, opened: Open) -> None:
    """A certificate that ends soon, and one of which nobody knows whether it was revoked: the result is green, and says so."""
    window = opened(RECEPTION)
    window.expected.add("net::ERR_")
    desk = DeskPage(window).open()

    def worth_less(route: Route) -> None:
        answer = route.fetch()
        job = answer.json()
        if job["state"] == "authenticated":
            job["claims"]["assurance"] = "unchecked"
            job["claims"]["certificate"]["ends_soon"] = True
        route.fulfill(response=answer, json=job)

    window.page.route("**/events", lambda route: route.abort())
    window.page.route(re.compile(r"/v1/authentications/[0-9a-f]{32}\?wait=1$"), worth_less)
    desk.choose("face")
    with clinic.card():
        desk.page.locator("button.main").click()
        assert desk.ended() == "authenticated"
    assert desk.page.locator(".result.good").count() == 1
    expect(desk.page.locator(".note")).to_contain_text(["could not be checked", "certificate ends on"])
    require_accessible(desk.page)
