"""The console in a browser, and a gateway whose parts fail one by one."""

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from playwright.sync_api import Locator, Page

from tests.browser.axe import require_accessible
from tests.browser.chromium import Window
from tests.browser.clinic import DESK, Clinic
from tests.daemon.process import ORDER, SECONDS
from tests.monitoring.machine import Machine

YEAR: Final = timedelta(days=365)
_CHANGES: Final = (("emergency_hours = 0.0", "emergency_hours = 4.0"),)
_TELLS: Final = """(wanted) => JSON.stringify(wanted) === JSON.stringify(
    [...document.querySelectorAll("[data-part]")].map((one) => [one.dataset.part, one.dataset.verdict]))"""
_LOOKS_OFTEN: Final = {"WATCHDOG_USEC": "1500000"}
"""What systemd would want makes the daemon look more often whether its ledger writes."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A *clinic* and the *machine* that its daemon believes to run on."""

    clinic: Clinic
    machine: Machine

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator[Self]:
        """Have one for the length of a block. Its path is short, because sockets are in it."""
        with tempfile.TemporaryDirectory(prefix="console-") as name, Machine(Path(name)) as machine:
            environment = {**machine.environment, **_LOOKS_OFTEN}
            with Clinic.open(Path(name), *_CHANGES, environment=environment) as clinic:
                yield cls(clinic, machine)

    # --- what becomes ill ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def unsynchronised(self) -> Iterator[None]:
        """Have the clock follow no other one for the length of a block."""
        self.machine.clock(synchronised=False)
        try:
            yield
        finally:
            self.machine.clock(synchronised=True)

    @contextlib.contextmanager
    def without_readers(self) -> Iterator[None]:
        """Have no PC/SC service, and so no readers, for the length of a block."""
        self.clinic.site.pcscd.stop()
        try:
            yield
        finally:
            self.clinic.site.pcscd.start()

    @contextlib.contextmanager
    def locked_ledger(self) -> Iterator[None]:
        """Have somebody else hold the ledger's database for the length of a block, as a careless backup does."""
        (database,) = (self.clinic.site.folder / "ledger").glob("*.sqlite3")
        with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=SECONDS)) as other:
            other.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                other.execute("ROLLBACK")

    @contextlib.contextmanager
    def certificate_with(self, left: timedelta) -> Iterator[None]:
        """Have a certificate for the listener of which so much is *left*, for the length of a block."""
        self._certify(left)
        try:
            yield
        finally:
            self._certify(YEAR)

    def _certify(self, left: timedelta) -> None:
        site = self.clinic.site
        long_ago = replace(site.authority, now=datetime.now(UTC) + left - YEAR)
        long_ago.issue_server(site.folder / "tls" / "server.pem", ("localhost",))
        self.clinic.daemon.reload()

    # --- who asks --------------------------------------------------------------------------------------------

    def authenticate(self) -> str:
        """Have somebody authenticated; return how that ended."""
        job = self.clinic.asked("POST", "/v1/authentications?wait=30", ORDER)
        is_done = job.get("state") == "authenticated"
        return str(job["state"] if is_done else job.get("problem", job)["code"])

    @contextlib.contextmanager
    def waiting(self, desk: str = DESK) -> Iterator[str]:
        """Have somebody wait for a card at *desk* for the length of a block; give the authentication's id."""
        job = self.clinic.asked("POST", "/v1/authentications", {**ORDER, "desk": desk})
        try:
            yield job["id"]
        finally:
            self.clinic.asked("DELETE", f"/v1/authentications/{job['id']}")


@dataclass(frozen=True, slots=True)
class Console:
    """The console in a *window*."""

    window: Window

    @property
    def page(self) -> Page:
        """The page itself."""
        return self.window.page

    def open(self, path: str = "/") -> Self:
        """Open it, and wait until it shows something."""
        self.window.go(path)
        self.page.locator("#known:not([hidden])").wait_for()
        return self

    def until(self, verdict: str, part: str | None = None) -> Locator:
        """Wait until *part*, or all of it, is judged so; return where that stands."""
        place = f".banner.{verdict}" if part is None else f"[data-part={part}][data-verdict={verdict}]"
        found = self.page.locator(place)
        found.wait_for()
        return found

    def tells(self, **verdicts: str) -> None:
        """Wait until these parts are told, and no others, in this order and each with its verdict."""
        self.page.wait_for_function(_TELLS, arg=[list(one) for one in verdicts.items()])

    def speak(self, language: str) -> None:
        """Have it in another language."""
        self.page.locator(f"button[data-language={language}]").click()
        self.page.locator(f"html[lang={language}]").wait_for()

    def require_accessible(self) -> None:
        """Check that nobody is kept out, in either language; end with English."""
        for language in ("ja", "en"):
            self.speak(language)
            require_accessible(self.page)
