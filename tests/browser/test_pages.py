"""The pages' frame: who gets which page, what a page may do in a browser, and that nothing stays when it is left."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Page, Playwright, Response, expect

from tests.browser.chromium import ARGUMENTS, LOCALES, MILLISECONDS, PROGRAM, watched
from tests.browser.clinic import AUDITOR, OPERATOR, RECEPTION, STRANGER, Clinic
from tests.browser.conftest import Open
from tests.browser.desk import DeskPage

REFUSED: Final = "the server responded with a status of"
SAFE: Final = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
DIRECTIVES: Final = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
}


def loaded(page: Page) -> list[Response]:
    """Return the list that every answer to *page* is put into."""
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108  # Playwright marks what it is given
    return answers


def test_a_reception_is_led_to_its_own_page(opened: Open) -> None:
    """Whoever types the appliance's address at the desk is at the desk's page."""
    window = opened(RECEPTION)
    window.go("/")
    expect(window.page.locator("main h2")).to_be_visible()
    assert window.page.url == f"{window.clinic.url}/desk"


def test_everything_that_a_page_is_made_of_comes_with_its_policy(opened: Open) -> None:
    """Each answer says what may be done with it, and all come from the appliance, as what they are."""
    window = opened(RECEPTION)
    answers = loaded(window.page)
    window.go("/desk")
    expect(window.page.locator("main h2")).to_be_visible()
    parts = [one for one in answers if re.search(r"/desk$|/pages/", one.url)]
    assert len(parts) > 8
    for one in parts:
        headers = one.headers
        assert {name: headers.get(name) for name in SAFE} == SAFE, one.url
        assert set(headers["content-security-policy"].split("; ")) >= DIRECTIVES, one.url
        assert "server" not in headers
    assert all(one.url.startswith((f"{window.clinic.url}/", "data:")) for one in answers)


def test_the_browser_keeps_to_the_policy(opened: Open) -> None:
    """Markup from a string, a script in the page, and an address elsewhere are stopped by the browser itself."""
    window = opened(RECEPTION)
    window.expected |= {"Trusted", "Content Security Policy", "violates", "Failed to", "net::ERR"}
    window.go("/desk")
    expect(window.page.locator("main h2")).to_be_visible()
    tried = window.page.evaluate(
        """async () => {
            const results = [];
            const attempt = async (what) => {
                try { await what(); results.push("done"); } catch { results.push("stopped"); }
            };
            await attempt(() => { document.body.innerHTML = "<p>"; });
            await attempt(() => fetch("https://example.org/"));
            const script = document.createElement("script");
            await attempt(() => { script.textContent = "window.was = 1"; document.head.append(script); });
            results.push(String(window.was));
            return results;
        }"""
    )
    assert tried == ["stopped", "stopped", "stopped", "undefined"]
    window.elsewhere.clear()


@pytest.mark.parametrize(
    ("peer", "path", "code"),
    [
        (OPERATOR, "/desk", "access_denied"),
        (AUDITOR, "/", "access_denied"),
        (AUDITOR, "/desk", "access_denied"),
        (STRANGER, "/desk", "peer_unknown"),
    ],
)
def test_whoever_has_no_page_reads_why(peer: str, path: str, code: str, opened: Open) -> None:
    """In the browser's language, with the code and the number of the request for the phone."""
    window = opened(peer, language="ja")
    window.expected.add(REFUSED)
    window.go(path)
    page = window.page
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    expect(page.get_by_role("heading")).to_have_count(1)
    expect(page.locator(".phone")).to_contain_text(code)
    expect(page.locator(".phone")).to_contain_text(re.compile("[0-9a-f]{32}"))


def test_another_sites_page_can_begin_nothing(opened: Open) -> None:
    """A browser that says so is refused, though it shows its user's certificate; a link to a page is followed."""
    window = opened(RECEPTION)
    window.go("/desk")
    asked = {
        (site, path): window.context.request.get(
            f"{window.clinic.url}{path}", headers={"Sec-Fetch-Site": site}
        ).status
        for site in ("cross-site", "same-site", "same-origin", "none")
        for path in ("/v1/terminals", "/desk")
    }
    assert {path for (_, path), status in asked.items() if status == 403} == {"/v1/terminals"}
    assert {site for (site, path), status in asked.items() if (path, status) == ("/v1/terminals", 403)} == {
        "cross-site",
        "same-site",
    }


def test_a_file_that_is_no_part_is_not_there(opened: Open) -> None:
    """Neither another file of the appliance, nor a page under another address."""
    window = opened(RECEPTION)
    for path in ("/pages/desk.html", "/pages/..%2Fpages.py", "/pages/none.js", "/pages/", "/pages"):
        answer = window.context.request.get(f"{window.clinic.url}{path}", max_redirects=0)
        assert (answer.status, answer.json()["code"]) == (404, "resource_absent"), path


# --- nothing stays -------------------------------------------------------------------------------------------------

KEPT: Final = """async () => ({
    local: localStorage.length,
    session: sessionStorage.length,
    databases: (await indexedDB.databases()).length,
    caches: (await caches.keys()).length,
    cookies: document.cookie,
    workers: (await navigator.serviceWorker.getRegistrations()).length,
    history: history.state,
    address: location.search + location.hash,
})"""
NOTHING: Final = {
    "local": 0,
    "session": 0,
    "databases": 0,
    "caches": 0,
    "cookies": "",
    "workers": 0,
    "history": None,
    "address": "",
}


@pytest.fixture
def profile(clinic: Clinic, playwright: Playwright, tmp_path: Path) -> Iterator[DeskPage]:
    """The desk page in a browser whose profile is on the disk, in `tmp_path`."""
    certificate, key = clinic.certificate(RECEPTION)
    context = playwright.chromium.launch_persistent_context(
        tmp_path / "profile",
        executable_path=PROGRAM,
        args=list(ARGUMENTS),
        client_certificates=[{"origin": clinic.url, "certPath": certificate, "keyPath": key}],
        locale=LOCALES["ja"],
    )
    context.set_default_timeout(MILLISECONDS)
    try:
        yield DeskPage(watched(context, context.pages[0], clinic))
    finally:
        context.close()


def test_nothing_of_a_person_stays_in_the_browser(clinic: Clinic, profile: DeskPage, tmp_path: Path) -> None:
    """Not in storage, caches, addresses or history, not on the page, and in no file of the profile once it is closed."""
    desk, page = profile, profile.page
    answers: dict[str, Any] = {}

    def remember(response: Response) -> None:
        if response.url.endswith("/front"):
            answers["front"] = response.json()

    page.on("response", remember)
    desk.open()
    desk.begin_visual(clinic.printed)
    with clinic.card():
        desk.page.locator(".front .photo").wait_for()
        desk.compare(same_person=True)
        assert desk.ended() == "authenticated"
    assert page.evaluate(KEPT) == NOTHING
    page.get_by_role("button").last.click()
    desk.choose("visual")
    assert page.input_value("#security-code") == ""
    assert page.input_value("#birth-year") == ""
    shown = page.content()
    front = answers["front"]
    personal = personal_of(clinic, front)
    assert not [what for what, octets in personal.items() if octets.decode("latin-1") in shown]
    page.goto("about:blank")
    page.go_back()
    expect(page.locator("[data-method=visual]")).to_be_visible()
    desk.window.context.close()
    assert found_in(tmp_path / "profile", personal) == {}


def personal_of(clinic: Clinic, front: dict[str, Any]) -> dict[str, bytes]:
    """Return what must not be found, each as it would stand in a file."""
    printed = clinic.printed
    plain = {
        "birth": f"{printed.birth}",
        "birth in its era": front["birth"],
        "code": f'security_code":"{printed.security_code}',
        "expiry": front["expires"],
        **{name: front[name][:64] for name in ("photo_png", "name_png", "address_png")},
    }
    return {
        **{what: text.encode() for what, text in plain.items()},
        **{f"{what} in UTF-16": text.encode("utf-16-le") for what, text in plain.items()},
    }


def found_in(folder: Path, personal: dict[str, bytes]) -> dict[str, list[str]]:
    """Return in which files of *folder* something of it stands."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return {
        what: found
        for what, octets in personal.items()
        if (found := [str(path) for path in files if octets in path.read_bytes()])
    }


def test_what_is_looked_for_would_be_found(clinic: Clinic, tmp_path: Path) -> None:
    """The search itself finds what was left on purpose."""
    personal = {"birth": f"{clinic.printed.birth}".encode()}
    for number in range(11):
        (tmp_path / str(number)).write_text(json.dumps({"birth": str(clinic.printed.birth)}))
    assert len(found_in(tmp_path, personal)["birth"]) == 11


def test_a_page_that_is_left_lets_go_of_the_desk(clinic: Clinic, opened: Open) -> None:
    """The clerk closes the page, or goes elsewhere, while a card is waited for: the desk is free for the next one."""
    desk = DeskPage(opened(RECEPTION)).open()
    desk.choose("pin")
    desk.until_stage("waiting-for-card")
    clinic.until("desk-1", "busy")
    desk.page.goto("about:blank")
    clinic.until("desk-1", "empty")


NEVER_ANSWERED: Final = """
    const asked = window.fetch;
    window.fetch = (path, how) => asked(path, how).then((answer) => how.method === "POST" ? new Promise(() => {}) : answer);
"""


def test_a_page_that_is_left_before_there_is_an_answer_lets_go_of_the_desk(
    clinic: Clinic, opened: Open
) -> None:
    """It has asked, and knows no id yet: what it has begun is cancelled all the same."""
    window = opened(RECEPTION)
    window.page.add_init_script(NEVER_ANSWERED)
    desk = DeskPage(window).open()
    desk.choose("pin")
    clinic.until("desk-1", "busy")
    desk.page.goto("about:blank")
    clinic.until("desk-1", "empty")


def test_a_front_that_was_shown_does_not_come_back(clinic: Clinic, opened: Open) -> None:
    """Back in the browser's history leads to the page's beginning."""
    desk = DeskPage(opened(RECEPTION)).open()
    desk.begin_visual(clinic.printed)
    with clinic.card():
        desk.page.locator(".front .photo").wait_for()
        desk.page.goto("about:blank")
        desk.page.go_back()
        expect(desk.page.locator("[data-method=visual]")).to_be_visible()
        assert desk.page.locator("img").count() == 0
