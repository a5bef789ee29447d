"""
Requests that are sent again under one Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).

A key is known as long as what it began, and on this node alone: it is for a client whose answer got lost. One that was
withdrawn is known for a while, too, so that a request under it that arrives later begins nothing.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from appliance.errors import IdempotencyConflict, RequestMalformed

T = TypeVar("T")
HEADER: Final = "Idempotency-Key"
_KEY: Final = re.compile(r'(?P<quote>"?)(?P<key>[!#-\[\]-~]{1,128})(?P=quote)')
"""As the draft has it, in quotation marks; or bare, as most send it."""


def parse_key(header: str) -> str:
    """Return the key in *header*, or raise RequestMalformed."""
    match = _KEY.fullmatch(header)
    if match is None:
        raise RequestMalformed(f"{HEADER} has 1 to 128 printable characters and no space")
    return match["key"]


def key_in(headers: Sequence[str]) -> str | None:
    """Return the key in the *headers* of that name, None where there is none; or raise RequestMalformed."""
    if len(headers) > 1:
        raise RequestMalformed(f"{HEADER} is there twice")
    return parse_key(headers[0]) if headers else None


class Repeats(Generic[T]):
    """What was begun under which key of which peer, and by which request. Requests are compared as values."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], tuple[object, T]] = {}

    def __len__(self) -> int:
        return len(self._begun)

    def find(self, peer: str, key: str, request: object) -> T | None:
        """Return what *request* has begun before; raise IdempotencyConflict where another one did under this key."""
        found = self._begun.get((peer, key))
        if found is None:
            return None
        earlier, begun = found
        if earlier != request:
            raise IdempotencyConflict("another request was made under this key")
        return begun

    def begun(self, peer: str, key: str) -> T | None:
        """Return what was begun under the key, by whatever request."""
        found = self._begun.get((peer, key))
        return None if found is None else found[1]

    def remember(self, peer: str, key: str, request: object, begun: T) -> None:
        """Know that *request* has *begun* something, until `forget`."""
        self._begun[peer, key] = (request, begun)

    def forget(self, peer: str, key: str) -> None:
        """Let the key be used for something new."""
        self._begun.pop((peer, key), None)


class Withdrawn:
    """
    Which keys of which peer begin nothing any more: each for *seconds* by *clock*, the latest *kept* of a peer.

    Of more than that the oldest goes: whatever was sent under it is the least likely to be still on its way.
    """

    def __init__(self, seconds: float, clock: Callable[[], float], kept: int) -> None:
        self._seconds, self._clock, self._kept = seconds, clock, kept
        self._until: dict[str, dict[str, float]] = {}
        """By peer and key, the oldest first."""

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._until.values())

    def add(self, peer: str, key: str) -> None:
        """Have nothing begun under the key any more."""
        now = self._clock()
        keys = self._until.setdefault(peer, {})
        keys.pop(key, None)
        keys[key] = now + self._seconds
        while len(keys) > self._kept or next(iter(keys.values())) <= now:
            del keys[next(iter(keys))]

    def has(self, peer: str, key: str) -> bool:
        """Return whether the key was withdrawn, and not too long ago."""
        until = self._until.get(peer, {}).get(key)
        return until is not None and until > self._clock()
