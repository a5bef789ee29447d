"""`jpki-appliance explain` and `jpki-appliance profile`."""

import json
from pathlib import Path

import pytest

from appliance.card.profile import shipped_names
from appliance.catalogue import Language
from appliance.cli.explain import page
from appliance.errors import BY_CODE
from tests.cli.conftest import run

DOCS = Path(__file__).parents[2] / "docs"
PROFILES = Path(__file__).parents[2] / "appliance" / "card" / "profiles"


def test_a_code_is_explained_for_clerk_and_operator() -> None:
    """Whoever meets a code learns what happened, what the clerk does, and what the operator checks."""
    finished = run("explain", "card_removed", "--language", "en")
    assert finished.returncode == 0
    for words in ("[card_removed]", "Clerk:", "Operator:"):
        assert words in finished.stdout


def test_all_codes_are_listed() -> None:
    """Without a code every code there is comes on a line of its own."""
    finished = run("explain", "--language", "ja")
    assert [line.split()[0] for line in finished.stdout.splitlines()] == list(BY_CODE)


def test_a_code_that_does_not_exist_is_wrong_usage() -> None:
    """A mistyped code is told with exit status 2."""
    assert run("explain", "card_melted").returncode == 2


@pytest.mark.parametrize("language", Language)
def test_the_page_in_the_documentation_is_the_catalogue(language: Language) -> None:
    """The documentation's page of errors is what the catalogue says today, in both languages."""
    assert (DOCS / f"errors.{language}.md").read_text() == page(language)


def test_profiles_are_listed_with_what_is_unverified() -> None:
    """The list names every profile that ships, and what in it nobody has confirmed."""
    finished = run("profile", "list")
    for name in shipped_names():
        assert name in finished.stdout
    assert "UNVERIFIED: institution-certificate-chain" in finished.stdout


def test_a_profile_is_shown_as_it_was_read() -> None:
    """Commands and files are shown as they go to the card."""
    shown = json.loads(run("profile", "show", "jpki-reference").stdout)
    assert shown["institution"]["load_body"] == "80A206C1"
    assert shown["files"]["anchor"] == "0016"


def test_a_sites_own_profile_is_checked(tmp_path: Path) -> None:
    """A good file passes; an unsafe one is refused with its reason and exit status 78."""
    text = (PROFILES / "jpki-reference.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(text.replace('"jpki-reference"', '"our-own"'))
    good = run("profile", "check", str(own))
    assert (good.returncode, "our-own" in good.stdout) == (0, True)
    own.write_text(text.replace("challenge_length = 16", "challenge_length = 64"))
    bad = run("profile", "check", str(own))
    assert (bad.returncode, "[profile_unsafe]" in bad.stderr) == (78, True)
    missing = run("profile", "show", str(tmp_path / "nowhere.toml"))
    assert (missing.returncode, "[config_invalid]" in missing.stderr) == (78, True)
