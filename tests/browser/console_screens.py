"""
Pictures of the console, for the documentation: `python -m tests.browser.console_screens docs/screens`.

What they show is the real gateway of the tests, well and ill. Only the day is made up, because a gateway that has just
begun has none (`day`).
"""

import math
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Route

from appliance.gateway.day import STRETCH_SECONDS, STRETCHES
from appliance.simulator.faults import WrongSignature
from tests.browser.chromium import chromium, playwright_trusting, window
from tests.browser.clinic import OPERATOR, SECOND_OPERATOR
from tests.browser.console import Console, Gateway
from tests.browser.picture import save
from tests.browser.ward import ward


def day(now: float) -> Iterator[dict[str, Any]]:
    """Yield the stretches of a day at a clinic that opens from nine to six, and closes for lunch."""
    newest = int(now // STRETCH_SECONDS)
    for number in range(STRETCHES):
        begin = (newest - STRETCHES + 1 + number) * STRETCH_SECONDS
        hour = begin % 86_400 / 3_600
        busy = math.exp(-(((hour - 10.2) / 1.1) ** 2)) + 0.8 * math.exp(-(((hour - 15.2) / 1.3) ** 2))
        authenticated = round(14 * busy + 1.5 * busy * math.sin(number * 1.7))
        if authenticated <= 0:
            continue
        refused, cancelled = int(number % 17 == 0), int(number % 29 == 0)
        median = 1.1 + 0.12 * math.sin(number / 9)
        yield {
            "begin": begin,
            "authenticated": authenticated,
            "refused": refused + 2 * int(number % 51 == 0),
            "cancelled": cancelled,
            "checks": {"face": authenticated + refused + cancelled},
            "median_seconds": median,
            "slow_seconds": median + 0.6 + 0.3 * math.cos(number / 5),
        }


def made_up(route: Route) -> None:
    """Answer with what the gateway says, and a whole day's stretches."""
    told = msgspec.json.decode(route.fetch().body(), type=dict[str, Any])
    told |= {"since": told["now"] - 30 * 3600, "stretches": list(day(told["now"]))}
    route.fulfill(json=told)


def taken(folder: Path) -> None:
    """Put all pictures into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        Gateway.open() as gateway,
        ward(gateway.clinic),
        playwright_trusting(gateway.clinic.authority) as playwright,
        chromium(playwright) as browser,
    ):
        windows = [window(browser, gateway.clinic, peer) for peer in (OPERATOR, SECOND_OPERATOR)]
        windows[0].page.route("**/v1/day", made_up)
        with gateway.clinic.card(WrongSignature()):
            gateway.authenticate()
        here = Console(windows[0]).open()
        here.page.locator("#rate").wait_for()
        here.until("ok")
        with gateway.waiting():
            here.page.locator("#live tbody tr").wait_for()
            _pictures(here, folder, "well", part="header, section:has(> #live)")
        _pictures(here, folder, "day", part="section:has(> #refusals), section:has(> #day)")
        with (
            gateway.clinic.site.without_hsm(),
            gateway.unsynchronised(),
            gateway.certificate_with(timedelta(days=9)),
        ):
            here.until("warning", "clock")
            here.until("warning", "certificates")
            here.until("failed", "hsm")
            _pictures(here, folder, "broken", part="header, #parts")
        here.until("ok")
        _window(here, Console(windows[1]).open())
        _pictures(here, folder, "emergency", part="#emergency")
        for one in windows:
            one.close()


def _window(first: Console, second: Console) -> None:
    first.page.select_option("#emergency-reason", "disaster")
    first.page.locator("#emergency form button").click()
    second.page.locator("button[id^=confirm-]").click()
    first.page.locator(".window.open").wait_for()


def _pictures(here: Console, folder: Path, name: str, part: str) -> None:
    for language in ("ja", "en"):
        here.speak(language)
        save(here.page, folder / f"console-{name}-{language}.png", part)


if __name__ == "__main__":
    taken(Path(sys.argv[1]))
