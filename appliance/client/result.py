"""
The result of an authentication, as it counts for whoever asked: a token that was verified against the question.

Checks, in this order:
  1. the token is of our type, for ES256, by the key of the set that it names;
  2. its signature;
  3. it is for our audience, and all its claims are there and of their kind;
  4. its time: made no later than now, and not over, give or take what clocks may differ by;
  5. it answers this question: nonce, desk, mode and identity check are those that were asked for;
  6. the evidence, where it was asked for, is the one that it names.

Whether a holder is a certain patient is the caller's to know, by the pseudonym `sub`.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal

import jwt
import msgspec

from appliance.errors import JwksInvalid, TokenInvalid
from appliance.trust.jwk import ALGORITHM, TOKEN_TYPE

MAY_DIFFER_SECONDS: Final = 30
"""By how much the clocks of the appliance and of its client may differ."""


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


class Keys:
    """The public keys in *jwks*, a JWKS; raises JwksInvalid where it is none."""

    def __init__(self, jwks: bytes) -> None:
        try:
            self._keys = jwt.PyJWKSet.from_json(jwks.decode()).keys
        except (jwt.PyJWTError, ValueError, AttributeError, TypeError) as error:
            raise JwksInvalid("this is not a JWKS with public keys") from error

    def named_by(self, token: str) -> jwt.PyJWK | None:
        """Return the key that *token* says it was signed with, None where it is not here; or raise TokenInvalid."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise TokenInvalid("the result is no token") from error
        if header.get("typ") != TOKEN_TYPE or header.get("alg") != ALGORITHM:
            raise TokenInvalid(f"the token is not of type {TOKEN_TYPE} signed with {ALGORITHM}")
        name = header.get("kid")
        found = next((key for key in self._keys if key.key_id and key.key_id == name), None)
        return found if found is not None and found.algorithm_name == ALGORITHM else None


def verify(token: str, key: jwt.PyJWK, question: Question, now: float) -> Claims:
    """Return what *token*, signed with *key*, says in answer to *question*; or raise TokenInvalid."""
    try:
        # The library compares times with its own clock; ours is an argument.
        payload = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=question.audience,
            options={"require": ["aud"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        claims = msgspec.convert(payload, Claims)
    except (jwt.PyJWTError, msgspec.ValidationError) as error:
        raise TokenInvalid(f"the token is not valid: {error}") from error
    if not claims.iat - MAY_DIFFER_SECONDS <= now < claims.exp + MAY_DIFFER_SECONDS:
        raise TokenInvalid("the token's time is over, or has not begun: are both clocks right?")
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
