"""The guide on a booted Debian that has never seen the package: every command of it, as it stands, in one shell of root's."""

import os
import shutil
import time
from pathlib import Path
from typing import Final

from tests.guide.blocks import CHAPTERS, DOCS, Block, Change, Command, blocks
from tests.guide.shell import Shell
from tests.system.machine import Machine
from tests.system.report import Report

_SECONDS: Final = 60.0
_ASKED_AGAIN: Final = (
    "jpki-appliance status",
    "jpki-appliance doctor",
    "is-active",
    "pg_lsclusters",
    "http://127.0.0.1:",
)
_LONGEST: Final = 180.0


def walk(machine: Machine, report: Report, package: Path, former: Path) -> None:
    """Go through the guide on *machine*, which has no package yet: first the *former* one, later *package*."""
    folder = machine.root / "srv" / "packages"
    folder.mkdir(parents=True)
    shutil.copy(former, folder / "jpki-appliance.deb")
    shutil.copy(package, folder / "newer.deb")
    known: dict[str, str] = {}
    with Shell(machine.inside("/root", "bash"), Path("/"), {"PATH": os.environ["PATH"]}) as shell:
        for chapter in CHAPTERS:
            for block in blocks(DOCS / "guide" / "en" / chapter):
                with report.step("guide", f"{block.where} {_told(block)}") as row:
                    row.seen = _done(machine, shell, block, known)


def _told(block: Block) -> str:
    first = block.text if isinstance(block, Change) else block.commands[0].line
    return f"`{first.strip().splitlines()[0][:80]}`"


def _done(machine: Machine, shell: Shell, block: Block, known: dict[str, str]) -> str:
    """Do what *block* says, and return the last that was printed; raise AssertionError where it is not as the guide says."""
    if isinstance(block, Change):
        path = machine.root / block.file.lstrip("/")
        path.write_text(block.applied(path.read_text("utf-8")), "utf-8")
        return f"{block.file} {block.how}"
    last = ""
    for command in block.commands:
        last = _typed(shell, command, known)
    return last


def _typed(shell: Shell, command: Command, known: dict[str, str]) -> str:
    line = command.filled(known)
    deadline = time.monotonic() + _SECONDS
    while True:
        said = shell.typed(line, _LONGEST)
        missing = command.missing(said.out, known) if said.status == 0 else f"status {said.status}"
        if missing is None:
            return said.last
        if not any(part in line for part in _ASKED_AGAIN) or time.monotonic() > deadline:
            raise AssertionError(f"{line}\nhas not: {missing}\nbut:\n{said.out[-3000:]}")
        time.sleep(0.5)
