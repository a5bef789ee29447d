"""
Pictures of the desk page in each of its states, for the documentation: `python -m tests.browser.desk_screens docs/screens`.

What they show is the real gateway of the tests, with the software card of somebody made up.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.browser.chromium import Language, chromium, playwright_trusting, window
from tests.browser.clinic import DESK, RECEPTION, WARD_DESK
from tests.browser.desk import DeskPage
from tests.browser.insured import Insured
from tests.browser.picture import save
from tests.browser.ward import Ward, ward
from tests.eligibility.fhir_service import fhir, genuine, outcome


@dataclass(frozen=True, slots=True)
class Album:
    """The pictures in one *language*, of *desk*, which go into *folder*."""

    insured: Insured
    terminal: Ward
    desk: DeskPage
    folder: Path
    language: Language

    def take(self, name: str) -> None:
        """Take a picture of what is shown."""
        save(self.desk.page, self.folder / f"desk-{name}-{self.language}.png")

    def taken(self) -> None:
        """Take them all."""
        self.visual()
        self.pin()
        self.trouble()
        self.emergency()

    def visual(self) -> None:
        """From the choice to the green result."""
        desk, clinic = self.desk.open(DESK), self.insured.clinic
        self.take("choice")
        desk.begin_visual(clinic.printed)
        desk.until_stage("waiting-for-card")
        self.take("place-card")
        with clinic.card():
            desk.page.locator(".front .photo").wait_for()
            self.take("front")
            desk.compare(same_person=True)
            desk.ended()
            self.take("confirmed")
        self.again()
        desk.begin_visual(clinic.printed)
        with clinic.card():
            desk.compare(same_person=False)
            desk.ended()
            self.take("not-confirmed")

    def pin(self) -> None:
        """The holder enters it, wrongly."""
        desk = self.desk.open(WARD_DESK)
        with self.insured.clinic.card(desk=WARD_DESK, folder=f"pin-{self.language}"):
            desk.choose("pin")
            desk.until_stage("waiting-for-pin")
            self.take("pin")
            self.terminal.enter("9999")
            desk.ended()
            self.take("wrong-pin")

    def trouble(self) -> None:
        """What is wrong with the typed numbers, the HSM, the line, the insurer."""
        desk, clinic = self.desk.open(DESK), self.insured.clinic
        desk.choose("visual")
        desk.type_printed(clinic.printed)
        desk.type_birth("heisei", clinic.printed.birth, year=60)
        desk.submit()
        desk.page.locator(".wrong").wait_for()
        self.take("mistyped")
        with clinic.card():
            with clinic.site.without_hsm():
                clinic.until_ready(is_ready=False)
                self.by_face()
                self.take("hsm-down")
            clinic.until_ready(is_ready=True)

            async def failing(_asked: object) -> object:
                return fhir(outcome("exception"), 500)

            self.insured.service.answering = failing  # type: ignore[assignment]  # it asks nothing
            self.by_face()
            self.take("no-eligibility")
            self.insured.service.answering = genuine
        desk.open(DESK)
        desk.choose("pin")
        desk.until_stage("waiting-for-card")
        desk.window.context.set_offline(offline=True)
        desk.page.locator(".connection p").wait_for()
        self.take("connection-lost")
        desk.window.context.set_offline(offline=False)
        desk.page.locator(".connection p").wait_for(state="detached")
        desk.page.locator(".working button").click()
        desk.ended()

    def emergency(self) -> None:
        """Nobody is checked."""
        window = self.insured.open_window()
        desk = self.desk.open(DESK)
        with self.insured.clinic.card():
            desk.choose("none_emergency")
            self.take("emergency")
            desk.page.locator("button.main").click()
            desk.ended()
            self.take("emergency-result")
        self.insured.close_window(window)

    def by_face(self) -> None:
        """Come to the result of a check by face."""
        self.desk.open(DESK)
        self.desk.choose("face")
        self.desk.page.locator("button.main").click()
        self.desk.ended()

    def again(self) -> None:
        """Begin with the next person."""
        self.desk.page.locator(".result button.main").click()
        self.desk.page.locator("[data-method]").first.wait_for()


def taken(folder: Path) -> None:
    """Put all pictures into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        Insured.open() as insured,
        ward(insured.clinic) as terminal,
        playwright_trusting(insured.clinic.authority) as playwright,
        chromium(playwright) as browser,
    ):
        for language in ("ja", "en"):
            insured.clinic.copied_card(f"pin-{language}")
            shown = window(browser, insured.clinic, RECEPTION, language=language)
            Album(insured, terminal, DeskPage(shown), folder, language).taken()
            shown.close()


if __name__ == "__main__":
    taken(Path(sys.argv[1]))
