"""
Who may do what: one table, role by resource. What is not in it does not exist; a test walks all of it.

Whose an authentication is, and which desks a reception may use, is decided where it is found: `Peer.may_use`, and the
registry of authentications.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from appliance.errors import AccessDenied
from appliance.gateway.peers import Peer, Role

ALL: Final = frozenset(Role)
NOBODY_IN_PARTICULAR: Final[frozenset[Role]] = frozenset()


class Cost(StrEnum):
    """What a request is counted as in its peer's budget."""

    NOTHING = "nothing"
    """It is never refused for its cost."""
    LOOK = "look"
    """It only looks."""
    WORK = "work"
    """It has something made, while it is answered."""
    BEGIN = "begin"
    """It begins something that goes on after the answer, and is refused while the appliance drains. Whoever runs it
    counts it as under way."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which *roles* may use a resource, at which *cost*. Without roles it is open, also to who is nobody."""

    roles: frozenset[Role]
    cost: Cost = Cost.LOOK

    @property
    def is_open(self) -> bool:
        """Whether nobody needs to be known."""
        return not self.roles


def _for(*roles: Role, cost: Cost = Cost.LOOK) -> Rule:
    return Rule(frozenset(roles), cost)


_RECEPTION, _OPERATOR, _AUDITOR, _TERMINAL = Role.RECEPTION, Role.OPERATOR, Role.AUDITOR, Role.TERMINAL

TABLE: Final[Mapping[tuple[str, str], Rule]] = MappingProxyType(
    {
        ("GET", "/healthz"): Rule(NOBODY_IN_PARTICULAR),
        ("GET", "/readyz"): Rule(NOBODY_IN_PARTICULAR),
        ("GET", "/openapi.yaml"): Rule(ALL),
        ("GET", "/"): _for(_OPERATOR, _RECEPTION),
        ("GET", "/desk"): _for(_RECEPTION),
        ("GET", "/pages/{file}"): Rule(ALL),
        ("GET", "/v1/texts"): Rule(ALL),
        ("GET", "/.well-known/jwks.json"): Rule(ALL),
        ("POST", "/v1/authentications"): _for(_RECEPTION, cost=Cost.BEGIN),
        # No budget that is spent keeps a card at a desk that is to be free: who leaves the page says so once.
        ("DELETE", "/v1/authentications"): _for(_RECEPTION, cost=Cost.NOTHING),
        ("GET", "/v1/authentications/{id}"): _for(_RECEPTION),
        ("GET", "/v1/authentications/{id}/events"): _for(_RECEPTION),
        ("GET", "/v1/authentications/{id}/front"): _for(_RECEPTION),
        ("POST", "/v1/authentications/{id}/decision"): _for(_RECEPTION),
        ("DELETE", "/v1/authentications/{id}"): _for(_RECEPTION, cost=Cost.NOTHING),
        ("POST", "/v1/surface-readings"): _for(_RECEPTION, cost=Cost.BEGIN),
        ("GET", "/v1/terminal"): _for(_TERMINAL, cost=Cost.BEGIN),
        ("GET", "/v1/terminals"): _for(_OPERATOR, _RECEPTION, _TERMINAL),
        ("GET", "/v1/status"): _for(_OPERATOR),
        ("GET", "/v1/live"): _for(_OPERATOR),
        ("GET", "/v1/day"): _for(_OPERATOR),
        ("GET", "/v1/emergency-windows"): _for(_OPERATOR),
        ("POST", "/v1/emergency-windows"): _for(_OPERATOR, cost=Cost.WORK),
        ("POST", "/v1/emergency-windows/{id}/confirmation"): _for(_OPERATOR, cost=Cost.WORK),
        # No budget that is spent keeps a window open, also not that of looking, which consoles use up.
        ("DELETE", "/v1/emergency-windows/{id}"): _for(_OPERATOR, cost=Cost.NOTHING),
        ("POST", "/v1/tokens/verify"): _for(_RECEPTION, _AUDITOR, cost=Cost.WORK),
        ("POST", "/v1/evidence/verify"): _for(_RECEPTION, _AUDITOR, cost=Cost.WORK),
        ("GET", "/v1/log/checkpoint"): _for(_AUDITOR),
        ("GET", "/v1/log/tile/{path}"): _for(_AUDITOR),
        ("GET", "/v1/log/entries/{index}"): _for(_AUDITOR),
        ("GET", "/v1/log/proofs/{index}"): _for(_AUDITOR),
    }
)
"""The rule of each method and path."""

PAGES: Final = frozenset({"/", "/desk"})
"""What people open in a browser, also by following a link from somebody else's page."""


def require(peer: Peer, rule: Rule) -> None:
    """Check that *peer* may do what *rule* is for, or raise AccessDenied."""
    if not rule.is_open and peer.role not in rule.roles:
        raise AccessDenied(f"this is not for the role {peer.role}")
