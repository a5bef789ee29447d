"""The integrators' page says what is so: its commands are run as they stand there, in both languages the same."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from appliance.catalogue import Language
from appliance.errors import BY_CODE
from appliance.gateway.problems import STATUS
from appliance.handover.request import Request
from appliance.handover.result import Result
from appliance.metrics.labels import refusals
from tests.daemon.process import SECONDS, free_port
from tests.daemon.test_readme import shell, until

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {language: (DOCS / f"integrators.{language}.md").read_text("utf-8") for language in Language}
AGAIN = {Language.EN: "**Again?**", Language.JA: "**再試行**"}
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def shells(page: str) -> list[str]:
    """Return what is typed into each shell."""
    return re.findall(r"```sh\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def site() -> Iterator[Path]:
    """Where the commands of this run have their site."""
    with tempfile.TemporaryDirectory(prefix="page-") as folder:
        yield Path(folder) / "site"


def test_both_languages_type_the_same() -> None:
    """What is tried in one is tried in both."""
    assert shells(PAGES[Language.EN]) == shells(PAGES[Language.JA])


@every_page
def test_the_files_members_are_all_there(page: str) -> None:
    """Each member of a request and a result, and nothing that is no code of ours."""
    section = page.split("\n## ")[4]
    quoted = set(re.findall(r"`([a-z_]+)`", section))
    for kind in (Request, Result):
        assert {field.name for field in msgspec.structs.fields(kind)} <= quoted
    codes = set(re.findall(r"`((?:handover|appliance|idempotency|desk)_[a-z_]+)`", page))
    assert len(codes) >= 5
    assert codes <= set(BY_CODE)


def test_a_person_tries_again_after_the_same_codes_in_both_languages() -> None:
    """What is worth another try is said by code, because no status does: every one ends authentications."""
    told = {
        language: re.findall(
            r"`([a-z]+(?:_[a-z]+)+)`",
            next(one for one in page.split("\n* ") if one.startswith(AGAIN[language])),
        )
        for language, page in PAGES.items()
    }
    assert told[Language.EN] == told[Language.JA]
    assert len(told[Language.EN]) == len(set(told[Language.EN])) >= 17
    # 409 says that something is in the way, and not that it will go away.
    assert "reader_without_extended" not in told[Language.EN]
    for code in told[Language.EN]:
        assert code in STATUS
        assert code in refusals()


@every_page
def test_what_is_linked_is_there(page: str) -> None:
    """Pages, examples, configuration, vectors."""
    linked = re.findall(r"\]\(([^)]+)\)", page)
    named = re.findall(r"`((?:tests|docs)/[^`]+)`", page)
    assert linked
    assert named
    assert all((DOCS / path).exists() for path in linked)
    assert all((DOCS.parent / path).exists() for path in named)


def test_the_commands_lead_where_the_page_says(site: Path) -> None:
    """Nothing is changed in them but the folder and the ports, which other runs may use at the same time."""
    port = free_port()
    typed = [
        # A shell that runs one program last becomes it, so that it can be ended.
        re.sub(r"\n(\S+ (?:serve|handover|simulator card) [^\n]*\n)$", r"\nexec \1", f"\n{one}")
        .replace("simulator site /tmp/site", f"simulator site /tmp/site --port {port} --metrics-port 0")
        .replace("/tmp/site", str(site))  # noqa: S108 - the page's own
        for one in shells(PAGES[Language.EN])
    ]
    card, serving, asking, client, handing, files, simulating = typed
    logs = {
        name: site.parent / name
        for name in ("card", "serve", "ask", "client", "handover", "files", "simulate")
    }

    def finished(typed: str, name: str) -> str:
        with shell(typed, logs[name]) as running:
            assert running.wait(2 * SECONDS) == 0, logs[name].read_text()
        return logs[name].read_text()

    with shell(card, logs["card"]) as first:
        until(lambda: "PCSCLITE_CSOCK_NAME" in logs["card"].read_text(), "there is no card", first)
        with shell(serving, logs["serve"]) as second:
            until(lambda: '"event":"ready' in logs["serve"].read_text(), "it is not ready", first, second)
            asked = finished(asking, "ask")
            assert '"nonce": "visit-1"' in asked
            assert '"code":"desk_unknown"' in asked
            assert "desk-1: " in finished(client, "client")
            with shell(handing, logs["handover"]) as third:
                until(lambda: "hand-over ready" in logs["handover"].read_text(), "no hand-over", third)
                result = finished(files, "files")
    assert '"outcome": "authenticated"' in result
    assert "U+845B U+E0100" in result
    assert "removed@STEP" in finished(simulating, "simulate")
