"""The operator's guide: what stands in it was done, by an administrator who reads it from front to back."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import pytest

from appliance.catalogue import Language
from appliance.cli.main import command as main
from appliance.errors import BY_CODE
from tests.guide.blocks import CHAPTERS, DOCS, Block, Change, Console, blocks
from tests.guide.place import Place
from tests.ledger.server import running

GUIDE: Final = DOCS / "guide"
PAGES: Final = sorted((*GUIDE.glob("*/*.md"), *DOCS.glob("guide.*.md")))
every_page = pytest.mark.parametrize("page", PAGES, ids=[f"{one.parent.name}-{one.stem}" for one in PAGES])
COMMANDS: Final = [
    command.line
    for chapter in CHAPTERS
    for block in blocks(GUIDE / "en" / chapter)
    if isinstance(block, Console)
    for command in block.commands
]
PROGRAMS: Final = {line.split()[0] for line in COMMANDS}


@dataclass(slots=True)
class Reader:
    """An administrator at a *place*, who has the chapters before that *next* one behind them."""

    place: Place
    next: int = 0
    stuck: str | None = None

    def read(self, chapter: str) -> None:
        """Do everything up to the end of *chapter*, in order."""
        while self.next <= CHAPTERS.index(chapter):
            assert self.stuck is None, f"{self.stuck} was not done"
            for block in blocks(GUIDE / "en" / CHAPTERS[self.next]):
                self.stuck = block.where
                self.place.do(block)
            self.next, self.stuck = self.next + 1, None


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """Somebody with a machine on which the package was just installed. Its path is short, because sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="guide-") as folder, running() as server:
        # The appliance has another account than the server.
        server.folder.chmod(0o711)
        around = {"PGHOST": str(server.folder), "PGUSER": "ledger"}
        with Place.made(Path(folder), {"/run/postgresql": str(server.folder)}, around) as place:
            yield Reader(place)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_guide_is_done_from_front_to_back(reader: Reader, chapter: str) -> None:
    """Every command leads to what the guide prints of it."""
    reader.read(chapter)


def told(block: Block) -> tuple[object, ...]:
    """Return what is to be done, without where it stands."""
    match block:
        case Change(how=how, file=file, text=text):
            return (how, file, text)
        case Console(booted=booted, commands=commands):
            return (booted, *commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_leaves_anything_in_the_shell(command: str) -> None:
    """The next line is typed into the same one: a mask for a single file stands in brackets, with what makes the file."""
    outside, brackets = command, 1
    while brackets:
        outside, brackets = re.subn(r"\([^()]*\)", "", outside)
    lasting = r"(?:^|[;&|{]|\bdo\b)\s*(?:(?:umask|cd|pushd|export|set|shopt|exec|exit|alias|trap|source|\.)\s|\w+=\S*\s*(?:;|$))"
    assert not re.search(lasting, outside), command


def test_no_checkpoint_that_was_kept_is_written_over() -> None:
    """A shell empties the file before the command fails that was to fill it: on the very day on which what was in it counts."""
    taken = [command for command in COMMANDS if re.search(r"ledger checkpoint >", command)]
    assert taken
    for command in taken:
        hidden = r"> /srv/backup/\.checkpoint \\\n +&& mv --no-clobber /srv/backup/\.checkpoint "
        assert re.search(hidden + r"/srv/backup/checkpoint-\$\(date \S+\)$", command), command


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_both_languages_have_the_same_done(chapter: str) -> None:
    """Whoever reads Japanese types, changes and sees the same, in the same order."""
    english, japanese = (
        [told(one) for one in blocks(GUIDE / language / chapter)] for language in ("en", "ja")
    )
    assert english == japanese


def prose(page: Path) -> str:
    """Return *page* without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


@every_page
def test_no_command_stands_outside_of_what_is_run(page: Path) -> None:
    """Blocks are of a known kind, none is hidden by its margin, and a command that the text names is one that is run."""
    list(blocks(page))
    text = prose(page)
    assert "```" not in text
    assert not re.search(r"^(?: {4}|\t)", text, re.MULTILINE)
    for named in re.findall(r"`([^`]+)`", text):
        match named.split(" "):
            case ["jpki-appliance", *words]:
                assert known(words), named
            case [program, _, *_] if program in PROGRAMS:
                assert any(named in command for command in COMMANDS), named


def known(words: Sequence[str]) -> bool:
    """Return whether *words* name a command, with what may follow it."""
    command: click.Command = main
    for word in words:
        if isinstance(command, click.Group) and word in command.list_commands(click.Context(command)):
            command = command.get_command(click.Context(command), word) or command
        else:
            return command is not main and not (isinstance(command, click.Group) and word.islower())
    return True


@every_page
def test_what_is_linked_is_there(page: Path) -> None:
    """Pages, and the headings in them."""
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """Return the names of the headings of *page*, as they are shown on the web."""
    headings = re.findall(
        r"^#+ (.*)$",
        re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL),
        re.MULTILINE,
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_codes_and_alerts_are_ours(page: Path) -> None:
    """A code in the guide is one that an appliance can tell, an alert one that Prometheus can raise."""
    text = page.read_text("utf-8")
    alerts = (DOCS / "alerts.en.md").read_text("utf-8")
    assert all(f"### {name}\n" in alerts for name in re.findall(r"`(Jpki[A-Z]\w+)`", text))
    codes = re.findall(r"`((?:hsm|ledger|revocation|gateway|config|terminal|reader|card)_[a-z_]+)`", text)
    assert set(codes) <= set(BY_CODE)


def test_the_index_leads_to_every_chapter() -> None:
    """In both languages."""
    for language in Language:
        text = (DOCS / f"guide.{language}.md").read_text("utf-8")
        assert all(f"(guide/{language}/{chapter})" in text for chapter in CHAPTERS)
