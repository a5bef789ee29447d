"""How Chromium is started and watched."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypedDict

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    sync_playwright,
)

from tests.browser.clinic import Clinic
from tests.daemon.process import SECONDS

PROGRAM: Final = "/usr/bin/chromium"
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MILLISECONDS: Final = SECONDS * 1000
"""How long something may take until it is seen on a page. Generous: it says how busy the machine may be."""
Language = Literal["ja", "en"]
LOCALES: Final[dict[Language, str]] = {"ja": "ja-JP", "en": "en-GB"}


class Size(TypedDict):
    """Of a window."""

    width: int
    height: int


@contextlib.contextmanager
def playwright_trusting(authority: Path) -> Iterator[Playwright]:
    """Have Playwright, whose end of TLS trusts *authority*, for the length of a block."""
    with pytest.MonkeyPatch.context() as patch:
        # Playwright shows client certificates from a process of its own, which reads this when it starts.
        patch.setenv("NODE_EXTRA_CA_CERTS", str(authority))
        started = sync_playwright().start()
    try:
        yield started
    finally:
        started.stop()


@contextlib.contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Have a browser without a window for the length of a block."""
    started = playwright.chromium.launch(executable_path=PROGRAM, args=list(ARGUMENTS))
    try:
        yield started
    finally:
        started.close()


@dataclass(slots=True)
class Window:
    """A *page* in a profile of its own, and what has happened in it that should not."""

    context: BrowserContext
    page: Page
    clinic: Clinic
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    expected: set[str] = field(default_factory=set)
    """Parts of complaints that a test provokes."""

    def go(self, path: str) -> None:
        """Open an address of the appliance."""
        self.page.goto(f"{self.clinic.url}{path}")

    def until(self, is_so: Callable[[], object]) -> None:
        """
        Wait until *is_so* says yes, while the routes of the test go on being answered.

        Playwright calls them in this thread: whoever waits without it waits for what cannot happen.
        """
        deadline = time.monotonic() + SECONDS
        while not is_so():
            assert time.monotonic() < deadline, "the page has not asked, or has not been answered"
            self.page.wait_for_timeout(20)

    def take_clock(self) -> None:
        """Have the page's clock in hand, before anything is opened: pauses can be passed over by `later`."""
        self.page.clock.install()

    def later(self, seconds: int) -> None:
        """Have it *seconds* later on the page: what is due meanwhile happens now, once."""
        # An answer has come here before the page has begun the pause that follows it.
        self.page.wait_for_timeout(50)
        self.page.clock.fast_forward(seconds * 1000)

    def require_clean(self) -> None:
        """Check that nothing was asked elsewhere, and that the browser had nothing to complain of."""
        assert not self.elsewhere, self.elsewhere
        left = [one for one in self.complaints if not any(part in one for part in self.expected)]
        assert not left, left

    def close(self) -> None:
        """Close it, and forget its profile."""
        self.context.close()


def window(
    browser: Browser,
    clinic: Clinic,
    peer: str,
    *,
    language: Language = "en",
    size: Size | None = None,
    reduced_motion: bool = True,
) -> Window:
    """Return a window of *peer*, in a fresh profile, for a reader of *language*."""
    certificate, key = clinic.certificate(peer)
    context = browser.new_context(
        client_certificates=[{"origin": clinic.url, "certPath": certificate, "keyPath": key}],
        locale=LOCALES[language],
        viewport=size or {"width": 1024, "height": 768},
        reduced_motion="reduce" if reduced_motion else "no-preference",
        service_workers="block",
    )
    context.set_default_timeout(MILLISECONDS)
    return watched(context, context.new_page(), clinic)


def watched(context: BrowserContext, page: Page, clinic: Clinic) -> Window:
    """Return *page* as a window whose complaints are kept."""
    made = Window(context, page, clinic)

    def asked(request: Request) -> None:
        if not request.url.startswith((clinic.url, "data:", "blob:")):
            made.elsewhere.append(request.url)

    def said(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            made.complaints.append(message.text)

    page.on("request", asked)
    page.on("console", said)
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    return made
