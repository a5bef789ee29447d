"""What was tried, and what was seen: a table that is printed at the end, whatever happens."""

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How a step ended."""

    HOLDS = "ok"
    FAILED = "FAILED"
    NOT_HERE = "not here"
    """This machine cannot show it; what was seen says why."""


@dataclass(slots=True)
class Row:
    """One line of the table."""

    part: str
    tried: str
    seen: str = ""
    outcome: Outcome = Outcome.HOLDS
    seconds: float = 0.0

    def not_here(self, why: str) -> None:
        """Note that this machine cannot show it."""
        self.outcome, self.seen = Outcome.NOT_HERE, why


@dataclass(slots=True)
class Report:
    """All lines so far."""

    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def step(self, part: str, tried: str) -> Iterator[Row]:
        """Give the row for what is *tried* now; an exception makes it a failed one, and the next step follows."""
        row = Row(part, tried)
        self.rows.append(row)
        begin = time.monotonic()
        try:
            yield row
        except Exception as error:  # noqa: BLE001  # whatever it is, it stands in the table
            row.outcome, row.seen = Outcome.FAILED, f"{type(error).__name__}: {error}"
            traceback.print_exc(file=sys.stderr)
        row.seconds = time.monotonic() - begin
        print(f"[{row.outcome}] {row.seconds:5.1f} s {part}: {tried}", file=sys.stderr, flush=True)  # noqa: T201  # progress

    @property
    def good(self) -> bool:
        """Whether nothing failed."""
        return all(row.outcome is not Outcome.FAILED for row in self.rows)

    def markdown(self) -> str:
        """Return the table."""
        lines = ["| part | tried | seen | |", "|---|---|---|---|"]
        for row in self.rows:
            seen = " ".join(row.seen.split()).replace("|", "\\|")
            lines.append(f"| {row.part} | {row.tried} | {seen[:300]} | {row.outcome} |")
        seconds = sum(row.seconds for row in self.rows)
        return "\n".join((*lines, "", f"{len(self.rows)} steps in {seconds:.0f} s."))
