"""A card that answers from a list."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Script:
    """Answers in their order, and remembers what it was sent; loud when the list is at its end."""

    answers: list[bytes]
    sent: list[bytes] = field(default_factory=list)

    def transmit(self, command: bytes) -> bytes:
        """Return the next answer."""
        self.sent.append(command)
        return self.answers.pop(0)
