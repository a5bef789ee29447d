"""Challenges that a worker was given and whose signature has not reached its caller: never to be given again."""

from typing import Final

_MOST: Final = 4096


class Unanswered:
    """The last 4,096 of them. One that was answered, or surely not begun, is forgotten."""

    __slots__ = ("_challenges",)

    def __init__(self) -> None:
        self._challenges: dict[bytes, None] = {}

    def __contains__(self, challenge: bytes) -> bool:
        return challenge in self._challenges

    def __len__(self) -> int:
        return len(self._challenges)

    def given(self, challenge: bytes) -> None:
        """A worker has got *challenge*."""
        while len(self._challenges) >= _MOST:
            del self._challenges[next(iter(self._challenges))]
        self._challenges[challenge] = None

    def forget(self, challenge: bytes) -> None:
        """It is known what became of *challenge*."""
        self._challenges.pop(challenge, None)
