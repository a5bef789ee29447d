"""Who may do what: the whole table, asked of a gateway that runs."""

import json
from pathlib import Path

import pytest
from aiohttp import web

from appliance.gateway.access import TABLE
from appliance.gateway.checks import Check, VisualCheck
from appliance.gateway.http import application, get
from appliance.gateway.peers import Directory, Role
from appliance.gateway.resources import routes
from tests.gateway.house import AUDIENCE, House, peer, services, serving

OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
MAY = {
    Role.RECEPTION: {
        ("POST", "/v1/authentications"),
        ("DELETE", "/v1/authentications"),
        ("GET", "/"),
        ("GET", "/desk"),
        ("GET", "/v1/authentications/{id}"),
        ("GET", "/v1/authentications/{id}/events"),
        ("GET", "/v1/authentications/{id}/front"),
        ("POST", "/v1/authentications/{id}/decision"),
        ("DELETE", "/v1/authentications/{id}"),
        ("POST", "/v1/surface-readings"),
        ("GET", "/v1/terminals"),
        ("POST", "/v1/tokens/verify"),
        ("POST", "/v1/evidence/verify"),
    },
    Role.TERMINAL: {("GET", "/v1/terminal"), ("GET", "/v1/terminals")},
    Role.OPERATOR: {
        ("GET", "/"),
        ("GET", "/v1/status"),
        ("GET", "/v1/live"),
        ("GET", "/v1/day"),
        ("GET", "/v1/terminals"),
        ("GET", "/v1/emergency-windows"),
        ("POST", "/v1/emergency-windows"),
        ("POST", "/v1/emergency-windows/{id}/confirmation"),
        ("DELETE", "/v1/emergency-windows/{id}"),
    },
    Role.AUDITOR: {
        ("POST", "/v1/tokens/verify"),
        ("POST", "/v1/evidence/verify"),
        ("GET", "/v1/log/checkpoint"),
        ("GET", "/v1/log/tile/{path}"),
        ("GET", "/v1/log/entries/{index}"),
        ("GET", "/v1/log/proofs/{index}"),
    },
}
EVERYBODY = {
    ("GET", "/openapi.yaml"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/pages/{file}"),
    ("GET", "/v1/texts"),
}


async def reached(_request: web.Request) -> web.Response:
    """Say that nobody stood in the way."""
    return web.Response(status=299)


def others() -> list[web.RouteDef]:
    """Return routes in the place of those that bring their own services."""
    served = {(route.method, web.UrlDispatcher().add_resource(route.path).canonical) for route in routes()}
    return [
        get(path, reached) if method == "GET" else web.route(method, path, reached)
        for method, path in TABLE
        if (method, path) not in served
    ]


async def answered(house: House, method: str, path: str) -> tuple[int, str | None]:
    """Return status and code of a request without a body."""
    address = path.format(id="x", path="0/000", index="0", file="frame.css")
    async with house.session().request(method, address) as answer:
        is_problem = answer.content_type == "application/problem+json"
        return answer.status, (await answer.json(content_type=None))["code"] if is_problem else None


@pytest.mark.parametrize("role", [*Role, None])
async def test_the_whole_table(role: Role | None, tmp_path: Path) -> None:
    """Each role reaches what is for it and is refused all else; who is nobody reaches what is open alone."""
    offered = services([peer(role=role)] if role else [])
    async with serving(offered, tmp_path, more=others()) as house:
        for method, path in TABLE:
            status, code = await answered(house, method, path)
            if (method, path) in OPEN | EVERYBODY | MAY[role] if role else (method, path) in OPEN:
                assert status != 403, (method, path)
            else:
                assert (status, code) == (403, "access_denied" if role else "peer_unknown"), (method, path)


def test_the_table_is_what_is_written_here() -> None:
    """A change of the table is a change of this test, which somebody reads."""
    assert set(TABLE) == OPEN | EVERYBODY | set().union(*MAY.values())
    for place, rule in TABLE.items():
        roles = set(Role) if place in EVERYBODY else {role for role, may in MAY.items() if place in may}
        assert rule.roles == roles, place
        assert rule.is_open is (place in OPEN)


def test_a_resource_that_is_not_in_the_table_is_not_served() -> None:
    """Who adds a route has to say for whom it is, or nothing starts."""
    with pytest.raises(ValueError, match="nobody has said who may GET /v1/secrets"):
        application(services([]), [get("/v1/secrets", reached)])


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"role": "operator"}, ["desk-1", "desk-2", "ward-3.left"]),
        ({"role": "reception"}, ["desk-1", "desk-2", "ward-3.left"]),
        ({"role": "reception", "desks": ("desk-2",)}, ["desk-2"]),
        ({"alias": "ward-3", "role": "terminal"}, ["ward-3.left"]),
        ({"alias": "ward", "role": "terminal"}, []),
    ],
)
async def test_everybody_sees_their_own_desks(
    settings: dict[str, object], seen: list[str], tmp_path: Path
) -> None:
    """An operator sees all, a reception those that it may use, a terminal its own readers."""
    async with (
        serving(services([peer(**settings)]), tmp_path) as house,  # type: ignore[arg-type]  # settings of several types
        house.session().get("/v1/terminals") as answer,
    ):
        assert [one["desk"] for one in (await answer.json())["desks"]] == seen


class _Offered:
    """Offers a visual check everywhere."""

    asks_eligibility = False
    operators = tuple(f"operator-{number:04}" for number in range(1024))

    def checks(self, _desk: str) -> tuple[Check, ...]:
        return (VisualCheck(120.0),)


@pytest.mark.parametrize(("role", "told"), [("operator", True), ("reception", True), ("terminal", False)])
async def test_who_compares_at_a_desk_is_told_to_whoever_claims_it(
    role: str, tmp_path: Path, *, told: bool
) -> None:
    """A terminal sees its desks, and not who works at them."""
    offered = services([peer(alias="ward-3", role=role)])
    offered.offered = _Offered()
    async with serving(offered, tmp_path) as house, house.session().get("/v1/terminals") as answer:
        body = await answer.text()
    known = json.loads(body)
    desks = {one["desk"]: one["checks"] for one in known["desks"]}
    assert [one["method"] for one in desks["ward-3.left"]] == (["visual"] if told else [])
    assert known["operators"] == (list(_Offered.operators) if told else [])
    # Once, however many desks there are: every page asks for this each few seconds.
    assert body.count("operator-0007") == told


async def test_the_role_is_the_one_of_now(tmp_path: Path) -> None:
    """Another role after a reload counts on the connection that is open."""
    async with serving(services([peer(role="operator")]), tmp_path) as house:
        session = house.session()
        async with session.get("/v1/status") as answer:
            assert answer.status == 200
        house.services.directory = Directory([peer(role="auditor")], AUDIENCE)
        async with session.get("/v1/status") as answer:
            assert answer.status == 403
