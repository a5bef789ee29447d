"""
Requests that are sent again under one Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).

A key is known as long as what it began, and on this node alone: it is for a client whose answer got lost.
"""

import re
from collections.abc import Sequence
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

    def remember(self, peer: str, key: str, request: object, begun: T) -> None:
        """Know that *request* has *begun* something, until `forget`."""
        self._begun[peer, key] = (request, begun)

    def forget(self, peer: str, key: str) -> None:
        """Let the key be used for something new."""
        self._begun.pop((peer, key), None)
