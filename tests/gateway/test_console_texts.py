"""The console's words: all of them in the catalogue, in both languages, for everything that can be told; none in its files."""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from html.parser import HTMLParser
from importlib import resources

import pytest

from appliance.authentication import CheckMethod
from appliance.catalogue import Language, catalogue
from appliance.emergency import Reason
from appliance.gateway.condition import Cause
from appliance.gateway.day import NO_CHECK
from appliance.gateway.desks import DeskState
from appliance.gateway.findings import Advice, Part, Verdict
from appliance.gateway.jobs import Phase
from appliance.gateway.texts import texts
from appliance.hsm.health import HsmState

FILES = {
    one.name: one.read_text("utf-8")
    for one in (resources.files("appliance.gateway") / "pages").iterdir()
    if one.name.startswith("console") and not one.name.endswith(".css")
}
SHARED = ("console-", "doctor-do-", "emergency-reason-", "page-", "status-")
KEY = re.compile(rf"""["'`]((?:{"|".join(SHARED)})[a-z0-9_-]*)(\$\{{)?""")
TOLD: dict[str, Iterable[StrEnum | str]] = {
    "console-part-": Part,
    "console-verdict-": Verdict,
    "console-found-": (*Advice, "clock-differs"),
    "doctor-do-": Advice,
    "console-check-": (*CheckMethod, NO_CHECK),
    "console-stage-": Phase,
    "console-source-": ("crl", "ocsp"),
    "console-sink-": ("store", "signer", "directory", "syslog"),
    "console-certificate-": ("tls-server", "responder-client"),
    "emergency-reason-": Reason,
    "status-cause-": Cause,
    "status-hsm-": HsmState,
    "status-desk-": DeskState,
}
"""What stands behind each beginning of a key that the console puts a value to."""


def used() -> Iterator[tuple[str, bool]]:
    """Yield each key in the console's files, and whether it is only the beginning of one."""
    for text in FILES.values():
        for key, value in KEY.findall(text):
            yield key, bool(value)


def test_everything_that_can_be_told_has_its_words() -> None:
    """Whatever value the appliance sends: there is a text for it."""
    beginnings = {key for key, is_beginning in used() if is_beginning}
    assert beginnings == set(TOLD)
    known = texts(Language.EN).texts
    missing = [
        key for begin, values in TOLD.items() for value in values if (key := f"{begin}{value}") not in known
    ]
    assert not missing


def test_every_key_is_one_of_the_catalogue() -> None:
    """No page shows a key instead of words."""
    known = texts(Language.JA).texts
    ids = {"emergency-reason-"}
    assert not [
        key for key, is_beginning in used() if not is_beginning and key not in known and key not in ids
    ]


def test_nothing_in_the_catalogue_waits_to_be_used() -> None:
    """Each of the console's texts is told somewhere."""
    keys = set(used())
    whole = {key for key, is_beginning in keys if not is_beginning}
    beginnings = tuple(key for key, is_beginning in keys if is_beginning)
    ours = [key for key in catalogue().page if key.startswith("console-")]
    assert not [key for key in ours if key not in whole and not key.startswith(beginnings)]


def test_both_languages_say_the_same_of_the_same_values() -> None:
    """Each text is in Japanese and in plain English, and both have the same values put in."""
    for key, text in catalogue().page.items():
        if key.startswith("console-"):
            assert text.en.isascii(), key
            assert re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", text.ja), key
            values = [sorted(re.findall(r"\{\w+\}", words)) for words in (text.en, text.ja)]
            assert values[0] == values[1], key
            assert re.findall("`[^`]*`", text.en) == re.findall("`[^`]*`", text.ja), key


class Words(HTMLParser):
    """Collects what a page says by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        """Take text."""
        self.found += [data.strip()] if data.strip() else []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take attributes that are read aloud."""
        self.found += [
            value or "" for name, value in attrs if name in {"alt", "aria-label", "placeholder", "title"}
        ]


def test_the_page_has_no_words_of_its_own() -> None:
    """Neither between its elements nor in what is read aloud of them."""
    words = Words()
    words.feed(FILES["console.html"])
    assert words.found == []


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".js")))
def test_its_scripts_have_no_words_of_their_own(name: str) -> None:
    """No string in them is a sentence, and none is Japanese."""
    code = "\n".join(re.sub(r"(^|\s)//.*", "", line) for line in FILES[name].splitlines())
    assert code.isascii()
    strings = [text for _quote, text in re.findall(r"""(["'`])((?:(?!\1).)*)\1""", code)]
    assert strings
    assert not [
        text for text in strings if re.search(r"[A-Z][a-z]+ [a-z]+|[a-z]+[.!?]$|[a-z]+, [a-z]+", text)
    ]
