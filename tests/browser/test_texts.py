"""What the pages say: nothing of it is in them, all of it is in the catalogue, in both languages."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from appliance.catalogue import Language, catalogue
from appliance.errors import BY_CODE
from appliance.gateway import texts
from appliance.gateway.pages import files
from tests.browser.picture import LARGEST

JAPANESE: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]")
KEY: Final = re.compile(r"""["'`]((?:page|desk|console|doctor-do|emergency-reason)-[a-z0-9-]+)["'`]""")
FAMILY: Final = re.compile(r"`((?:page|desk|console)-(?:[a-z-]+-)?)\$\{")
"""How keys begin whose end is calculated: by what the appliance says."""
COMMENT: Final = re.compile(r"^\s*//.*$", re.MULTILINE)
LITERAL: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|' + r"'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`")
CLASSES: Final = re.compile(r"""class: (?:"[a-z -]*"|`[a-z -]*\$\{\w+\}`)""")
"""Of the style sheet, several in one string."""
INSIDE: Final = re.compile(r"\$\{[^}]*\}")
SENTENCE: Final = re.compile(r"[A-Za-z]{2,} +[A-Za-z]{2,}")
"""Two words in a row."""
OWN_NAMES: Final = {"page-language-ja", "page-language-en"}
"""A language is called what its own speakers call it, whoever reads it."""
SCRIPTS: Final = sorted(name for name in files() if name.endswith(".js"))
DOCUMENTS: Final = sorted(name for name in files() if name.endswith(".html"))
STORY: Final = {key for key in catalogue().story if key.startswith(texts.SHARED)}
PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
IN_BRACKETS: Final = re.compile(r"\([^)]*\)")
"""As the name of an era, as the card writes it."""


class Words(HTMLParser):
    """Collects the keys of a document, and whatever a person could read in it."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()
        self.words: list[str] = []
        self._without_script = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Take the keys, and attributes that are shown or read out."""
        self._without_script = self._without_script or tag == "noscript"
        for name, value in attributes:
            if name in {"data-text", "data-label"}:
                self.keys.add(value or "")
            elif name in {"alt", "title", "placeholder", "aria-label", "value", "label", "aria-description"}:
                self.words.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        """Leave what is put in from the catalogue when the file is read."""
        if tag == "noscript":
            self._without_script = False

    def handle_data(self, data: str) -> None:
        """Take text."""
        if data.strip() and not self._without_script:
            self.words.append(data)


def parsed(name: str) -> Words:
    """Return what is in the document *name*."""
    words = Words()
    words.feed(files()[name].content.decode())
    return words


def literals(name: str) -> Iterator[str]:
    """Yield the strings in the script *name*, without what is calculated into them."""
    script = CLASSES.sub("", COMMENT.sub("", files()[name].content.decode()))
    for found in LITERAL.findall(script):
        yield INSIDE.sub("", found[1:-1])


def used() -> set[str]:
    """Return every key that a page names."""
    keys = {key for name in SCRIPTS for key in KEY.findall(files()[name].content.decode())}
    return keys.union(*(parsed(name).keys for name in DOCUMENTS))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_holds_no_words(name: str) -> None:
    """Neither between tags nor in attributes that somebody reads or hears."""
    assert parsed(name).words == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_holds_no_words(name: str) -> None:
    """No string in it is a sentence, or Japanese."""
    for literal in literals(name):
        assert not JAPANESE.search(literal), literal
        is_media_query_or_selector = re.search(r"[\[\](#.:>=]", literal)
        assert not SENTENCE.search(literal) or is_media_query_or_selector, literal


@pytest.mark.parametrize("name", [name for name in files() if name.endswith(".css")])
def test_a_style_sheet_holds_no_words(name: str) -> None:
    """Nothing is put on a page by its style."""
    style = files()[name].content.decode()
    assert not re.findall(r'content:\s*"[^"]*[A-Za-z\u3040-\u9fff]', style)
    assert "url(" not in style
    assert "@import" not in style


def test_every_key_that_a_page_names_exists_and_every_other_is_gone() -> None:
    """So nobody reads a key, and nobody translates what is never read."""
    known = set(catalogue().page)
    assert used() - known - STORY == set()
    by_python = {"page-code", "page-request", "page-script-needed"}
    families = tuple({begin for name in SCRIPTS for begin in FAMILY.findall(files()[name].content.decode())})
    assert {key for key in known - used() - by_python if not key.startswith(families)} == set()


@pytest.mark.parametrize("key", sorted(catalogue().page))
def test_each_text_is_in_both_languages_with_the_same_values(key: str) -> None:
    """Japanese is Japanese, English can be read without it, and what a page puts in has its place in both."""
    text = catalogue().page[key]
    if key in OWN_NAMES:
        return
    assert set(PLACEHOLDER.findall(text.ja)) == set(PLACEHOLDER.findall(text.en))
    assert JAPANESE.search(text.ja)
    assert not JAPANESE.search(IN_BRACKETS.sub("", text.en))
    for words in (text.ja, text.en):
        assert words == words.strip()
        assert not re.search(r"\b(?:TODO|FIXME|TBD|XXX)\b|\.\.\.", words)


@pytest.mark.parametrize("language", list(Language))
def test_what_is_told_is_the_whole_catalogue(language: Language) -> None:
    """All texts of pages and all failures, a bug of ours among them, in the language that is asked for."""
    told = texts.texts(language)
    assert set(told.texts) == set(catalogue().page) | STORY
    assert set(told.errors) == {*BY_CODE, "internal"}
    assert told.texts["desk-title"] == catalogue().page["desk-title"].in_language(language)
    assert told.errors["card_removed"].clerk == catalogue().errors["card_removed"].clerk.in_language(language)


@pytest.mark.parametrize("language", list(Language))
def test_the_page_about_the_desk_shows_each_of_its_pictures(language: Language) -> None:
    """None is missing, none is left over, and none is heavy."""
    folder = Path(__file__).parents[2] / "docs"
    told = set(
        re.findall(r"\(screens/(desk-[a-z-]+\.png)\)", (folder / f"desk.{language}.md").read_text("utf-8"))
    )
    kept = {path.name: path.stat().st_size for path in (folder / "screens").glob(f"desk-*-{language}.png")}
    assert told == set(kept)
    assert max(kept.values()) < LARGEST
