"""
The console in Chromium, in front of the real daemon whose parts fail by real causes.

One gateway and its terminal for all tests; each test leaves it well. Nobody loads the page again: it notices by itself.
"""

import json
import re
import signal
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from appliance.catalogue import catalogue, error_text, story
from appliance.simulator.faults import WrongSignature
from tests.browser.chromium import window
from tests.browser.clinic import DESK, OPERATOR, RECEPTION, SECOND_OPERATOR, Clinic
from tests.browser.conftest import Open
from tests.browser.console import Console, Gateway
from tests.browser.ward import ward

PARTS = ["hsm", "readers", "terminals", "ledger", "copies", "revocation", "certificates", "clock"]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """The gateway that the tests share, with its terminal connected."""
    with Gateway.open() as made, ward(made.clinic):
        yield made


@pytest.fixture(scope="module")
def clinic(gateway: Gateway) -> Clinic:
    """The clinic of that gateway."""
    return gateway.clinic


@pytest.fixture(scope="module")
def consoles(browser: Browser, clinic: Clinic) -> Iterator[tuple[Console, Console]]:
    """The consoles of two operators, which stay open all the time; nothing goes wrong in them unseen."""
    windows = [window(browser, clinic, peer) for peer in (OPERATOR, SECOND_OPERATOR)]
    try:
        first, second = (Console(one).open() for one in windows)
        yield first, second
        for one in windows:
            one.require_clean()
    finally:
        for one in windows:
            one.close()


@pytest.fixture
def here(consoles: tuple[Console, Console]) -> Iterator[Console]:
    """The first operator's, in English and with all well."""
    first, _ = consoles
    first.until("ok")
    yield first
    first.speak("en")


def said(key: str, **values: object) -> str:
    """Return the English text of the pages under *key*."""
    return catalogue().page[key].en.format(**values)


def test_where_all_is_well_every_part_says_so(here: Console) -> None:
    """One sentence at the top, each part with what is known of it, and nothing to be done."""
    here.tells(**dict.fromkeys(PARTS, "ok"))
    expect(here.page.locator(".part .what")).to_have_count(0)
    for part, fact in (("terminals", "1 of 1"), ("hsm", "2 of 2"), ("readers", f"Desk {DESK}")):
        expect(here.page.locator(f"[data-part={part}]")).to_contain_text(fact)
    here.require_accessible()


@pytest.mark.parametrize(
    ("cause", "part", "verdict", "text", "is_outage"),
    [
        ("without_hsm", "hsm", "failed", story("status-hsm-down").en, True),
        ("without_readers", "readers", "failed", error_text("reader_absent").title.en, False),
        ("locked_ledger", "ledger", "failed", error_text("ledger_unavailable").title.en, True),
        ("ending_certificate", "certificates", "warning", "(8 days)", False),
        ("unsynchronised", "clock", "warning", said("console-found-clock"), False),
    ],
)
def test_a_part_that_fails_is_told_with_what_to_do(
    cause: str, part: str, verdict: str, text: str, *, is_outage: bool, gateway: Gateway, here: Console
) -> None:
    """It comes first, says in words what is wrong and what to do; when it is well again, that is shown, too."""
    with {
        "without_hsm": gateway.clinic.site.without_hsm,
        "without_readers": gateway.without_readers,
        "locked_ledger": gateway.locked_ledger,
        "ending_certificate": lambda: gateway.certificate_with(timedelta(days=9)),
        "unsynchronised": gateway.unsynchronised,
    }[cause]():
        card = here.until(verdict, part)
        here.until("failed" if is_outage else "warning")
        expect(card).to_contain_text(text)
        expect(card).to_contain_text(said("console-what-to-do"))
        expect(here.page.locator("[data-part]").first).to_have_attribute("data-part", part)
        if part in {"hsm", "clock"}:
            here.require_accessible()
    here.until("ok", part)
    here.until("ok")


def test_two_clocks_that_differ_are_told(opened: Open) -> None:
    """The page compares the gateway's clock with its own computer's: one of them is wrong."""
    late = opened(OPERATOR)
    late.page.clock.install(time="2031-01-01T12:00:00Z")
    expect(Console(late).open().until("warning", "clock")).to_contain_text("differ by")


def test_what_goes_on_is_shown_and_then_counted(gateway: Gateway, here: Console) -> None:
    """Desk, check and step while it lasts; then one cancelled more, in the sentence and in the table beside the chart."""
    before = counted(gateway, "cancelled")
    with gateway.waiting() as identity:
        row = here.page.locator("#live tbody tr")
        expect(row).to_contain_text(DESK)
        for key in ("console-check-face", "console-stage-waiting-for-card"):
            expect(row).to_contain_text(said(key))
        assert identity not in here.page.content()
    expect(here.page.locator("#live")).to_contain_text(said("console-live-none"))
    tabulated(here, "cancelled", before + 1)


def counted(gateway: Gateway, how: str) -> int:
    """Return how many have ended so, as the appliance counts."""
    day = gateway.clinic.asked("GET", "/v1/day", as_peer=OPERATOR)
    return sum(one[how] for one in day["stretches"])


def tabulated(here: Console, how: str, number: int) -> None:
    """Wait until so many have ended so, by the table beside the chart."""
    column = 1 + ["authenticated", "refused", "cancelled"].index(how)
    here.page.wait_for_function(
        """([column, number]) => number === [...document.querySelectorAll("#rate-figures tbody tr")]
            .reduce((sum, row) => sum + Number(row.children[column].textContent), 0)""",
        arg=[column, number],
    )


def test_refusals_are_told_by_cause_with_what_to_do(gateway: Gateway, here: Console) -> None:
    """The code for the phone, where and how often; what clerk and operator do opens by keyboard, and stays open."""
    with gateway.clinic.card(WrongSignature()):
        assert gateway.authenticate() == "proof_invalid"
    with gateway.clinic.card():
        assert gateway.authenticate() == "authenticated"
    cause = here.page.locator("#cause-proof_invalid")
    cause.wait_for()
    item = here.page.locator("#refusals li").filter(has=cause)
    for words in ("proof_invalid", error_text("proof_invalid").title.en, DESK, "Count: 1."):
        expect(item).to_contain_text(words)
    here.page.locator("#cause-proof_invalid-summary").focus()
    here.page.keyboard.press("Enter")
    texts = error_text("proof_invalid")
    expect(cause).to_contain_text(re.compile(re.escape(texts.clerk.en[:40])))
    expect(cause).to_have_attribute("open", "")
    here.speak("ja")
    expect(cause).to_contain_text(texts.clerk.ja[:20])
    expect(here.page.locator("#cause-proof_invalid")).to_have_attribute("open", "")
    assert here.page.title() == catalogue().page["console-title"].ja
    assert here.page.url.endswith("?language=ja")
    here.require_accessible()


def test_the_day_is_drawn_and_told(gateway: Gateway, here: Console) -> None:
    """Bars and points for what has ended, the same in a sentence and in a table that a keyboard reaches."""
    with gateway.clinic.card():
        assert gateway.authenticate() == "authenticated"
    done = counted(gateway, "authenticated")
    assert done >= 1
    tabulated(here, "authenticated", done)
    expect(here.page.locator("#rate-told")).to_contain_text(f"Authenticated {done},")
    for mark in ("#rate rect.authenticated", "#latency circle.median", "#latency path.slow"):
        expect(here.page.locator(mark)).not_to_have_count(0)
    expect(here.page.locator("#rate").get_by_role("img")).to_have_attribute("aria-labelledby", "rate-told")
    here.page.locator("#rate-summary").focus()
    here.page.keyboard.press("Enter")
    expect(here.page.locator("#rate-figures")).to_have_attribute("open", "")
    here.page.keyboard.press("Tab")
    expect(here.page.locator("#rate-scroll")).to_be_focused()
    here.require_accessible()


def test_what_is_told_leads_to_nobody(gateway: Gateway, here: Console) -> None:
    """Neither an authentication's id or token, nor its holder's pseudonym, is in anything the console gets or shows."""
    order = {"desk": DESK, "mode": "pinless", "identity_check": {"method": "face", "device": "kiosk-1"}}
    with gateway.clinic.card():
        job: dict[str, Any] = gateway.clinic.asked("POST", "/v1/authentications?wait=30", order)
    assert job["state"] == "authenticated"
    answers = [
        json.dumps(gateway.clinic.asked("GET", path, as_peer=OPERATOR))
        for path in ("/v1/status", "/v1/live", "/v1/day")
    ]
    for secret in (job["id"], job["token"], job["claims"]["sub"], job["claims"]["jti"]):
        assert not any(secret in shown for shown in (*answers, here.page.content()))


def test_without_an_answer_nothing_old_is_shown(gateway: Gateway, here: Console) -> None:
    """A daemon that does not answer any more: the page says so and since when, and shows nothing of before."""
    here.window.expected.add("Failed to load resource")
    gateway.clinic.daemon.process.send_signal(signal.SIGSTOP)
    try:
        here.page.locator("#lost p").first.wait_for()
        expect(here.page.locator("#lost")).to_contain_text(said("console-what-to-do"))
        expect(here.page.locator(".connection p")).to_have_text(said("page-connection-lost"))
        expect(here.page.locator("#known")).to_be_hidden()
        assert "hsm" not in here.page.locator("#known").inner_html().lower()
        expect(here.page.locator("#as-of")).to_have_text("")
    finally:
        gateway.clinic.daemon.process.send_signal(signal.SIGCONT)
    here.until("ok", "hsm")
    expect(here.page.locator(".connection p")).to_have_count(0)
    expect(here.page.locator("#lost")).to_be_hidden()


def test_who_is_no_operator_any_more_sees_nothing(
    gateway: Gateway, consoles: tuple[Console, Console]
) -> None:
    """A role that is taken away counts on pages that are open; they say what happened, and come back with it."""
    _, here = consoles
    here.window.expected.add("Failed to load resource")
    site, daemon = gateway.clinic.site, gateway.clinic.daemon
    mine = f'alias = "{SECOND_OPERATOR}"\nrole = "operator"'
    with site.changed(
        (mine, mine.replace("operator", "auditor")), ("emergency_hours = 4.0", "emergency_hours = 0.0")
    ):
        daemon.reload()
        expect(here.page.locator("#lost")).to_contain_text("access_denied")
        expect(here.page.locator("#known")).to_be_hidden()
    daemon.reload()
    here.until("ok", "hsm")


def test_two_operators_open_an_emergency_window(consoles: tuple[Console, Console]) -> None:
    """One proposes, and cannot confirm; another confirms; all see that it is open, and any one closes it."""
    first, second = consoles
    page = first.page
    page.select_option("#emergency-reason", "drill")
    page.fill("#emergency-hours", "2")
    page.get_by_label(DESK, exact=True).check()
    page.locator("#emergency form button").click()
    mine = page.locator("[data-window]")
    expect(mine).to_contain_text(said("console-emergency-yours"))
    assert page.locator("button[id^=confirm-]").count() == 0
    second.page.locator("button[id^=confirm-]").click()
    for here in (first, second):
        expect(here.page.locator(".window.open")).to_contain_text(DESK)
        expect(here.page.locator("#summary a")).to_have_text(said("console-emergency-is-open"))
    second.require_accessible()
    page.locator("button[id^=close-]").click()
    for here in (first, second):
        expect(here.page.locator("#emergency-list")).to_have_text(said("console-emergency-none"))


def proposed(gateway: Gateway) -> list[str]:
    """Return which windows there are."""
    known = gateway.clinic.asked("GET", "/v1/emergency-windows", as_peer=OPERATOR)
    return [one["id"] for one in known["windows"]]


def test_a_step_is_taken_once(gateway: Gateway, here: Console) -> None:
    """While it has no answer its button rests, so that who clicks twice proposes one window."""
    page = here.page
    held: list[Route] = []
    page.route(
        "**/v1/emergency-windows",
        lambda route: held.append(route) if route.request.method == "POST" else route.continue_(),
    )
    page.fill("#emergency-hours", "1")
    send = page.locator("#emergency form button")
    send.dblclick()
    expect(send).to_be_disabled()
    page.locator("#emergency-hours").press("Enter")
    here.window.until(lambda: held)
    held[0].continue_()
    expect(page.locator("#emergency-said")).to_be_focused()
    expect(send).to_be_enabled()
    assert (len(held), len(proposed(gateway))) == (1, 1)
    page.unroute("**/v1/emergency-windows")
    page.locator("button[id^=close-]").click()
    expect(page.locator("#emergency-list")).to_have_text(said("console-emergency-none"))


def test_a_proposal_whose_answer_is_lost_is_proposed_once(gateway: Gateway, here: Console) -> None:
    """Who sends the same form again finds the window that it has proposed; what is filled in anew is another one."""
    page = here.page
    here.window.expected.add("net::ERR_")
    lost: list[Route] = []

    def lose_the_first(route: Route) -> None:
        if route.request.method == "POST" and not lost:
            route.fetch()
            lost.append(route)
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/emergency-windows", lose_the_first)
    page.fill("#emergency-hours", "1")
    send = page.locator("#emergency form button")
    send.click()
    expect(page.locator("#emergency-said")).to_have_text(said("page-connection-lost"))
    send.click()
    expect(page.locator("#emergency-said .trouble")).to_have_count(0)
    expect(page.locator("#emergency-said")).to_contain_text("is proposed")
    first = proposed(gateway)
    assert len(first) == 1
    send.click()
    expect(page.locator("[data-window]")).to_have_count(2)
    page.unroute("**/v1/emergency-windows")
    for number in (1, 0):
        page.locator("button[id^=close-]").first.click()
        expect(page.locator("[data-window]")).to_have_count(number)
    expect(page.locator("#emergency-list")).to_have_text(said("console-emergency-none"))


def test_what_is_filled_in_stays_while_desks_come_and_go(here: Console) -> None:
    """A desk that goes away keeps its mark, for without any a window is for all; the reason stays what it was."""
    page, gone = here.page, "ward-9.r1"

    def with_another(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        told["desks"].append({"desk": gone, "kind": "remote", "state": "empty", "since": 0})
        route.fulfill(response=answer, json=told)

    page.route("**/v1/status", with_another)
    page.get_by_label(gone, exact=True).check()
    page.select_option("#emergency-reason", "drill")
    page.unroute("**/v1/status")
    here.window.expected.add("Failed to load resource")
    with page.expect_response("**/v1/status"):
        pass
    # The second answer comes after the first one has been drawn.
    with page.expect_response("**/v1/status"):
        pass
    expect(page.get_by_label(gone, exact=True)).to_be_checked()
    expect(page.locator("#emergency-reason")).to_have_value("drill")
    page.locator("#emergency form button").click()
    expect(page.locator("#emergency-said")).to_contain_text("desk_unknown")
    page.get_by_label(gone, exact=True).uncheck()


def test_a_window_that_may_not_be_is_refused_in_words(here: Console) -> None:
    """Longer than is allowed: the reason and what helps stand there, and nothing is proposed."""
    here.window.expected.add("Failed to load resource")
    here.page.fill("#emergency-hours", "99")
    here.page.locator("#emergency form button").click()
    expect(here.page.locator("#emergency-said")).to_contain_text("emergency_end_invalid")
    expect(here.page.locator("#emergency-said")).to_be_focused()
    assert here.page.locator("[data-window]").count() == 0


def test_everything_is_reached_by_keyboard(opened: Open) -> None:
    """From the top: to the content, through languages, to what opens; the language changes by a key."""
    page = Console(opened(OPERATOR)).open("/?language=ja").page
    reached = tabbed(page)
    wanted = ["skip", "ja", "en", "emergency-reason", "emergency-hours"]
    assert [one for one in reached if one in wanted] == wanted
    page.locator("button[data-language=en]").focus()
    page.keyboard.press("Enter")
    page.locator("html[lang=en]").wait_for()
    assert page.locator("button[data-language=en]").get_attribute("aria-pressed") == "true"
    headings = page.locator("h1, h2").all_text_contents()
    assert headings[0] == said("console-title")
    assert said("console-parts") in headings


def tabbed(page: Page) -> list[str]:
    """Return by what each element is known that the tab key comes to, from the top of the page."""
    page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")
    reached: list[str] = []
    while len(reached) < 60:
        page.keyboard.press("Tab")
        at = page.evaluate(
            "() => { const e = document.activeElement;"
            " return e === document.body ? null : e.id || e.dataset.language || e.className || e.tagName; }"
        )
        if at is None or (reached and at == reached[0]):
            break
        reached.append(at)
    return reached


def test_it_fits_a_small_screen(here: Console) -> None:
    """Nothing is cut off at the side on an old or small one."""
    for width in (800, 360, 1024):
        here.page.set_viewport_size({"width": width, "height": 768})
        assert here.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_reception_has_no_console(opened: Open) -> None:
    """At the desk the same address leads to the desk's page."""
    window = opened(RECEPTION)
    window.go("/")
    window.page.wait_for_url("**/desk")
