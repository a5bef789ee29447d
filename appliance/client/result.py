"""
The result of an authentication, as it counts for whoever asked: a token that was verified against the question.

Checks, in this order:
  1. it is genuine, for our audience, and of this time, give or take what clocks may differ by (`trust.result_token`);
  2. all its claims are of their kind;
  3. it answers this question: nonce, desk, mode and identity check are those that were asked for;
  4. the evidence, where it was asked for, is the one that it names.

Whether a holder is a certain patient is the caller's to know, by the pseudonym `sub`.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal

import jwt
import msgspec

from appliance.errors import TokenInvalid
from appliance.trust.result_token import opened, require_time

MAY_DIFFER_SECONDS: Final = 30
"""By how much the clocks of the appliance and of its client may differ."""
NOBODY: Final = "none_emergency"
"""The method of an identity check that nobody has made."""


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the certificate's revocation; times are seconds since 1970."""

    method: str
    result: str
    checked_at: int | None
    this_update: int | None
    next_update: int | None


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """Until when the holder's certificate lasts, and whether that is soon."""

    not_after: int
    ends_soon: bool = False


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Where the authentication stands in the appliance's ledger."""

    origin: str
    index: int


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a result token says; docs/integrators.en.md tells of each."""

    iss: str
    aud: str
    iat: int
    exp: int
    jti: str
    auth_time: int
    sub: str
    mode: Literal["pinless", "pin"]
    institution_code: str
    identity_check: dict[str, Any]
    terminal: str
    revocation: Revocation
    assurance: Literal["online", "cached", "unchecked"]
    certificate: Certificate
    log: LogEntry
    evidence: str
    nonce: str | None = None

    @property
    def is_unchecked(self) -> bool:
        """Whether nobody has made sure that the card is its holder's: `identity_check` names the emergency window."""
        return self.identity_check.get("method") == NOBODY


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for, that an answer has to answer."""

    audience: str
    nonce: str
    desk: str
    mode: str
    identity_check: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class Result:
    """A holder has proved presence: *claims* say what counts, *token* proves it to others."""

    claims: Claims
    token: str = field(repr=False)
    evidence: bytes | None = field(default=None, repr=False)
    eligibility: dict[str, Any] | None = field(default=None, repr=False)
    """What came of asking the eligibility service, where that was asked for: its failure is none of ours."""
    request_id: str | None = None


def verify(token: str, key: jwt.PyJWK, question: Question, now: float) -> Claims:
    """Return what *token*, signed with *key*, says in answer to *question*; or raise TokenInvalid."""
    payload = opened(token, key, question.audience)
    require_time(payload, now, MAY_DIFFER_SECONDS)
    try:
        claims = msgspec.convert(payload, Claims)
    except msgspec.ValidationError as error:
        raise TokenInvalid(f"the token is not valid: {error}") from error
    if (claims.nonce, claims.terminal, claims.mode) != (question.nonce, question.desk, question.mode):
        raise TokenInvalid("the token answers another question: its nonce, desk or mode is not ours")
    check = question.identity_check or {"method": "pin"}
    if any(claims.identity_check.get(name) != value for name, value in check.items()):
        raise TokenInvalid("the token states another identity check than the one that was claimed")
    return claims


def require_evidence(claims: Claims, evidence: bytes) -> None:
    """Raise TokenInvalid where *evidence* is not what the token names."""
    if sha256(evidence).hexdigest() != claims.evidence:
        raise TokenInvalid("the evidence is not the one that the token names")
