"""
What stands in the operator's guide to be done: commands, and changes to configuration files.

    ```console            commands that run anywhere: behind "# ", as root's shell has them; what they print follows
    ```console booted     commands that need systemd, root's rights or the package's accounts
    ```toml set FILE      these keys get these values; sections that are not there are added
    ```toml delete FILE   these lines go

In what is printed, … stands for anything, and <a-name> for one word that later commands use. Lines in between may be left
out. The year of a moment in a change is next year, whenever the guide is tried: a reader writes a moment of their own. Other
blocks have no commands in them: a test looks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

DOCS: Final = Path(__file__).parents[2] / "docs"
CHAPTERS: Final = tuple(sorted(path.name for path in (DOCS / "guide" / "en").iterdir()))
PROMPT: Final = "# "
_FENCE: Final = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME: Final = re.compile(r"<([a-z][a-z-]*)>")
_HERE: Final = "<<'EOF'"
_YEAR: Final = re.compile(r"\b\d{4}(?=-\d{2}-\d{2}T)")
_HEADER: Final = re.compile(r"\[{1,2}[^\[\]]+\]{1,2}")


@dataclass(frozen=True, slots=True)
class Command:
    """A *line* to be typed, and lines that it *prints*."""

    line: str
    prints: tuple[str, ...]

    def filled(self, known: dict[str, str]) -> str:
        """Return what is typed by somebody to whom names are *known*."""
        return _NAME.sub(lambda found: known[found[1]], self.line)

    def missing(self, printed: str, known: dict[str, str]) -> str | None:
        """Return the first line that was to be *printed* and was not, or None; what names stand for becomes *known*."""
        lines = iter(printed.splitlines())
        for expected in self.prints:
            pattern = _pattern(expected)
            found = next((match for line in lines if (match := pattern.search(line))), None)
            if found is None:
                return expected
            known |= {name.replace("_", "-"): value for name, value in found.groupdict().items()}
        return None


def _pattern(expected: str) -> re.Pattern[str]:
    """Return what matches the line that is *expected*; blanks are as many as there are."""
    read = ""
    for part in re.split(r"(…|<[a-z][a-z-]*>)", " ".join(expected.split())):
        if part == "…":
            read += ".*"
        elif named := _NAME.fullmatch(part):
            read += rf"(?P<{named[1].replace('-', '_')}>\S+)"
        else:
            read += r"\s+".join(map(re.escape, part.split(" ")))
    return re.compile(read)


@dataclass(frozen=True, slots=True)
class Console:
    """Commands, in order; *booted* are those that need a machine of their own."""

    where: str
    booted: bool
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A change to the configuration *file*: these lines are set, or deleted."""

    where: str
    how: Literal["set", "delete"]
    file: str
    text: str

    def applied(self, before: str) -> str:
        """Return what the file is that was *before*."""
        text = _YEAR.sub(str(datetime.now(UTC).year + 1), self.text)
        return _without(before, text) if self.how == "delete" else _with(before, text)


Block = Console | Change


def blocks(page: Path) -> Iterator[Block]:
    """Yield what is to be done on *page*; raise ValueError where it is not as the head of this module says."""
    text = page.read_text("utf-8")
    for found in _FENCE.finditer(text):
        where = f"{page.parent.name}/{page.name}:{text.count(chr(10), 0, found.start()) + 1}"
        match found[1].split(" "):
            case ["console", *rest] if rest in ([], ["booted"]):
                yield Console(where, bool(rest), tuple(_commands(where, found[2])))
            case ["toml", ("set" | "delete") as how, file]:
                yield Change(where, "set" if how == "set" else "delete", file, found[2])
            case ["text"]:
                pass
            case _:
                raise ValueError(f"{where}: a block is {found[1]!r}")


def _commands(where: str, text: str) -> Iterator[Command]:
    typed, printed = "", list[str]()
    for line in text.splitlines():
        if typed.endswith("\\") or (_HERE in typed and not typed.endswith("\nEOF")):
            typed = f"{typed}\n{line}"
        elif line.startswith(PROMPT):
            if typed:
                yield Command(typed, tuple(printed))
            typed, printed = line.removeprefix(PROMPT), []
        elif not typed:
            raise ValueError(f"{where}: {line!r} comes before any command")
        elif line.strip() not in ("", "…"):
            printed.append(line)
    if not typed:
        raise ValueError(f"{where}: no command")
    yield Command(typed, tuple(printed))


def _with(before: str, text: str) -> str:
    """Return *before* with the keys of *text* set, each under its section's header."""
    lines, place = before.splitlines(), None
    for line in text.splitlines():
        if _HEADER.fullmatch(line):
            if line.startswith("[[") or line not in lines:
                lines += ["", line]
                place = len(lines)
            else:
                place = lines.index(line) + 1
        elif line and not line.startswith("#"):
            place = _set(lines, 0 if place is None else place, line)
    return "\n".join((*lines, ""))


def _set(lines: list[str], begin: int, line: str) -> int:
    """Set a key in the section that *begins* there; return where the section's next key may go."""
    end = next((n for n in range(begin, len(lines)) if _HEADER.fullmatch(lines[n])), len(lines))
    key = line.split(" = ", maxsplit=1)[0]
    for number in range(begin, end):
        if lines[number].startswith(f"{key} = "):
            lines[number] = line
            return begin
    lines.insert(begin, line)
    return begin + 1


def _without(before: str, text: str) -> str:
    if before.count(f"\n{text}") != 1:
        raise ValueError(f"not there, or more than once: {text}")
    return before.replace(f"\n{text}", "\n")
