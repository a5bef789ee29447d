import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from appliance.catalogue import Catalogue, ErrorText, Language, Text, catalogue, error_text, story
from appliance.config import Settings
from appliance.errors import BY_CODE

JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
LEFT_OVER = re.compile(r"[{}<>…_%]|\.\.\.|\?\?|\b(?:TODO|FIXME|TBD|XXX)\b")
QUOTED = re.compile(r"`[^`]+`")
PROGRAMS = frozenset(
    (
        "apt-get",
        "chmod",
        "journalctl",
        "jpki-appliance",
        "ls",
        "openssl",
        "opensc-tool",
        "pkcs11-tool",
        "systemctl",
        "systemd-run",
        "timedatectl",
    )
)
MESSAGES = frozenset({"not tried"})
"""What our own messages say, where a text refers to it."""
SPEECH = re.compile("「[^」]*」")
OTHER_WORDS = {
    "認証機器": re.compile("本機|この機械|ゲートウェイ|(?<!認証)機器(?!の担当者)"),
    "台帳": re.compile(
        "(?:認証|確認)の記録|(?<!生成)記録の写し|記録\uff08台帳|一つの記録|(?:新しい|古い|閉じた)記録(?:を|は|の|として)"
    ),
    "ログ": re.compile("記録の `|(?<!systemdの)ジャーナル|(?:直前|端末|その)の記録"),
    "証跡": re.compile("証拠"),
    "機器の担当者": re.compile("機器の管理者"),
    "応答サーバー": re.compile("レスポンダー"),
}
"""What the appliance, the ledger and others were called besides. A patient is told of 機器: that is in quotation marks."""
DOCS = Path(__file__).parents[1] / "docs"
JAPANESE_PAGES = sorted((*DOCS.glob("*.ja.md"), *DOCS.glob("guide/ja/*.md")))


def texts() -> Iterator[tuple[str, str, Text]]:
    """Yield code, field and text of everything that is said about failures."""
    for code, entry in catalogue().errors.items():
        for field in ErrorText.__struct_fields__:
            yield code, field, getattr(entry, field)


def settings() -> set[str]:
    """Return every `section.key` of the configuration file, also of sections that may be there several times."""
    return {
        f"{section.name}.{key.name}"
        for section in msgspec.structs.fields(Settings)
        for kind in (section.type, *get_args(section.type))
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        for key in msgspec.structs.fields(kind)
    }


def profile_values() -> set[str]:
    """Return every `[section]` and key of a profile file."""
    sections = msgspec.toml.decode(
        (resources.files("appliance.card.profiles") / "jpki-reference.toml").read_bytes()
    )
    tables = {name: table for name, table in sections.items() if isinstance(table, dict)}
    return {f"[{name}]" for name in tables} | {key for table in tables.values() for key in table}


every_text = pytest.mark.parametrize(
    "text", [pytest.param(text, id=f"{code}.{field}") for code, field, text in texts()]
)


def test_every_code_has_its_entry_and_every_entry_its_code() -> None:
    """Whatever code the product raises can be explained, and nothing is explained that cannot be raised."""
    assert set(catalogue().errors) == set(BY_CODE)


def test_entries_stand_in_the_order_of_the_errors() -> None:
    """Whoever adds a failure finds the place for its texts where the neighbours of its class stand."""
    assert list(catalogue().errors) == list(BY_CODE)


@every_text
def test_both_languages_are_there(text: Text) -> None:
    """Each text is in Japanese under `ja` and in English, readable without a Japanese font, under `en`."""
    assert text.en != text.ja
    assert JAPANESE.search(text.ja)
    assert text.en.isascii()


@every_text
def test_texts_are_finished_sentences(text: Text) -> None:
    """Each text ends as a sentence does, nothing in it waits to be filled in, and nobody is shouted at."""
    assert text.en.endswith(".")
    assert text.ja.endswith("。")
    for words in (text.en, text.ja):
        assert words == words.strip()
        assert not LEFT_OVER.search(QUOTED.sub("", words))
        assert not re.search("[!\uff01]", words)  # the exclamation mark and its full-width twin


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_clerks_are_not_spoken_to_in_technical_terms(code: str) -> None:
    """What is said to and by a clerk names no code, command, setting or component."""
    entry = error_text(code)
    for text in (entry.title, entry.clerk):
        for words in (text.en, text.ja):
            assert not re.search(r"`|HSM|PKCS|JWKS|X\.509|APDU|PC/SC|JPKI|CVC", words)
            assert code not in words


@every_text
def test_what_operators_are_sent_to_exists(text: Text) -> None:
    """Both languages quote the same commands and settings, and each is a real one."""
    quoted = {words.strip("`") for words in QUOTED.findall(text.en)}
    assert quoted == {words.strip("`") for words in QUOTED.findall(text.ja)}
    commands = quoted - settings() - profile_values() - MESSAGES
    assert {words.split()[0] for words in commands} <= PROGRAMS


def spoken() -> Iterator[tuple[str, Text]]:
    """Yield key and text of everything in the catalogue."""
    yield from ((f"{code}.{field}", text) for code, field, text in texts())
    yield from catalogue().story.items()
    yield from catalogue().page.items()


def test_one_thing_has_one_word_in_japanese() -> None:
    """Whoever searches a page or the ledger for a word that a text said finds it: nothing is called otherwise elsewhere."""
    said = {key: SPEECH.sub("", text.ja) for key, text in spoken()}
    for page in JAPANESE_PAGES:
        said[page.name] = SPEECH.sub("", page.read_text("utf-8").replace("\n", ""))
    found = [
        (key, word, other[0])
        for key, words in said.items()
        for word, pattern in OTHER_WORDS.items()
        if (other := pattern.search(words))
    ]
    assert found == []


def test_one_thing_has_one_word_in_english() -> None:
    """The gateway is a machine, and does nothing itself; what it runs is the appliance, which writes the ledger."""
    acting = re.compile(
        r"(?<!on )[Tt]h(?:e|is) gateway(?:'s own| (?:is (?:not|fully|about)|has|does|made|needs|takes|could|cannot|declined)\b)"
    )
    for key, text in spoken():
        assert not acting.search(text.en), key
        if key.startswith("ledger_"):
            assert not re.search(r"\b(?:record|log)\b", text.en), key


@pytest.mark.parametrize("code", ["pin_rejected", "pin_blocked", "pin_last_try", "pin_cancelled"])
def test_a_pin_that_does_not_help_leads_to_the_face(code: str) -> None:
    """Where the PIN does not open the card, the clerk is offered the face reader and the visual check."""
    clerk = error_text(code).clerk
    assert "face-recognition reader" in clerk.en
    assert "photo on the card" in clerk.en
    assert "顔認証付きカードリーダー" in clerk.ja
    assert "目視" in clerk.ja


@pytest.mark.parametrize("code", ["pin_blocked", "pin_last_try"])
def test_a_pin_at_its_end_is_not_tried_again(code: str) -> None:
    """Where a further try is impossible or would lock the card, none is suggested; the municipality helps."""
    clerk = error_text(code).clerk
    assert "again" not in clerk.en
    assert "municipality" in clerk.en
    assert "もう一度" not in clerk.ja
    assert "市区町村の窓口" in clerk.ja


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("ja_JP.UTF-8", Language.JA),
        ("ja_JP.eucJP", Language.JA),
        ("ja-JP", Language.JA),
        ("ja", Language.JA),
        ("en_GB.UTF-8", Language.EN),
        ("jam_JM", Language.EN),
        ("C.UTF-8", Language.EN),
        ("", Language.EN),
        (None, Language.EN),
    ],
)
def test_the_language_follows_the_locale(name: str | None, language: Language) -> None:
    """A Japanese locale reads Japanese, every other one and none at all English."""
    assert Language.from_locale(name) is language


def test_a_text_is_read_in_the_language_asked_for() -> None:
    """A text gives its English to readers of English and its Japanese to readers of Japanese."""
    text = Text(en="card", ja="カード")
    assert {language: text.in_language(language) for language in Language} == {
        Language.EN: "card",
        Language.JA: "カード",
    }


def test_an_unknown_key_is_our_own_bug() -> None:
    """Asking for a code or a piece of story that does not exist is a KeyError, not an empty text."""
    with pytest.raises(KeyError):
        error_text("no_such_code")
    with pytest.raises(KeyError):
        story("no_such_key")


@pytest.mark.parametrize(
    "broken",
    [
        '[errors.a]\ntitle = { en = "a", ja = "b" }',
        '[errors]\n[story.a]\nen = "a"',
        '[errors]\n[story.a]\nen = "a"\nja = ""',
        '[errors]\n[story.a]\nen = "a"\nja = "b"\nfr = "c"',
        "[errors]\n[other]",
    ],
)
def test_an_incomplete_or_misspelt_file_is_refused(broken: str) -> None:
    """A text left out, an empty one, or a table of another name is noticed when the file is read."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode(broken, type=Catalogue)
