"""Somebody who has read one page: the README's commands, a browser, and the visual check to a green result."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import ARGUMENTS, MILLISECONDS, PROGRAM, playwright_trusting
from tests.browser.clinic import Printed
from tests.daemon.process import free_port
from tests.daemon.test_readme import at, clinic, shells

LAST = "chromium https://localhost:8443/desk\n"


@pytest.fixture
def site() -> Iterator[Path]:
    """Where the commands of this run have their site."""
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        yield Path(folder) / "site"


def test_a_newcomer_comes_to_a_green_result(site: Path) -> None:
    """The certificate is the file that is imported, and what is typed is what the last command but one has shown."""
    port = free_port()
    *first_three, _asking = (at(site, port, one) for one in shells())
    (importing,) = shells("The same in a browser")
    assert importing.endswith(LAST)
    with clinic(site, *first_three):
        shown = subprocess.run(
            ("bash", "-euc", at(site, port, importing.removesuffix(LAST))),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
        printed = Printed.from_toml(shown.stdout[shown.stdout.index("# What is printed") :])
        with playwright_trusting(site / "tls" / "ca.pem") as playwright:
            browser = playwright.chromium.launch(executable_path=PROGRAM, args=list(ARGUMENTS))
            url = f"https://localhost:{port}"
            context = browser.new_context(
                client_certificates=[
                    {"origin": url, "pfxPath": site / "tls" / "desk-pc.p12", "passphrase": "test"}
                ],
                locale="en-GB",
            )
            context.set_default_timeout(MILLISECONDS)
            page = context.new_page()
            page.goto(f"{url}/desk")
            page.get_by_label("ward-1.reader-1").check()
            page.get_by_role("button", name="Your own eyes").click()
            page.get_by_label("Who compares?").select_option("operator-1")
            page.get_by_label("Era").select_option("Western year")
            for label, value in (
                ("Year", printed.birth.year),
                ("Month", printed.birth.month),
                ("Day", printed.birth.day),
                ("Expires in the year", printed.expiry_year),
                ("Security code (4 digits)", printed.security_code),
            ):
                page.get_by_label(label, exact=True).fill(str(value))
            page.get_by_role("button", name="Read the card").click()
            page.get_by_role("button", name="Same person", exact=True).click()
            page.get_by_role("heading", name="Identity confirmed").wait_for()
            browser.close()
