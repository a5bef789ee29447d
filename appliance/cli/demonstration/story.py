"""The demonstration as a person reads it, in Japanese or English."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from appliance.card.front import Front
from appliance.card.jpki import Mode
from appliance.catalogue import Language, error_text, story
from appliance.cli.demonstration.record import ExchangeRecord, PartRecord, SignatureRecord
from appliance.cli.demonstration.remembered import Remembered
from appliance.errors import ApplianceError

_SHOWN_COMMAND = 42
"""Characters of a command in a table; the rest of it is certificates and signatures."""


@dataclass(slots=True)
class Story:
    """Tells what happens on *console* while it happens (`record.Audience`)."""

    console: Console
    language: Language
    exchanges: int = 0

    def say(self, key: str) -> str:
        """Return the catalogue's text for *key* in the story's language."""
        return story(key).in_language(self.language)

    def chapter(self, key: str) -> None:
        """Begin a new part of the story."""
        self.console.print()
        self.console.rule(Text(self.say(key), "bold"), align="left")

    def part_done(self, part: PartRecord) -> None:
        """Tell that a part is ready."""
        line = Text.assemble(
            ("✓ ", "green"), self.say(f"part-{part.name}"), (f"  {_time(part.seconds)}", "dim")
        )
        self.console.print(line)

    def exchange_done(self, exchange: ExchangeRecord) -> None:
        """Show an exchange with the card, step by step."""
        self.exchanges += 1
        table = Table(
            title=f"{self.say('exchange')} {self.exchanges}  {_time(exchange.seconds)}",
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        for column in ("command", "answer", "time", "meaning"):
            table.add_column(self.say(f"column-{column}"), no_wrap=column != "meaning")
        for _, alike in groupby(exchange.steps, lambda step: (step.name, step.command[:4])):
            first, *more = alike
            meaning = Text(self.say(f"step-{first.name}"))
            if more:
                meaning.append(f"  ({1 + len(more)}x)")
            if first.unverified:
                meaning.append("  UNVERIFIED", "yellow")
            seconds = sum((step.seconds for step in more), first.seconds)
            table.add_row(_shortened(first.command), (first, *more)[-1].status, _time(seconds), meaning)
        self.console.print(table)
        self.console.print()

    def signature_done(self, signature: SignatureRecord) -> None:
        """Tell that the institution key has signed."""
        line = Text.assemble(("✓ ", "green"), self.say("signed"), (f"  {_time(signature.seconds)}", "dim"))
        if signature.unverified:
            line.append("  UNVERIFIED", "yellow")
        self.console.print(line)
        self.console.print()

    def front(self, front: Front, folder: Path) -> None:
        """Show what the clerk sees of a made-up person's front, and where its images are."""
        self.console.print(f"{front.birth:%Y-%m-%d}  {front.sex}  {front.expiry:%Y-%m-%d}")
        self.console.print(Text.assemble(("✓ ", "green"), f"{self.say('front-shown')} {folder}"))
        self.console.print(self.say("front-forgotten"))

    def unverified(self, assumed: Iterable[str]) -> None:
        """Name what the profile assumes about real cards."""
        self.console.print()
        self.console.print(Text(f"UNVERIFIED: {self.say('unverified')}\n  {', '.join(assumed)}", "yellow"))

    def claims(self, claims: Mapping[str, object]) -> None:
        """Show what the verified token says."""
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in claims.items():
            table.add_row(Text(name, "bold"), Text(_shortened(str(value), 90)))
        self.console.print(table)

    def difference(self, mine: Mapping[str, object], other: Mapping[str, object]) -> None:
        """Show where two results on one card differ, beyond what differs between any two."""
        table = Table(box=None, pad_edge=False)
        for column in ("column-claim", "mode-pin", "mode-pinless"):
            table.add_column(self.say(column))
        for name in mine:
            if mine[name] != other[name] and name not in {"jti", "iat", "exp", "auth_time"}:
                table.add_row(Text(name, "bold"), str(mine[name]), str(other[name]))
        self.console.print(table)
        self.console.print(self.say("difference-explained"))

    def remembered(self, found: Remembered) -> None:
        """Show the ledger's entries, the proof of the second, and that a stranger's program verifies it."""
        for entry in found.entries:
            self.console.print(Text(msgspec.json.encode(entry).decode(), overflow="fold"))
        self.console.print()
        self.console.print(Text(found.proof.rstrip(), "dim", overflow="fold"))
        self.console.print()
        self.console.print(Text.assemble(("✓ ", "green"), f"{self.say('ledger-verified')}  {found.verified}"))

    def authenticated(self, mode: Mode, claims: Mapping[str, Any]) -> None:
        """Tell the happy end."""
        line = (
            f"authenticated   mode: {mode}   institution code: {claims['institution_code']}   "
            f"revocation: {claims['revocation']['result']}"
        )
        self.console.print()
        self.console.print(Panel(Text(f"{line}\n{self.say('authenticated')}"), border_style="green"))

    def refused(self, error: ApplianceError) -> None:
        """Tell the other end: code, what happened, what clerk and operator do."""
        text = error_text(error.code)
        lines = (
            f"refused   code: {error.code}",
            text.title.in_language(self.language),
            f"  {error.detail}",
            f"{self.say('clerk')}: {text.clerk.in_language(self.language)}",
            f"{self.say('operator')}: {text.operator.in_language(self.language)}",
        )
        self.console.print()
        self.console.print(Panel(Text("\n".join(lines)), border_style="red"))


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _shortened(text: str, length: int = _SHOWN_COMMAND) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
