"""
What the appliance answers, as far as a client needs it; `gateway/openapi.yaml` is the contract.

Members that are not named here are passed over, so that an appliance may be newer than its clients.
"""

from datetime import date
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from appliance.errors import ApplianceAnswerInvalid

T = TypeVar("T")
_Text = Annotated[str, msgspec.Meta(max_length=4096)]
_Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A failure (RFC 9457), with what people do about it in the language that was asked for."""

    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    code: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
    title: _Text
    clerk: _Text
    operator: _Text
    request_id: _Word
    detail: _Text | None = None
    tries_left: int | None = None
    reason: _Text | None = None
    step: _Text | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """How an authentication stands, or how it ended."""

    id: _Word
    state: Literal["running", "authenticated", "refused", "cancelled"]
    desk: str
    mode: str
    stage: str | None = None
    token: str | None = None
    evidence: str | None = None
    eligibility: dict[str, Any] | None = None
    problem: Problem | None = None

    def __repr__(self) -> str:
        return f"Job(id={self.id!r}, state={self.state!r})"


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """The front of a card; images are PNG. To be compared with a person, and not to be kept."""

    birth: date
    sex: str
    """1 male, 2 female, 9 other (JIS X 0303)."""
    expiry: date
    photo: bytes
    name: bytes
    address: bytes

    def __repr__(self) -> str:
        return "Front()"


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The front as it is shown in the middle of an authentication."""

    birth: date
    sex: str
    expires: date
    photo_png: bytes
    name_png: bytes
    address_png: bytes

    def front(self) -> Front:
        """Return it as every other front."""
        return Front(
            birth=self.birth,
            sex=self.sex,
            expiry=self.expires,
            photo=self.photo_png,
            name=self.name_png,
            address=self.address_png,
        )

    def __repr__(self) -> str:
        return "Shown()"


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """Where a card can lie, and how it stands there."""

    desk: str
    kind: str
    state: str
    since: float


class Desks(msgspec.Struct, frozen=True, kw_only=True):
    """All desks that we may use."""

    desks: tuple[Desk, ...]


def decoded(body: bytes, kind: type[T], request_id: str) -> T:
    """Return *body* as a *kind*, or raise ApplianceAnswerInvalid. What the body says is not repeated: it may be personal."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApplianceAnswerInvalid(f"the answer is no {kind.__name__}", request_id) from error
