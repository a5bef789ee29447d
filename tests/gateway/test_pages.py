"""Texts for pages, checks that a desk offers, and pages themselves, over a socket and without a browser."""

from pathlib import Path

import pytest

from appliance.gateway.checks import FaceCheck, PinCheck, VisualCheck, permitted
from appliance.gateway.page_policy import HEADERS
from appliance.policy import Policy
from tests.gateway.house import peer, services, serving

BROWSER = {"Accept": "text/html,application/xhtml+xml", "Accept-Language": "ja"}


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [("?language=ja", "en", "ja"), ("?language=en", "ja", "en"), ("", "ja-JP", "ja"), ("", "fr", "en")],
)
async def test_texts_come_in_the_language_that_is_asked_for(
    query: str, header: str, language: str, tmp_path: Path
) -> None:
    """By name, or else as the browser prefers it."""
    async with (
        serving(services([peer()]), tmp_path) as house,
        house.session().get(f"/v1/texts{query}", headers={"Accept-Language": header}) as answer,
    ):
        content = await answer.json()
        assert (answer.status, answer.headers["Content-Language"]) == (200, language)
        assert content["language"] == language
        assert content["errors"]["card_removed"]["title"]


@pytest.mark.parametrize("query", ["?language=fr", "?language=", "?language=ja&language=en", "?other=1"])
async def test_another_language_is_no_request(query: str, tmp_path: Path) -> None:
    """What we do not speak is refused, and not answered in something else."""
    async with (
        serving(services([peer()]), tmp_path) as house,
        house.session().get(f"/v1/texts{query}") as answer,
    ):
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (400, "request_malformed")


@pytest.mark.parametrize(
    ("desk", "reads_fronts", "offered"),
    [
        ("desk-1", True, (FaceCheck("kiosk-1"), VisualCheck(60.0), PinCheck())),
        ("desk-2", True, (VisualCheck(60.0), PinCheck())),
        ("desk-2", False, (PinCheck(),)),
        ("ward.left", False, (FaceCheck("kiosk-2"), PinCheck())),
    ],
)
def test_a_desk_offers_what_policy_permits(
    desk: str,
    reads_fronts: bool,  # noqa: FBT001  # a parameter of the test
    offered: tuple[object, ...],
) -> None:
    """A face only beside its device, eyes only where fronts can be read; the PIN everywhere."""
    policy = Policy(frozenset({"b", "a"}), {"desk-1": "kiosk-1", "ward.": "kiosk-2"}, 60.0)
    assert permitted(policy, desk, reads_fronts=reads_fronts) == offered


def test_without_operators_nobody_is_offered_to_look() -> None:
    """So an appliance without any policy offers the PIN alone."""
    assert permitted(Policy(), "desk-1", reads_fronts=True) == (PinCheck(),)


async def test_a_reception_without_a_window_is_sent_to_the_desk(tmp_path: Path) -> None:
    """Also where it is no browser that asks."""
    async with (
        serving(services([peer()]), tmp_path) as house,
        house.session().get("/", allow_redirects=False) as answer,
    ):
        assert (answer.status, answer.headers["Location"]) == (303, "/desk")


@pytest.mark.parametrize("path", ["/desk", "/pages/frame.css", "/pages/texts.js"])
async def test_pages_come_with_their_headers(path: str, tmp_path: Path) -> None:
    """And in UTF-8."""
    async with serving(services([peer()]), tmp_path) as house, house.session().get(path) as answer:
        assert (answer.status, answer.charset) == (200, "utf-8")
        assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)


async def test_a_refusal_is_a_page_for_people_and_a_problem_for_programs(tmp_path: Path) -> None:
    """With the same code and status; who only asks for a page in passing gets the problem."""
    async with serving(services([peer(role="auditor")]), tmp_path) as house:
        session = house.session()
        async with session.get("/desk", headers=BROWSER) as answer:
            assert (answer.status, answer.content_type) == (403, "text/html")
            text = await answer.text()
            assert "access_denied" in text
            assert answer.headers["X-Request-Id"] in text
            assert 'lang="ja"' in text
        async with session.get("/desk") as answer:
            assert (answer.status, answer.content_type) == (403, "application/problem+json")
        async with session.get("/v1/status", headers=BROWSER) as answer:
            assert (answer.status, answer.content_type) == (403, "application/problem+json")


@pytest.mark.parametrize(
    ("site", "is_refused"),
    [("cross-site", True), ("same-site", True), ("same-origin", False), ("none", False), (None, False)],
)
async def test_a_browser_asks_for_our_own_pages_alone(
    site: str | None,
    is_refused: bool,  # noqa: FBT001  # a parameter of the test
    tmp_path: Path,
) -> None:
    """Where it says that another site's page is asking, that page gets nothing; a person may follow a link to a page."""
    headers = {} if site is None else {"Sec-Fetch-Site": site}
    async with serving(services([peer()]), tmp_path) as house:
        session = house.session()
        for path in ("/v1/terminals", "/pages/frame.css", "/nowhere"):
            async with session.get(path, headers=headers) as answer:
                assert (answer.status == 403) is is_refused, path
        async with session.get("/desk", headers=headers) as answer:
            assert answer.status == 200
