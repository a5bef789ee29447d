"""The desk page where something is wrong: each cause with its own words, its code, and what to do next."""

import json
import re

import pytest
from playwright.sync_api import Route, expect

from appliance.simulator.faults import Removed
from tests.browser.axe import require_accessible
from tests.browser.chromium import Language
from tests.browser.clinic import DESK, RECEPTION, Clinic
from tests.browser.conftest import Open
from tests.browser.desk import DeskPage

REFUSED = "the server responded with a status of"
"""What Chromium notes where an answer is a problem."""
LOST = "net::ERR_"
"""And where there is none."""


@pytest.mark.parametrize("language", ["ja", "en"])
def test_another_person_is_not_confirmed(language: Language, clinic: Clinic, opened: Open) -> None:
    """The clerk says that it is not the same person: red, in words, with the code; and nothing of the front stays."""
    desk = DeskPage(opened(RECEPTION, language=language)).open()
    desk.begin_visual(clinic.printed)
    with clinic.card():
        desk.compare(same_person=False)
        assert desk.ended() == "holder_not_matched"
    require_accessible(desk.page)
    assert desk.page.locator(".result.bad").count() == 1
    words = {"ja": "本人確認ができませんでした", "en": "Not confirmed"}[language]
    expect(desk.heading).to_have_text(words)
    expect(desk.heading).to_be_focused()
    assert desk.page.locator("img").count() == 0
    assert desk.page.get_by_role("button", name="Try again").count() == 0


def test_wrong_numbers_leave_tries_which_are_shown(clinic: Clinic, opened: Open) -> None:
    """A wrong security code costs a try; the clerk corrects it, without typing all the rest again, and it succeeds."""
    desk = DeskPage(opened(RECEPTION)).open()
    right = clinic.printed.security_code
    wrong = f"{(int(right) + 1) % 10_000:04d}"
    folder = clinic.copied_card("mistyped")
    desk.begin_visual(clinic.printed, code=wrong)
    with clinic.card(folder=folder):
        assert desk.ended() == "verification_number_rejected"
        expect(desk.result).to_contain_text("Tries left: 9")
        assert desk.page.locator(".result.warn").count() == 1
        require_accessible(desk.page)
        desk.page.get_by_role("button", name="Try again").click()
        expect(desk.page.locator("#security-code")).to_have_value(wrong)
        desk.page.fill("#security-code", right)
        desk.submit()
        desk.compare(same_person=True)
        assert desk.ended() == "authenticated"


def test_what_was_typed_is_forgotten_while_nobody_sits_there(clinic: Clinic, opened: Open) -> None:
    """Two minutes after a refusal the form is empty again, also where the clerk goes on from it."""
    window = opened(RECEPTION)
    window.page.clock.install()
    desk = DeskPage(window).open()
    folder = clinic.copied_card("left-alone")
    wrong = f"{(int(clinic.printed.security_code) + 1) % 10_000:04d}"
    desk.begin_visual(clinic.printed, code=wrong)
    with clinic.card(folder=folder):
        assert desk.ended() == "verification_number_rejected"
        window.page.clock.fast_forward(121_000)
        desk.page.get_by_role("button", name="Try again").click()
        for field in ("#birth-year", "#birth-month", "#birth-day", "#expiry-year", "#security-code"):
            expect(desk.page.locator(field)).to_have_value("")


def test_what_is_half_typed_is_forgotten_too(clinic: Clinic, opened: Open) -> None:
    """Who is called away leaves no birth date on the screen: two minutes after the last key the page begins again."""
    window = opened(RECEPTION)
    window.page.clock.install()
    desk = DeskPage(window).open()
    desk.choose("visual")
    code = desk.page.locator("#security-code")
    code.fill(clinic.printed.security_code)
    window.page.clock.fast_forward(90_000)
    desk.page.locator("#birth-year").fill("1980")
    window.page.clock.fast_forward(90_000)
    expect(code).to_have_value(clinic.printed.security_code)
    window.page.clock.fast_forward(31_000)
    expect(desk.page.locator("[data-method=visual]")).to_be_visible()
    expect(code).to_have_count(0)


def test_a_decision_that_comes_too_soon_is_said_again(clinic: Clinic, opened: Open) -> None:
    """Where too much was asked of the appliance before, the clerk's decision is not lost: it waits for its turn."""
    window = opened(RECEPTION)
    spent = iter([{"status": 429, "json": {"code": "budget_spent"}}])

    def refuse_once(route: Route) -> None:
        answer = next(spent, None)
        route.continue_() if answer is None else route.fulfill(**answer)  # type: ignore[arg-type]  # as the table above

    window.page.route("**/decision", refuse_once)
    window.expected.add(REFUSED)
    desk = DeskPage(window).open()
    desk.begin_visual(clinic.printed)
    with clinic.card():
        desk.compare(same_person=True)
        assert desk.ended() == "authenticated"
    assert next(spent, None) is None


def test_the_last_try_is_never_used(clinic: Clinic, opened: Open) -> None:
    """With one try left the card is not asked, and the page offers no way to use it up."""
    desk = DeskPage(opened(RECEPTION)).open()
    folder = clinic.copied_card("last-try", tries=1)
    desk.begin_visual(clinic.printed)
    with clinic.card(folder=folder):
        assert desk.ended() == "verification_number_last_try"
    assert desk.page.get_by_role("button", name="Try again").count() == 0


def test_a_check_that_is_no_longer_permitted_is_refused_by_its_name(clinic: Clinic, opened: Open) -> None:
    """The configuration takes an operator, and the face device, away while the page shows them."""
    window = opened(RECEPTION)
    window.expected.add(REFUSED)
    desk = DeskPage(window).open()
    desk.choose("visual")
    desk.type_printed(clinic.printed, operator="operator-2")
    operators = 'operators = ["operator-1", "operator-2"]'
    with clinic.site.changed((operators, 'operators = ["operator-1"]')):
        clinic.daemon.reload()
        desk.submit()
        assert desk.ended() == "operator_unknown"
        require_accessible(desk.page)
    clinic.daemon.reload()


def test_without_an_hsm_the_clerk_knows_that_it_is_not_the_card(clinic: Clinic, opened: Open) -> None:
    """The code is for the phone; once the HSM is back, the same button leads to the result."""
    window = opened(RECEPTION)
    window.expected.add(REFUSED)
    desk = DeskPage(window).open()
    with clinic.card():
        with clinic.site.without_hsm():
            clinic.until_ready(is_ready=False)
            desk.choose("face")
            desk.page.locator("button.main").click()
            assert desk.ended().startswith("hsm_")
            assert desk.page.locator(".result.warn").count() == 1
            require_accessible(desk.page)
        clinic.until_ready(is_ready=True)
        desk.page.get_by_role("button", name="Try again").click()
        desk.page.locator("button.main").click()
        expect(desk.page.locator(".result.good")).to_be_visible()


def test_a_card_that_is_pulled_is_asked_for_again(clinic: Clinic, opened: Open) -> None:
    """In the middle of the dialogue: the page says so, and begins again where the clerk wants it."""
    desk = DeskPage(opened(RECEPTION)).open()
    with clinic.card(Removed(4)):
        desk.choose("face")
        desk.page.locator("button.main").click()
        assert desk.ended() == "card_removed"
    require_accessible(desk.page)
    with clinic.card():
        desk.page.get_by_role("button", name="Try again").click()
        desk.page.locator("button.main").click()
        expect(desk.page.locator(".result.good")).to_be_visible()


def test_a_card_that_leaves_while_it_is_compared_proves_nothing(clinic: Clinic, opened: Open) -> None:
    """Whoever says yes to a front whose card is gone gets no confirmation, and the front is off the page."""
    desk = DeskPage(opened(RECEPTION)).open()
    desk.begin_visual(clinic.printed)
    with clinic.card() as inserted:
        desk.page.locator(".front .photo").wait_for()
        inserted.remove()
        desk.compare(same_person=True)
        assert desk.ended() == "card_removed"
    assert desk.page.locator("img").count() == 0


def test_the_clerk_cancels(clinic: Clinic, opened: Open) -> None:
    """While a card is waited for; the desk is free at once."""
    desk = DeskPage(opened(RECEPTION)).open()
    desk.choose("pin")
    desk.until_stage("waiting-for-card")
    desk.page.get_by_role("button", name="Cancel").click()
    assert desk.ended() == "cancelled"
    require_accessible(desk.page)
    clinic.until(DESK, "empty")


def test_the_clerk_cancels_before_there_is_an_answer(clinic: Clinic, opened: Open) -> None:
    """The request has arrived, its answer has not: what it has begun is cancelled, and no card is worked with."""
    desk = DeskPage(opened(RECEPTION)).open()
    begun: list[str] = []

    def hold_back(route: Route) -> None:
        if route.request.method == "POST":
            begun.append(route.fetch().json()["id"])
        else:
            route.continue_()

    desk.page.route("**/v1/authentications", hold_back)
    desk.choose("pin")
    expect(desk.page.locator(".working .where")).to_have_text(f"Desk: {DESK}")
    desk.window.until(lambda: begun)
    clinic.until(DESK, "busy")
    desk.page.get_by_role("button", name="Cancel").click()
    assert desk.ended() == "cancelled"
    clinic.until(DESK, "empty")
    assert len(begun) == 1
    assert clinic.asked("GET", f"/v1/authentications/{begun[0]}")["state"] == "cancelled"


def test_a_request_that_arrives_after_the_clerk_has_cancelled_begins_nothing(
    clinic: Clinic, opened: Open
) -> None:
    """It was still on its way; with a card on the reader it would be over at once, while the page says cancelled."""
    desk = DeskPage(opened(RECEPTION)).open()
    late: list[Route] = []
    desk.page.route(
        "**/v1/authentications",
        lambda route: late.append(route) if route.request.method == "POST" else route.continue_(),
    )
    with clinic.card():
        desk.choose("face")
        desk.page.locator("button.main").click()
        desk.window.until(lambda: late)
        desk.page.get_by_role("button", name="Cancel").click()
        assert desk.ended() == "cancelled"
        answer = late[0].fetch()
        assert (answer.status, answer.json()["code"]) == (409, "authentication_cancelled")
        assert clinic.state(DESK) == "card"


def test_without_a_connection_the_page_does_not_say_cancelled(clinic: Clinic, opened: Open) -> None:
    """What was begun goes on until the appliance has heard of it: so long the page says that it cancels."""
    window = opened(RECEPTION)
    window.expected.add(LOST)
    desk = DeskPage(window).open()
    lost: list[str] = []

    def lose(route: Route) -> None:
        if route.request.method == "POST":
            lost.append(route.fetch().json()["id"])
        route.abort()

    window.page.route("**/v1/authentications", lose)
    desk.choose("pin")
    window.until(lambda: lost)
    clinic.until(DESK, "busy")
    desk.page.get_by_role("button", name="Cancel").click()
    expect(desk.page.locator(".stage")).to_have_text("The check is being cancelled.")
    expect(desk.page.locator(".connection p")).to_be_visible()
    assert clinic.state(DESK) == "busy"
    window.page.unroute_all()
    assert desk.ended() == "cancelled"
    clinic.until(DESK, "empty")


def test_a_comparison_can_be_cancelled(clinic: Clinic, opened: Open) -> None:
    """A clerk whose patient has left says neither yes nor no; nothing of the front stays."""
    desk = DeskPage(opened(RECEPTION)).open()
    desk.begin_visual(clinic.printed)
    with clinic.card():
        desk.page.locator(".front .photo").wait_for()
        desk.page.get_by_role("button", name="Cancel").click()
        assert desk.ended() == "cancelled"
        assert desk.page.locator("img").count() == 0
        clinic.until(DESK, "card")


LOOKED_AGAIN = 6
"""Seconds in which the page has looked again, at the desks and at an authentication."""


class Spent:
    """Answers that too much was asked before, so many *times*, and passes on what comes after."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, route: Route) -> None:
        """Answer, or pass on."""
        if self.times > 0:
            self.times -= 1
            route.fulfill(status=429, json={"code": "budget_spent"})
        else:
            route.continue_()


FOLLOWED = re.compile(r"/v1/authentications/[0-9a-f]{32}(\?wait=1)?$")


@pytest.mark.parametrize("has_events", [True, False])
def test_too_many_looks_are_no_end(clinic: Clinic, opened: Open, *, has_events: bool) -> None:
    """Where all pages together have looked too often, the page looks again later, and ends as it would have."""
    window = opened(RECEPTION)
    window.expected |= {REFUSED, LOST}
    spent = Spent(2)
    if not has_events:
        window.page.route("**/events", lambda route: route.abort())
    window.page.route(FOLLOWED, spent)
    window.take_clock()
    desk = DeskPage(window).open()
    desk.choose("face")
    desk.page.locator("button.main").click()
    desk.until_stage("waiting-for-card")
    while spent.times:
        with window.page.expect_response(FOLLOWED):
            window.later(LOOKED_AGAIN)
    window.later(LOOKED_AGAIN)
    with clinic.card():
        assert desk.ended() == "authenticated"


def test_too_many_looks_at_the_desks_are_waited_for(opened: Open) -> None:
    """The choice appears once there is room again; there is nothing that a clerk would have to do."""
    window = opened(RECEPTION)
    window.expected.add(REFUSED)
    window.page.route("**/v1/terminals", Spent(2))
    desk = DeskPage(window).open()
    assert "face" in desk.methods()
    assert desk.result.count() == 0


def test_what_the_page_may_not_follow_is_cancelled(clinic: Clinic, opened: Open) -> None:
    """It says that the check was not completed: then nothing goes on that could complete it."""
    window = opened(RECEPTION)
    window.expected |= {REFUSED, LOST}
    desk = DeskPage(window).open()
    window.page.route("**/events", lambda route: route.abort())
    failed = {"code": "internal", "status": 500, "request_id": "r-1"}
    window.page.route(FOLLOWED, lambda route: route.fulfill(status=500, json=failed))
    desk.choose("face")
    desk.page.locator("button.main").click()
    assert desk.ended() == "internal"
    clinic.until(DESK, "empty")


def test_a_refusal_after_a_lost_answer_leaves_nothing_behind(clinic: Clinic, opened: Open) -> None:
    """The first try has begun something, whatever the second one is answered."""
    window = opened(RECEPTION)
    window.expected |= {REFUSED, LOST}
    desk = DeskPage(window).open()
    tries: list[str] = []

    def lose_then_refuse(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
        elif tries:
            route.fulfill(status=429, json={"code": "budget_spent", "status": 429})
        else:
            tries.append(route.fetch().json()["id"])
            route.abort()

    window.page.route("**/v1/authentications", lose_then_refuse)
    desk.choose("face")
    desk.page.locator("button.main").click()
    assert desk.ended() == "budget_spent"
    clinic.until(DESK, "empty")
    assert clinic.asked("GET", f"/v1/authentications/{tries[0]}")["state"] == "cancelled"


OTHER = "ward-9.left"


class Desks:
    """Answers with a list of desks that a test may change; each is as the appliance's own."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.absent: set[str] = set()

    def __call__(self, route: Route) -> None:
        """Answer with the list."""
        answer = route.fetch()
        told = answer.json()
        own = next(one for one in told["desks"] if one["desk"] == DESK)
        states = {name: "absent" if name in self.absent else own["state"] for name in self.names}
        told["desks"] = [{**own, "desk": name, "state": state} for name, state in states.items()]
        route.fulfill(response=answer, json=told)


def test_the_page_never_changes_the_clerks_desk(opened: Open) -> None:
    """The chosen desk is gone for a while, after a restart: no check is offered meanwhile, least of all at the other one."""
    window = opened(RECEPTION)
    window.expected.add(REFUSED)
    desks = Desks(DESK, OTHER)
    window.page.route("**/v1/terminals", desks)
    window.take_clock()
    desk = DeskPage(window).open(OTHER)
    methods = window.page.locator("[data-method]")
    expect(methods.first).to_be_visible()
    desks.names = (DESK,)
    window.later(LOOKED_AGAIN)
    expect(window.page.locator(".note")).to_contain_text(f"The desk {OTHER} is not there")
    expect(methods).to_have_count(0)
    expect(window.page.locator(f"input[data-focus='{DESK}']")).not_to_be_checked()
    require_accessible(window.page)
    desks.names = ()
    window.later(LOOKED_AGAIN)
    expect(window.page.locator("input[type=radio]")).to_have_count(0)
    expect(window.page.locator(".note")).to_contain_text(OTHER)
    desks.names = (DESK, OTHER)
    window.later(LOOKED_AGAIN)
    expect(window.page.locator(f"input[data-focus='{OTHER}']")).to_be_checked()
    desk.choose("face")
    with window.page.expect_request("**/v1/authentications") as asked:
        window.page.locator("button.main").click()
    assert json.loads(asked.value.post_data or "")["desk"] == OTHER
    assert desk.ended() == "desk_unknown"


@pytest.mark.parametrize("others", [(), (OTHER,)])
def test_a_desk_whose_reader_is_away_offers_no_check(others: tuple[str, ...], opened: Open) -> None:
    """It is in the list all the same: nobody confirms a comparison, or types what is printed, for nothing."""
    window = opened(RECEPTION)
    desks = Desks(DESK, *others)
    desks.absent = {DESK}
    window.page.route("**/v1/terminals", desks)
    window.take_clock()
    desk = DeskPage(window)
    window.go("/desk")
    if others:
        window.page.locator(f"input[data-focus='{DESK}']").check()
    methods = window.page.locator("[data-method]")
    expect(window.page.locator(".note")).to_have_text("The card reader of this desk is not connected.")
    expect(methods).to_have_count(0)
    require_accessible(window.page)
    desks.absent = set()
    window.later(LOOKED_AGAIN)
    expect(methods.first).to_be_visible()
    desks.absent = {DESK}
    window.later(LOOKED_AGAIN)
    expect(methods).to_have_count(0)
    desks.absent = set()
    window.later(LOOKED_AGAIN)
    assert "face" in desk.methods()


def test_a_desk_is_not_taken_because_the_others_are_gone(opened: Open) -> None:
    """Where there was a choice that nobody has made, it stays to be made; where there never was one, there is none."""
    window = opened(RECEPTION)
    desks = Desks(DESK, OTHER)
    window.page.route("**/v1/terminals", desks)
    window.take_clock()
    window.go("/desk")
    radios = window.page.locator("input[type=radio]")
    expect(radios).to_have_count(2)
    desks.names = (DESK,)
    window.later(LOOKED_AGAIN)
    expect(radios).to_have_count(1)
    expect(radios).not_to_be_checked()
    expect(window.page.locator("[data-method]")).to_have_count(0)
    window.page.reload()
    expect(window.page.locator(".where")).to_have_text(f"Desk: {DESK}")
    expect(window.page.locator("[data-method]").first).to_be_visible()
    expect(radios).to_have_count(0)


def test_a_connection_that_drops_costs_nothing(clinic: Clinic, opened: Open) -> None:
    """Lost while the front is compared: the page says so, keeps the clerk's decision, and ends where it would have."""
    window = opened(RECEPTION)
    window.expected.add(LOST)
    desk = DeskPage(window).open()
    desk.begin_visual(clinic.printed)
    with clinic.card():
        desk.page.locator(".front .photo").wait_for()
        window.context.set_offline(offline=True)
        banner = desk.page.locator(".connection p")
        expect(banner).to_be_visible()
        require_accessible(desk.page)
        desk.compare(same_person=True)
        window.context.set_offline(offline=False)
        assert desk.ended() == "authenticated"
    expect(banner).to_have_count(0)


def test_an_answer_that_is_lost_begins_nothing_twice(clinic: Clinic, opened: Open) -> None:
    """The request has arrived and its answer has not: the page asks again under the same key and finds what it began."""
    window = opened(RECEPTION)
    window.expected.add(LOST)
    desk = DeskPage(window).open()
    begun: list[str] = []

    def lose_the_first(route: Route) -> None:
        answer = route.fetch()
        begun.append(answer.json()["id"])
        if len(begun) == 1:
            route.abort()
        else:
            route.fulfill(response=answer)

    window.page.route("**/v1/authentications", lose_the_first)
    with clinic.card():
        desk.choose("face")
        desk.page.locator("button.main").click()
        assert desk.ended() == "authenticated"
    assert len(begun) == 2
    assert len(set(begun)) == 1


def test_an_authentication_that_is_forgotten_is_not_told_as_refused(clinic: Clinic, opened: Open) -> None:
    """An appliance that was started again knows nothing of it: how it ended is open, and the same can be tried again."""
    window = opened(RECEPTION)
    window.expected |= {LOST, REFUSED}
    desk = DeskPage(window).open()
    window.page.route("**/events", lambda route: route.abort())
    forgotten = {"code": "resource_absent", "status": 404, "request_id": "r-1"}
    asked = re.compile(r"/v1/authentications/[^/]+$")
    window.page.route(asked, lambda route: route.fulfill(status=404, json=forgotten))
    desk.choose("face")
    desk.page.locator("button.main").click()
    assert desk.ended() == "resource_absent"
    expect(desk.page.locator(".result.warn")).to_be_visible()
    window.page.unroute_all()
    with clinic.card():
        clinic.until(DESK, "card")
        desk.page.get_by_role("button", name="Try again").click()
        desk.page.locator("button.main").click()
        expect(desk.page.locator(".result.good")).to_be_visible()


def test_without_events_the_page_asks(clinic: Clinic, opened: Open) -> None:
    """A proxy that lets no event stream through: stages and result come all the same."""
    window = opened(RECEPTION)
    window.expected.add(LOST)
    desk = DeskPage(window).open()
    window.page.route("**/events", lambda route: route.abort())
    desk.begin_visual(clinic.printed)
    desk.until_stage("waiting-for-card")
    with clinic.card():
        desk.compare(same_person=True)
        assert desk.ended() == "authenticated"


@pytest.mark.parametrize(
    ("code", "has_another_try"), [("terminal_cancelled", True), ("certificate_revoked", False)]
)
def test_another_try_is_offered_where_it_makes_sense(
    opened: Open, code: str, *, has_another_try: bool
) -> None:
    """As the words for the clerk say: who cancelled at the terminal may begin again, a revoked card stays revoked."""
    window = opened(RECEPTION)
    window.expected.add(REFUSED)
    desk = DeskPage(window).open()
    refused = {"code": code, "status": 422, "request_id": "r-1"}
    window.page.route("**/v1/authentications", lambda route: route.fulfill(status=422, json=refused))
    desk.choose("pin")
    assert desk.ended() == code
    assert desk.page.get_by_role("button", name="Try again").count() == has_another_try
