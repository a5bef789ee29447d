"""What a clerk does on the desk page, in the page's own steps."""

from dataclasses import dataclass
from datetime import date
from typing import Self

from playwright.sync_api import Locator, Page

from tests.browser.chromium import Window
from tests.browser.clinic import DESK, Printed


@dataclass(frozen=True, slots=True)
class DeskPage:
    """The desk page in a *window*."""

    window: Window

    @property
    def page(self) -> Page:
        """The page itself."""
        return self.window.page

    @property
    def result(self) -> Locator:
        """What is shown at the end."""
        return self.page.locator(".result")

    @property
    def heading(self) -> Locator:
        """What the present step is called."""
        return self.page.locator("main h2")

    def open(self, desk: str = DESK) -> Self:
        """Open it, and say which desk this is where it asks."""
        self.window.go("/desk")
        self.page.locator("main h2").wait_for()
        radio = self.page.locator(f"input[data-focus='{desk}']")
        if radio.count():
            radio.check()
        return self

    def methods(self) -> list[str]:
        """Return the checks that are offered."""
        self.page.locator("[data-method]").first.wait_for()
        return [one.get_attribute("data-method") or "" for one in self.page.locator("[data-method]").all()]

    def choose(self, method: str) -> None:
        """Choose a check."""
        self.page.locator(f"[data-method={method}]").click()

    def type_printed(
        self, printed: Printed, *, operator: str | None = "operator-1", code: str | None = None
    ) -> None:
        """Type what is printed on the card, and who compares."""
        page = self.page
        if operator is not None:
            page.select_option("#operator", operator)
        self.type_birth("western", printed.birth)
        page.fill("#expiry-year", str(printed.expiry_year))
        page.fill("#security-code", printed.security_code if code is None else code)

    def type_birth(self, era: str, birth: date, *, year: int | None = None) -> None:
        """Type a birth date, with the *year* that it has in its *era*."""
        self.page.select_option("#era", era)
        self.page.fill("#birth-year", str(birth.year if year is None else year))
        self.page.fill("#birth-month", str(birth.month))
        self.page.fill("#birth-day", str(birth.day))

    def submit(self) -> None:
        """Have the card read."""
        self.page.locator("button[type=submit]").click()

    def until_stage(self, *stages: str) -> None:
        """Wait until the page tells one of these stages."""
        self.page.locator(", ".join(f"[data-stage={one}]" for one in stages)).wait_for()

    def compare(self, *, same_person: bool) -> None:
        """Wait for the front, and say whether it is the same person."""
        self.page.locator(".front .photo").wait_for()
        self.page.locator(".front button.main" if same_person else ".front button.no").click()

    def ended(self) -> str:
        """Wait for the result, and return its code."""
        self.result.wait_for()
        return self.result.get_attribute("data-code") or ""

    def begin_visual(self, printed: Printed, **typed: str) -> None:
        """Come as far as the card."""
        self.choose("visual")
        self.type_printed(printed, **typed)
        self.submit()
