"""
A result file: what became of a request, as one JSON object.

In UTF-8 everything is written as it is, variation selectors (IVS) among it. In Shift_JIS (code page 932, which is what
software that says so means) a character that does not fit is written as a JSON escape, so that it is still there, and
`unencodable` names each with its code points: whoever stores the text elsewhere has to decide, and knows that.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

_CODEC: Final = "cp932"
_VARIATION: Final = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
"""Variation selectors: they belong to the character before."""

Outcome = Literal["authenticated", "refused"]


class Result(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is written; docs/integrators.en.md tells of each member."""

    version: int
    request: str
    """The request's name, or what stands in for a name that cannot be repeated."""
    outcome: Outcome
    finished_at: str
    encoding: str
    token: str | None = None
    claims: dict[str, Any] | None = None
    evidence: str | None = None
    eligibility: dict[str, Any] | None = None
    code: str | None = None
    title: str | None = None
    clerk: str | None = None
    operator: str | None = None
    detail: str | None = None
    request_id: str | None = None
    tries_left: int | None = None
    echo: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Result(outcome={self.outcome!r}, code={self.code!r})"


def encoded(result: Result) -> bytes:
    """Return *result* in its encoding, with what does not fit named."""
    document: dict[str, Any] = msgspec.to_builtins(result)
    if result.encoding == "utf-8":
        return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
    document["unencodable"] = [
        {"at": at, "characters": misfits} for at, text in _texts(document) if (misfits := _misfits(text))
    ]
    written = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    return "".join(one if _fits(one) else json.dumps(one)[1:-1] for one in written).encode(_CODEC)


def _texts(value: object, at: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in *value*, and where it stands."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{at}.{number}")
    elif isinstance(value, str):
        yield at, value


def _misfits(text: str) -> list[str]:
    """Return what of *text* does not fit, each as its code points."""
    return list(
        dict.fromkeys(
            " ".join(f"U+{ord(one):04X}" for one in cluster)
            for cluster in _clusters(text)
            if not _fits(cluster)
        )
    )


def _clusters(text: str) -> Iterator[str]:
    """Yield the characters of *text*, each with the marks and variation selectors that belong to it."""
    cluster = ""
    for one in text:
        if cluster and (any(ord(one) in block for block in _VARIATION) or unicodedata.combining(one)):
            cluster += one
            continue
        if cluster:
            yield cluster
        cluster = one
    if cluster:
        yield cluster


def _fits(text: str) -> bool:
    """Return whether *text* comes back from Shift_JIS as it is; some characters are taken there for others."""
    try:
        return text.encode(_CODEC).decode(_CODEC) == text
    except UnicodeError:
        return False
