"""What the person at a terminal sees: one picture that is drawn anew on a screen, or a line for each change."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from appliance.catalogue import Language, catalogue, story
from appliance.terminals.agent.status import ENDED, Link, Place, ReaderLine, Status

_COLOURS = {
    Place.DONE: "green",
    Place.REFUSED: "red",
    Place.PLACE_CARD: "bold yellow",
    Place.ENTER_PIN: "bold yellow",
}
_LINK_COLOURS = {Link.CONNECTED: "green", Link.AWAY: "red"}


@dataclass(slots=True)
class StatusView:
    """Shows the status on *console*; a context manager, in which a screen belongs to it."""

    console: Console
    language: Language
    _live: Live | None = None
    _shown: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: Status) -> None:
        """Show *status*."""
        lines = dict(self._lines(status))
        if self._live is not None:
            self._live.update(Group(*lines.values()), refresh=True)
            return
        for subject, line in lines.items():
            if self._shown.get(subject) != line.plain:
                self._shown[subject] = line.plain
                self.console.print(line, soft_wrap=True)

    def _lines(self, status: Status) -> Iterator[tuple[str, Text]]:
        """Yield what is said, and what it is about."""
        yield "", self._link(status)
        for alias, reader in status.readers.items():
            yield alias, Text.assemble((f"{alias}  ", "bold"), self._reader(reader))

    def _link(self, status: Status) -> Text:
        words = [self._say(f"terminal-link-{status.link}")]
        if status.terminal is not None:
            words.append(f"{self._say('terminal-name')} {status.terminal}")
        if status.link is Link.CONNECTED and status.nodes > 1:
            words.append(f"{self._say('terminal-nodes')} {status.connected}/{status.nodes}")
        if status.link is Link.AWAY:
            words += [f"({self._known(status.code) or status.reason})"]
            words += [f"{self._say('terminal-next')} {status.seconds:.0f}"]
        return Text("  ".join(words), _LINK_COLOURS.get(status.link, ""))

    def _reader(self, reader: ReaderLine) -> Text:
        words = [self._say(f"terminal-reader-{reader.place}")]
        if reader.code is not None:
            words += [f"[{reader.code}]", self._known(reader.code)]
        if reader.place in ENDED and reader.card:
            words.append(self._say("terminal-take-card"))
        return Text(" ".join(word for word in words if word), _COLOURS.get(reader.place, ""))

    def _known(self, code: str | None) -> str:
        """Return what happened and what to do where *code* is one of ours; the appliance may be newer than we are."""
        text = None if code is None else catalogue().errors.get(code)
        if text is None:
            return ""
        return f"{text.title.in_language(self.language)} {text.clerk.in_language(self.language)}"

    def _say(self, key: str) -> str:
        return story(key).in_language(self.language)
