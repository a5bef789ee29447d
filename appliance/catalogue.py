"""
The texts that clerks and operators read, from the packaged `catalogue.toml`.

A failure's code leads to three texts: what happened, what the clerk says and does, what the operator checks. The
story's texts are found by their keys. Each is in Japanese and English, and which language is read is the
caller's choice. The file is ours and ships with the code, so what is wrong with it, or asked of it in vain, is a bug.
"""

import re
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Annotated, Self, TypeAlias, assert_never

import msgspec

Words: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]

_JAPANESE_LOCALE = re.compile(r"ja(?![a-z])", re.IGNORECASE)


class Language(StrEnum):
    """A language the catalogue is written in."""

    EN = "en"
    JA = "ja"

    @classmethod
    def from_locale(cls, name: str | None) -> Self:
        """Return the language for readers of the locale *name*: ja_JP.UTF-8 is Japanese, all else English."""
        return cls.JA if name is not None and _JAPANESE_LOCALE.match(name) else cls.EN


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One text in both languages."""

    en: Words
    ja: Words

    def in_language(self, language: Language) -> str:
        """Return the text as readers of *language* get it."""
        match language:
            case Language.EN:
                return self.en
            case Language.JA:
                return self.ja
            case _:
                assert_never(language)


class ErrorText(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is read about a failure."""

    title: Text
    """What happened."""
    clerk: Text
    """What the clerk says to the patient and does next."""
    operator: Text
    """What the person responsible for the gateway checks."""


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    errors: dict[str, ErrorText]
    story: dict[str, Text] = {}
    page: dict[str, Text] = {}
    """What the pages in the browser say. A word in braces stands for a value that the page puts there."""


@cache
def catalogue() -> Catalogue:
    """Return the packaged file."""
    return msgspec.toml.decode((resources.files("appliance") / "catalogue.toml").read_bytes(), type=Catalogue)


def error_text(code: str) -> ErrorText:
    """Return the texts for the failure *code*; one that does not exist is a KeyError."""
    return catalogue().errors[code]


def story(key: str) -> Text:
    """Return the narration under *key*; one that does not exist is a KeyError."""
    return catalogue().story[key]
