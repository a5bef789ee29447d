"""
Is a token genuine, and does evidence show what it says: the same decisions as `jpki-appliance verify` makes.

Nothing of what is sent here is kept or logged. What does not hold is a problem, never an answer that says so in its
body alone: whoever looks at the status only must not be misled.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from appliance.errors import MediaTypeRefused
from appliance.gateway import http, token
from appliance.gateway.services import PEER, SERVICES
from appliance.trust.decision import Trust, decide

LARGEST_EVIDENCE: Final = 1 << 20


class TokenQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A *token*, the *audience* that it has to be for, where that is not the caller's own, and the *nonce* in it."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=12_000)]
    audience: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    nonce: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None


class _TokenAnswer(msgspec.Struct, frozen=True):
    valid: bool
    claims: Mapping[str, Any]


class _Step(msgspec.Struct, frozen=True):
    name: str
    finding: str


class _EvidenceAnswer(msgspec.Struct, frozen=True):
    valid: bool
    sha256: str
    steps: tuple[_Step, ...]


def routes() -> list[web.RouteDef]:
    """Return where tokens and evidence are verified."""
    return [
        web.post("/v1/tokens/verify", _token),
        web.post("/v1/evidence/verify", _evidence),
    ]


async def _token(request: web.Request) -> web.Response:
    http.no_query(request)
    services = request.app[SERVICES]
    question = await http.read_json(request, TokenQuestion)
    now = services.clock()
    audience = question.audience or request[PEER].audience
    claims = token.verify(question.token, services.keys.encoded(now), audience, now, question.nonce)
    return http.json_response(_TokenAnswer(valid=True, claims=claims))


async def _evidence(request: web.Request) -> web.Response:
    http.no_query(request)
    services = request.app[SERVICES]
    if request.content_type != http.JSON:
        raise MediaTypeRefused(f"the body is to be {http.JSON}, the very document")
    document = await http.read_body(request, most=LARGEST_EVIDENCE)
    trust = services.trust
    steps = await services.verifying.run(lambda: _decided(document, trust))
    return http.json_response(_EvidenceAnswer(valid=True, sha256=sha256(document).hexdigest(), steps=steps))


def _decided(document: bytes, trust: Trust) -> tuple[_Step, ...]:
    return tuple(_Step(step.name, step.finding) for step in decide(document, trust))
