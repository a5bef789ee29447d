"""How the appliance is: for load balancers, operators, and whoever verifies its tokens."""

from importlib import resources
from typing import Final, Literal

import msgspec
from aiohttp import web

from appliance.gateway import http
from appliance.gateway.checks import Check, VisualCheck
from appliance.gateway.condition import Cause, Condition
from appliance.gateway.desks import SEPARATOR, DeskState, DeskStatus
from appliance.gateway.findings import Finding, findings
from appliance.gateway.peers import Peer, Role
from appliance.gateway.services import PEER, SERVICES, Services

_RETRY_SECONDS: Final = "5"


class _Readiness(msgspec.Struct, frozen=True):
    ready: bool
    causes: tuple[Cause, ...]


class _Status(msgspec.Struct, frozen=True):
    ready: bool
    causes: tuple[Cause, ...]
    findings: tuple[Finding, ...]
    condition: Condition
    desks: tuple[DeskStatus, ...]


class _Desk(msgspec.Struct, frozen=True):
    desk: str
    kind: Literal["local", "remote"]
    state: DeskState
    since: float
    checks: tuple[Check, ...]


class _Terminals(msgspec.Struct, frozen=True):
    desks: tuple[_Desk, ...]
    operators: tuple[str, ...]
    eligibility: bool


def routes() -> list[web.RouteDef]:
    """Return where all this is found."""
    return [
        http.get("/healthz", _health),
        http.get("/readyz", _readiness),
        http.get("/v1/status", _status),
        http.get("/v1/terminals", _terminals),
        http.get("/.well-known/jwks.json", _jwks),
        http.get("/openapi.yaml", _contract),
    ]


async def _health(_request: web.Request) -> web.Response:
    # That this is answered is the answer: the loop turns.
    return http.json_response({"alive": True})


async def _readiness(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    causes = _causes(services, services.condition())
    if not causes:
        return http.json_response(_Readiness(ready=True, causes=()))
    headers = {"Retry-After": _RETRY_SECONDS}
    return http.json_response(_Readiness(ready=False, causes=causes), status=503, headers=headers)


async def _status(request: web.Request) -> web.Response:
    http.no_query(request)
    services = request.app[SERVICES]
    condition, desks = services.condition(), services.desks.status()
    causes = _causes(services, condition)
    return http.json_response(
        _Status(
            ready=not causes,
            causes=causes,
            findings=findings(condition, desks, services.directory.terminals),
            condition=condition,
            desks=desks,
        )
    )


async def _terminals(request: web.Request) -> web.Response:
    http.no_query(request)
    peer = request[PEER]
    services = request.app[SERVICES]
    desks = tuple(
        _Desk(one.desk, one.kind, one.state, one.since, _checks(services, peer, one.desk))
        for one in services.desks.status()
        if _sees(peer, one)
    )
    offered = services.offered
    # Once for all desks: there may be a thousand of both.
    compares = any(isinstance(check, VisualCheck) for one in desks for check in one.checks)
    operators = offered.operators if offered is not None and compares else ()
    asks = offered is not None and offered.asks_eligibility
    return http.json_response(_Terminals(desks, operators, eligibility=asks))


async def _jwks(request: web.Request) -> web.Response:
    http.no_query(request)
    services = request.app[SERVICES]
    now = services.clock()
    headers = {"Cache-Control": f"max-age={services.keys.cache_seconds(now)}"}
    return web.Response(
        body=services.keys.encoded(now), content_type="application/jwk-set+json", headers=headers
    )


async def _contract(_request: web.Request) -> web.Response:
    return web.Response(body=contract(), content_type="application/yaml", charset="utf-8")


def contract() -> bytes:
    """Return the packaged OpenAPI document."""
    return (resources.files("appliance.gateway") / "openapi.yaml").read_bytes()


def _causes(services: Services, condition: Condition) -> tuple[Cause, ...]:
    draining = (Cause.DRAINING,) if services.is_draining else ()
    return draining + condition.causes


def _checks(services: Services, peer: Peer, desk: str) -> tuple[Check, ...]:
    """Return the checks at *desk*. A terminal claims none itself, and is not told who compares, or in which emergency."""
    if services.offered is None or peer.role is Role.TERMINAL:
        return ()
    return services.offered.checks(desk)


def _sees(peer: Peer, status: DeskStatus) -> bool:
    """Return whether *peer* is told of a desk: a terminal of its own, a reception of those it may use."""
    match peer.role:
        case Role.TERMINAL:
            return status.desk.startswith(peer.alias + SEPARATOR)
        case Role.RECEPTION:
            return peer.may_use(status.desk)
        case Role.OPERATOR | Role.AUDITOR:
            return True
