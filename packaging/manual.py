"""
Write the manual pages into a folder: one for each command, made from what `--help` says, one for each configuration file,
made from what the package installs, and those that are prose (packaging/man).

    python packaging/manual.py FOLDER
"""

import inspect
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
from configuration import installed

from appliance import __version__
from appliance.cli.main import command

_HERE = Path(__file__).resolve().parent
_PROGRAM = "jpki-appliance"
_EXIT_STATUS = (
    ("0", "It was done."),
    ("1", "Something was refused or is broken; the message names a code (jpki-appliance explain CODE)."),
    ("2", "The command was used wrongly."),
    ("78", "An operator is needed: trying again as it is would do harm or no good."),
)
_EXIT_STATUS_OF = {
    "jpki-appliance ledger restore": (
        ("3", "It was restored, and the checkpoint is of entries that the backup does not have."),
    ),
}
"""What one command alone ends with."""
_CONFIGURATIONS = {
    "jpki-appliance.toml": ("appliance.toml", "configuration of a PIN-less My Number card authentication"),
    "jpki-terminal.toml": (
        "terminal.toml",
        "configuration of a terminal, which brings card readers to an appliance",
    ),
    "jpki-handover.toml": (
        "handover.toml",
        "configuration of the hand-over for software that knows files alone",
    ),
}
"""The pages of section 5: which file below /etc/jpki-appliance, and what it is."""
_CONFIGURED_BY = {
    "jpki-appliance terminal": "jpki-terminal.toml",
    "jpki-appliance handover": "jpki-handover.toml",
}


def escaped(text: str) -> str:
    """Return *text* so that roff shows it as it is."""
    text = text.replace("\\", r"\(rs").replace("-", r"\-").replace('"', r"\(dq")
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.MULTILINE)


def heading(name: str, section: int) -> str:
    """Return the title line of page *name*, dated by SOURCE_DATE_EPOCH alone."""
    day = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC).date()
    return f'.TH "{escaped(name.upper())}" {section} {day} "{_PROGRAM} {__version__}"'


def paragraphs(text: str) -> Iterator[str]:
    """Yield *text* of a command's help: paragraphs are filled, and kept as they are after click's own mark."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            yield ".PP\n.nf\n" + escaped(paragraph.removeprefix("\b").strip("\n")) + "\n.fi"
        else:
            yield ".PP\n" + escaped(paragraph)


def walk(name: str, one: click.Command, parent: click.Context | None) -> Iterator[tuple[str, click.Context]]:
    """Yield the *one* command and all below it, each with its full name."""
    context = click.Context(one, parent=parent, info_name=name.rsplit(" ", 1)[-1])
    yield name, context
    if isinstance(one, click.Group):
        for below in one.list_commands(context):
            found = one.get_command(context, below)
            if found is not None and not found.hidden:
                yield from walk(f"{name} {below}", found, context)


def command_page(name: str, context: click.Context) -> str:
    """Return the page of the command called *name*."""
    one = context.command
    parts = [
        heading(name.replace(" ", "-"), 1),
        ".SH NAME",
        f"{escaped(name.replace(' ', '-'))} \\- {escaped(one.get_short_help_str(200).rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {escaped(name)}\n{escaped(' '.join(one.collect_usage_pieces(context)))}",
        ".SH DESCRIPTION",
        *paragraphs(one.help or ""),
    ]
    records = [record for each in one.get_params(context) if (record := each.get_help_record(context))]
    if records:
        parts.append(".SH OPTIONS")
        parts += [f".TP\n.B {escaped(option)}\n{escaped(text)}" for option, text in records]
    if isinstance(one, click.Group):
        parts.append(".SH COMMANDS")
        for below in one.list_commands(context):
            found = one.get_command(context, below)
            if found is not None:
                page = f"{name} {below}".replace(" ", "-")
                parts.append(f".TP\n.BR {escaped(page)} (1)\n{escaped(found.get_short_help_str(200))}")
    parts.append(".SH EXIT STATUS")
    statuses = sorted((*_EXIT_STATUS, *_EXIT_STATUS_OF.get(name, ())), key=lambda each: int(each[0]))
    parts += [f".TP\n.B {status}\n{escaped(text)}" for status, text in statuses]
    also = [f"{_CONFIGURED_BY.get(name, 'jpki-appliance.toml')} (5)", "jpki-appliance.service (8)"]
    parts += [".SH SEE ALSO", ",\n".join(f".BR {escaped(page)}" for page in also)]
    return "\n".join(parts) + "\n"


def configuration_page(name: str, what: str, file: str) -> str:
    """Return the page called *name* of the configuration *file*, made of its annotated example; *what* it is."""
    example = installed(file)
    parts = [
        heading(name, 5),
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(what)}",
        ".SH SYNOPSIS",
        f".I {escaped('/etc/jpki-appliance/' + file)}",
    ]
    for number, block in enumerate(example.strip().split("\n\n")):
        lines = block.split("\n")
        title = next((line for line in lines if re.match(r"#?\[", line)), None)
        parts.append(".SH DESCRIPTION" if not number else f".SS {escaped((title or '').strip('#'))}")
        for line in lines:
            if line == title:
                continue
            if line.startswith(("# ", "#\n")) or line == "#":
                parts.append(escaped(line[2:]) if line != "#" else ".PP")
            else:
                parts += [".PP", f".RS\n.nf\n.B {escaped(line.removeprefix('#'))}\n.fi\n.RE", ".PP"]
    parts += [".SH SEE ALSO", r".BR jpki\-appliance (1),", r".BR jpki\-appliance.service (8)"]
    return "\n".join(parts) + "\n"


def main(folder: Path) -> None:
    """Write all pages below *folder*."""
    for section in (1, 5, 8):
        (folder / f"man{section}").mkdir(parents=True, exist_ok=True)
    for name, context in walk(_PROGRAM, command, None):
        (folder / "man1" / f"{name.replace(' ', '-')}.1").write_text(command_page(name, context), "utf-8")
    for name, (file, what) in _CONFIGURATIONS.items():
        (folder / "man5" / f"{name}.5").write_text(configuration_page(name, what, file), "utf-8")
    for prose in sorted((_HERE / "man").glob("*.8")):
        text = prose.read_text("utf-8")
        (folder / "man8" / prose.name).write_text(heading(prose.stem, 8) + "\n" + text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
