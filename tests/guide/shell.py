"""
The shell that the guide's reader types into: one, from the first line to the last.

What a line leaves behind in it (a folder, a mask, a variable) is there for the next one, as it is for the reader; so none of
the guide's lines may leave anything.
"""

import os
import re
import select
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Final, Self

_LEFT: Final = "umask; pwd; set +o; shopt; export -p; alias -p; trap -p"
"""Tells what a line could leave behind. A name in a loop is nothing to anybody."""
_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a line has *out*put, error output included, and its exit *status*."""

    status: int
    out: str

    @property
    def last(self) -> str:
        """The last line."""
        return self.out.rstrip().rsplit("\n", 1)[-1]


class Shell(AbstractContextManager["Shell"]):
    """A bash that *command* starts, in *folder* and with nothing else than *environment*."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            cwd=folder,
            env=dict(environment),
        )

    def typed(self, line: str, seconds: float) -> Answer:
        """
        Have *line* carried out, and return what it says.

        Raise AssertionError where that takes longer than *seconds*, ends the shell, or leaves something behind in it that
        the lines after it would be carried out under.
        """
        before = self._run(_LEFT, _SECONDS).out
        answer = self._run(line, seconds)
        after = self._run(_LEFT, _SECONDS).out
        new = "\n".join(line for line in after.splitlines() if line not in before.splitlines())
        assert after == before, f"{line}\nleaves behind, for all lines after it:\n{new}"
        return answer

    def _run(self, line: str, seconds: float) -> Answer:
        entering, telling = self._process.stdin, self._process.stdout
        assert entering is not None
        assert telling is not None
        mark = token_hex(8)
        # Nobody types into what the line runs: the next line is not for it.
        entering.write(f"eval {shlex.quote(line)} </dev/null\nprintf '\\n{mark} %d\\n' $?\n".encode())
        end, said = time.monotonic() + seconds, b""
        while (found := re.search(rf"\n{mark} (\d+)\n".encode(), said)) is None:
            ready, _, _ = select.select([telling], [], [], max(0.0, end - time.monotonic()))
            part = os.read(telling.fileno(), 65536) if ready else b""
            why = "ended the shell" if ready else f"took longer than {seconds:g} s"
            assert part, f"{line}\n{why}:\n{said.decode('utf-8', 'replace')}"
            said += part
        return Answer(int(found[1]), said[: found.start()].decode("utf-8", "replace"))

    def __enter__(self) -> Self:
        """Give the shell."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None, /
    ) -> None:
        """End it, as at the end of what is typed."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
