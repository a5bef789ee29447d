"""
Conversations with a card as text: read, and played to a dialogue.

The format is told in `tests/vectors/README.md`. Every exchange of a dialogue is played step by step as a terminal
would do it, so a transcript also fixes the number of round trips: a blank line stands between two exchanges.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from appliance.card.apdu import Response
from appliance.card.dialogue import Dialogue, Exchange, InstitutionSignature, Request, VerifyHolder

CERTIFICATE = bytes.fromhex("308205F0") + bytes(range(256)) * 5 + bytes(240)
"""What stands where a holder's certificate would: the dialogue reads its length and nothing else."""
PIN = b"1234"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what kind, and its text."""

    kind: str
    text: str

    def octets(self) -> bytes:
        """Return the bytes of an answer."""
        filled = self.text.replace("{certificate}", (CERTIFICATE + b"\xff" * 512).hex())
        filled = re.sub(r"\{bytes:(\d+)\}", lambda match: "5A" * int(match[1]), filled)
        filled = re.sub(r"\{file:(\d+)\}", lambda match: self._file(int(match[1])), filled)
        return bytes.fromhex(filled)

    @staticmethod
    def _file(offset: int) -> str:
        content = CERTIFICATE.ljust(1_600, b"\xff")
        return content[offset : offset + 256].hex()

    def fits(self, command: bytes) -> bool:
        """Tell whether *command* is the one that the line expects."""
        pattern = ".*".join(re.escape(part) for part in self.text.replace(" ", "").split("…"))
        return re.fullmatch(pattern, command.hex().upper()) is not None


@dataclass(frozen=True, slots=True)
class Transcript:
    """A reason, what is asked for, how it ends, and the *exchanges* (or signatures) in between."""

    name: str
    reason: str
    dialogue: str
    ends: str
    turns: tuple[tuple[Line, ...], ...]


def read(path: Path) -> Transcript:
    """Return the transcript in *path*; a line that is not understood is a ValueError."""
    reason, fields, turns = [], {}, [[]]  # type: ignore[var-annotated]
    for number, raw in enumerate(path.read_text().splitlines(), start=1):
        text = raw.split("  #")[0].strip()
        if raw.startswith("#"):
            reason.append(raw[1:].strip())
        elif match := re.fullmatch(r"(dialogue|ends): (\w+)", text):
            fields[match[1]] = match[2]
        elif not text:
            turns.append([])
        elif text[:2] in {"> ", "< ", "= "}:
            turns[-1].append(Line(text[0], text[2:]))
        else:
            raise ValueError(f"{path.name}:{number}: {raw!r} is no line of a transcript")
    return Transcript(
        path.stem,
        " ".join(reason),
        fields["dialogue"],
        fields["ends"],
        tuple(tuple(turn) for turn in turns if turn),
    )


@dataclass(slots=True)
class Player:
    """Plays a transcript to a dialogue and insists that each says exactly what the transcript says."""

    transcript: Transcript
    turns: Iterator[tuple[Line, ...]] = field(init=False)
    requests: list[Request] = field(default_factory=list)
    unexpected: list[tuple[str, int]] = field(default_factory=list)
    """Steps that were answered with a status word that they do not expect."""

    def __post_init__(self) -> None:
        self.turns = iter(self.transcript.turns)

    def play(self, dialogue: Dialogue[T]) -> T:
        """Return what *dialogue* ends with, or raise what it raises."""
        answer: tuple[Response, ...] | bytes | None = None
        while True:
            try:
                request = next(dialogue) if answer is None else dialogue.send(answer)
            except StopIteration as end:
                assert next(self.turns, None) is None, "the transcript goes on, the dialogue does not"
                result: T = end.value
                return result
            self.requests.append(request)
            turn = next(self.turns, None)
            assert turn is not None, f"the dialogue goes on with {request}, the transcript does not"
            answer = (
                self._exchange(request, turn) if isinstance(request, Exchange) else self._sign(request, turn)
            )

    def _exchange(self, exchange: Exchange, turn: tuple[Line, ...]) -> tuple[Response, ...]:
        lines, responses = iter(turn), []
        for step in exchange.steps:
            command = (
                step.header.command(PIN).to_bytes()
                if isinstance(step, VerifyHolder)
                else step.command.to_bytes()
            )
            sent, received = next(lines, None), next(lines, None)
            assert sent is not None, f"the transcript ends before '{step.name}'"
            assert received is not None, f"the transcript has no answer to '{step.name}'"
            assert sent.kind == ">", f"a command was expected: {sent}"
            assert sent.fits(command), f"{command.hex()} is not {sent.text}"
            responses.append(Response.from_bytes(received.octets()))
            if responses[-1].status not in step.expect:
                self.unexpected.append((step.name, responses[-1].status))
                break
        assert next(lines, None) is None, "the transcript's exchange goes on, the dialogue's does not"
        return tuple(responses)

    def _sign(self, request: InstitutionSignature, turn: tuple[Line, ...]) -> bytes:
        (line,) = turn
        assert line.kind == "=", f"a signature was expected: {line}"
        assert request.challenge.hex() not in line.text
        return line.octets()
