"""Debian's Chromium in front of the real daemon; each test has a fresh profile, and may not leave its own appliance."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.browser.chromium import MILLISECONDS, Window, chromium, playwright_trusting, window
from tests.browser.clinic import Clinic

Open = Callable[..., Window]

expect.set_options(timeout=MILLISECONDS)


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    """A clinic of the module's own. Its path is short, because sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="clinic-") as folder, Clinic.open(Path(folder)) as made:
        yield made


@pytest.fixture(scope="module")
def playwright(clinic: Clinic) -> Iterator[Playwright]:
    """Playwright, which trusts the module's clinic."""
    with playwright_trusting(clinic.authority) as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The module's browser."""
    with chromium(playwright) as started:
        yield started


@pytest.fixture
def opened(browser: Browser, clinic: Clinic) -> Iterator[Open]:
    """Opens a window of a peer (`window`); at the end, nothing in any of them has gone wrong unseen."""
    windows: list[Window] = []

    def open_one(peer: str, **manner: object) -> Window:
        windows.append(window(browser, clinic, peer, **manner))  # type: ignore[arg-type]  # as `window` takes it
        return windows[-1]

    try:
        yield open_one
        for one in windows:
            one.require_clean()
    finally:
        for one in windows:
            one.close()
