"""
What a worker lets through to a key, decided again beside the key itself.

The daemon has its own rules. These hold even if the daemon is taken over: whatever comes over the channel, the
institution key signs strings of one short length at a bounded rate, and the token key signs result tokens of
ours and scenarios of ours, the ledger key checkpoints of ours, and nothing else.
"""

import base64
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from appliance.errors import HsmRequestRefused, LedgerProofInvalid
from appliance.ledger.checkpoint import Checkpoint
from appliance.trust.jwk import ALGORITHM, SCENARIO_CLAIMS, SCENARIO_SECONDS, SCENARIO_TYPE, TOKEN_TYPE

LARGEST_SIGNING_INPUT = 16 * 1024
_WINDOW_SECONDS = 60.0
_CLOCK_SECONDS = 60.0
"""By which a statement's time of issue may lie beside the worker's clock: it may have waited, or the clock was just set."""


class ChallengeAdmission:
    """Challenges of exactly *length* bytes, at most *per_minute* in any minute of *clock* (monotonic seconds)."""

    __slots__ = ("_admitted", "_clock", "_length", "_per_minute")

    def __init__(self, length: int, per_minute: int, clock: Callable[[], float]) -> None:
        self._length = length
        self._per_minute = per_minute
        self._clock = clock
        self._admitted: deque[float] = deque()

    def admit(self, challenge: bytes) -> None:
        """Let *challenge* through and count it, or raise HsmRequestRefused."""
        if len(challenge) != self._length:
            raise HsmRequestRefused(f"a challenge has {self._length} bytes, not {len(challenge)}")
        now = self._clock()
        while self._admitted and self._admitted[0] <= now - _WINDOW_SECONDS:
            self._admitted.popleft()
        if len(self._admitted) >= self._per_minute:
            raise HsmRequestRefused(f"more than {self._per_minute} challenges in a minute")
        self._admitted.append(now)


@dataclass(frozen=True, slots=True)
class TokenAdmission:
    """
    Result tokens by *issuer*, signed with the key of *thumbprint*, living *lifetime* seconds at most.

    *clock* gives seconds since the epoch. It is the machine's own: whoever takes the daemon over for an hour gets tokens
    of that hour, none of yesterday and none for next year.
    """

    issuer: str
    thumbprint: str
    lifetime: int
    clock: Callable[[], float]

    def admit(self, signing_input: bytes) -> None:
        """
        Let *signing_input* through, or raise HsmRequestRefused.

        It is let through when, checked in this order,
          1. it is at most 16 KiB, two unpadded base64url parts joined by a dot (RFC 7515 §7.1);
          2. the header is exactly our `typ`, ES256, and the pinned key's thumbprint as `kid`;
          3. the payload is an object with our `iss`, integer `iat` and `exp`, a lifetime within bounds, and issued
             now, give or take a minute.
        """
        claims = _claims(signing_input, TOKEN_TYPE, self.thumbprint, self.issuer)
        _require_time(claims, self.lifetime, self.clock())


@dataclass(frozen=True, slots=True)
class ScenarioAdmission:
    """
    Scenarios by *issuer*, signed with the key of *thumbprint*: commands for a card, for one terminal and session.

    *clock* is as for tokens.
    """

    issuer: str
    thumbprint: str
    clock: Callable[[], float]

    def admit(self, signing_input: bytes) -> None:
        """
        Let *signing_input* through, or raise HsmRequestRefused.

        It is let through when, checked in this order,
          1. to 3. are as for a token, with the `typ` of scenarios and a minute at most;
          4. it says all that a scenario says, and nothing else, so that it is no other kind of statement;
          5. terminal, nonce and session are of their form, and there are steps, each a command or the word to have
             the holder verified. VERIFY comes with data only where that is 照合番号B, for the card's front, and what
             changes, resets or switches off a PIN does not come at all: a PIN never comes from here.
        """
        claims = _claims(signing_input, SCENARIO_TYPE, self.thumbprint, self.issuer)
        _require_time(claims, SCENARIO_SECONDS, self.clock())
        if claims.keys() != SCENARIO_CLAIMS:
            raise HsmRequestRefused("these are not the claims of a scenario")
        for name, form in _SCENARIO_FORMS.items():
            value = claims[name]
            if not isinstance(value, str) or not form.fullmatch(value):
                raise HsmRequestRefused(f"the scenario's {name} is none")
        steps = claims["steps"]
        if not isinstance(steps, list) or not 1 <= len(steps) <= _MOST_STEPS:
            raise HsmRequestRefused("the scenario has no steps, or too many")
        if not all(_is_step(step, claims["mode"]) for step in steps):
            raise HsmRequestRefused("the scenario has other steps than commands for a card")


_MOST_STEPS: Final = 128
_SCENARIO_FORMS: Final = {
    "terminal": re.compile(r"[a-z0-9][a-z0-9-]{0,31}"),
    "reader": re.compile(r"[a-z0-9][a-z0-9-]{0,31}"),
    "mode": re.compile(r"pinless|pin|front|visual"),
    "nonce": re.compile(r"[0-9a-f]{32}"),
    "session": re.compile(r"[0-9a-f]{32}"),
}
_COMMAND: Final = re.compile(r"(?:[0-9A-F]{2}){4,}")
_VERIFY_WITH_DATA: Final = re.compile(r"..20.{5,}")
_OF_A_PIN: Final = re.compile(r"..2[14-9CD].*")
"""VERIFY in BER-TLV, CHANGE REFERENCE DATA, DISABLE and ENABLE VERIFICATION, RESET RETRY COUNTER (ISO/IEC 7816-4 §11.6)."""
_VERIFY_NUMBER: Final = re.compile(r"..20....0E(?:3[0-9]){14}")
"""VERIFY with 照合番号B, which is printed on the card and opens its front."""


def _is_step(step: object, mode: object) -> bool:
    if not isinstance(step, dict):
        return False
    if "command" not in step:
        return step.keys() == {"name", "expect", "verify_holder"}
    command = step["command"]
    if step.keys() != {"name", "expect", "command"} or not isinstance(command, str):
        return False
    if not _COMMAND.fullmatch(command) or _OF_A_PIN.fullmatch(command):
        return False
    return not _VERIFY_WITH_DATA.fullmatch(command) or (
        mode in {"front", "visual"} and _VERIFY_NUMBER.fullmatch(command) is not None
    )


def _claims(signing_input: bytes, kind: str, thumbprint: str, issuer: str) -> dict[str, object]:
    """Return the payload of a *signing_input* of the type *kind*, or raise HsmRequestRefused."""
    if len(signing_input) > LARGEST_SIGNING_INPUT:
        raise HsmRequestRefused(f"a signing input of {len(signing_input)} bytes")
    parts = signing_input.split(b".")
    if len(parts) != 2:
        raise HsmRequestRefused("a signing input has two parts")
    header, payload = (_json_object(part) for part in parts)
    if header != {"typ": kind, "alg": ALGORITHM, "kid": thumbprint}:
        raise HsmRequestRefused(f"the header is not that of a {kind}")
    if payload.get("iss") != issuer:
        raise HsmRequestRefused("the token names another issuer")
    return payload


def _require_time(claims: dict[str, object], lifetime: int, now: float) -> None:
    issued, expires = claims.get("iat"), claims.get("exp")
    # bool is an int to Python, and not to JSON.
    if type(issued) is not int or type(expires) is not int:
        raise HsmRequestRefused("iat and exp are integers")
    if not 0 < expires - issued <= lifetime:
        raise HsmRequestRefused(f"a token that lives {expires - issued} seconds")
    if abs(issued - now) > _CLOCK_SECONDS:
        raise HsmRequestRefused("a token of another time than now")


class CheckpointAdmission:
    """
    Checkpoints of the log *origin* that never go back: no smaller size, and one root for one size.

    For the life of one worker; another, or the next one, does not know. Against a daemon that was taken over, what tells
    a fork is a witness, or a copy that has left.
    """

    __slots__ = ("_newest", "_origin")

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._newest: Checkpoint | None = None

    def admit(self, text: bytes) -> None:
        """Let the *text* of a checkpoint through and remember it, or raise HsmRequestRefused."""
        try:
            stated = Checkpoint.from_text(text.decode())
        except (LedgerProofInvalid, UnicodeDecodeError) as error:
            raise HsmRequestRefused("this is no checkpoint") from error
        if stated.origin != self._origin:
            raise HsmRequestRefused("the checkpoint is of another log")
        newest = self._newest
        if newest is not None and stated.size < newest.size:
            raise HsmRequestRefused(f"a checkpoint over {newest.size} entries was signed, not {stated.size}")
        if newest is not None and stated.size == newest.size and stated.root != newest.root:
            raise HsmRequestRefused(f"another root over {stated.size} entries was signed")
        self._newest = stated


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _json_object(part: bytes) -> dict[str, object]:
    """Return the JSON object in a base64url *part*. What two readers could read in two ways is refused."""
    try:
        content = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_without_repetition, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise HsmRequestRefused("a part of the signing input is not base64url of JSON") from error
    if not isinstance(value, dict):
        raise HsmRequestRefused("a part of the signing input is not a JSON object")
    # Python's decoder lets '+', '/', padding in the middle and loose last bits through; one text, one encoding.
    if _base64url(content).encode() != part:
        raise HsmRequestRefused("a part of the signing input is not canonical base64url")
    return value


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
