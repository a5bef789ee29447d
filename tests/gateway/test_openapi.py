"""The contract: every route is in it and the other way round, and a running gateway keeps it whatever it is asked."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn, Self

import pytest
import requests
import schemathesis
import yaml
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode

from appliance.authentication import Authentication, Card, Compare, Request
from appliance.config import BudgetSettings
from appliance.emergency import Emergency
from appliance.errors import BY_CODE, CardAbsent, DeskUnknown
from appliance.gateway.access import TABLE
from appliance.gateway.authentications import Authentications
from appliance.gateway.day import Day
from appliance.gateway.desks import Progress, Stage, Work
from appliance.gateway.emergency import EmergencyWindows
from appliance.gateway.http import get
from appliance.gateway.jobs import Jobs, Then
from appliance.gateway.live import Live
from appliance.gateway.peers import Role
from appliance.gateway.status import contract
from appliance.gateway.surface_readings import SurfaceReadings
from appliance.ledger.emergency import EmergencyLedger
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.publication import Publication
from appliance.ledger.recorder import Recorder
from appliance.ledger.sqlite import SqliteStore
from tests.gateway.house import STATUSES, Ca, FakeDesks, House, peer, services, serving
from tests.gateway.test_log import CONTENT
from tests.ledger.conftest import ORIGIN, MemoryKey

CONTRACT: Final[dict[str, Any]] = yaml.safe_load(contract())
OPERATIONS: Final = {
    (method.upper(), path): operation
    for path, item in CONTRACT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}
PLENTY: Final = BudgetSettings(per_minute=100_000, at_once=4096, per_day=10_000_000)
NOT_ASKED: Final = {("GET", "/v1/terminal")}
"""A WebSocket: its messages are tested where they are made."""


def test_every_operation_is_served_and_every_route_is_described() -> None:
    """Paths and methods of the document are those of the table of access, and its roles are the table's."""
    assert set(OPERATIONS) == set(TABLE)
    for place, operation in OPERATIONS.items():
        assert {Role(role) for role in operation.get("x-roles", ())} == TABLE[place].roles, place
        assert operation["summary"]


def test_every_code_that_is_named_exists() -> None:
    """Codes in backticks are codes of the catalogue; so nobody programs against one that was renamed."""
    text = contract().decode()
    named = {
        word.removeprefix("4").strip()
        for part in CONTRACT["components"]["responses"].values()
        for word in part["description"].split("`")[1::2]
        if "_" in word
    }
    assert named <= {*BY_CODE}, named - {*BY_CODE}
    assert "TODO" not in text


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class Desks(FakeDesks):
    """Desks at which people are waited for and never come."""

    def card(self, desk: str, _work: Work, progress: Progress) -> AbstractAsyncContextManager[Card]:
        """Wait a moment for a card."""

        @asynccontextmanager
        async def nobody() -> AsyncIterator[Card]:
            if desk not in {status.desk for status in STATUSES}:
                raise DeskUnknown("there is no such desk")
            progress(Stage.WAITING_FOR_CARD)
            raise CardAbsent("no card was put on")
            yield

        return nobody()


async def never(
    request: Request, card: Card, answered: Then, compare: Compare | None = None
) -> tuple[Authentication, str]:
    """Be not asked, because there is never a card."""
    raise AssertionError(f"there is no card: {request}, {card}, {answered}, {compare}")


async def terminal(_request: web.Request) -> NoReturn:
    """Stand for the terminals' own resource."""
    raise web.HTTPBadRequest


class Running:
    """A whole gateway over TLS in a thread of its own, with a log of a few entries; *settings* is who everybody is."""

    def __init__(self, folder: Path) -> None:
        self.ca = Ca(folder)
        self.folder = folder
        self.url = ""
        self.failures: list[BaseException] = []
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="gateway under test")

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(30):
            raise AssertionError("the gateway does not come up")
        if self.failures:
            raise self.failures[0]
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  # told to the test's own thread
            self.failures.append(error)
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        peers = [
            peer(role, role, certificate_name=f"{role}.test", budget=PLENTY)
            for role in (role.value for role in Role)
        ]
        key = MemoryKey()
        async with Log(SqliteStore(self.folder / "ledger.sqlite3", ORIGIN), seconds=20) as log:
            keeper = Keeper(Recorder(log, lambda: 1), key, key.verifier(), monotonic=lambda: 0.0)
            await keeper.start()
            await asyncio.gather(*(log.append(content) for content in CONTENT[:3]))
            await keeper.checkpoint()
            offered = services(peers, log=Publication(log.store), monotonic=time.monotonic)
            offered.desks = Desks()
            jobs = Jobs(at_once=256, keep_seconds=60)
            emergency = Emergency(
                EmergencyLedger(keeper.recorder, now), now, hours=72.0, operators=frozenset({"operator"})
            )
            readings = SurfaceReadings(jobs, None)
            more = [
                *Authentications(jobs, never, emergency=emergency).routes(),
                *readings.routes(),
                *Live(jobs, Day()).routes(),
                *EmergencyWindows(emergency, ORIGIN).routes(),
                get("/v1/terminal", terminal),
            ]
            async with serving(offered, self.folder, more=more, server=self.ca.server()) as house:
                self._tell(house)
                await self._stop.wait()
            await emergency.end()
            readings.rendering.close()

    def _tell(self, house: House) -> None:
        self.url = f"https://127.0.0.1:{house.port}"
        for role in Role:
            self.ca.issue(f"{role}.test")
        self._ready.set()

    def session(self, role: str) -> requests.Session:
        """Return a client with the certificate of *role*."""
        session = requests.Session()
        session.cert = tuple(str(self.folder / f"{role}.test.{kind}") for kind in ("pem", "key"))  # type: ignore[assignment]  # two of them
        return session


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a gateway."""
    with Running(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


SCHEMA: Final = schemathesis.openapi.from_dict(CONTRACT)
ASKED: Final = [
    (method, path, mode)
    for (method, path), operation in OPERATIONS.items()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if (method, path) not in NOT_ASKED
    # Where there is nothing to be given, nothing can be given wrongly.
    and (
        mode is GenerationMode.POSITIVE
        or {"parameters", "requestBody"} & {*operation, *CONTRACT["paths"][path]}
    )
]


@pytest.mark.parametrize(("method", "path", "mode"), ASKED)
def test_the_gateway_keeps_the_contract(
    method: str, path: str, mode: GenerationMode, running: Running
) -> None:
    """Whatever the document allows, and whatever it does not: a status and a body that it describes, never a 500."""
    operation = SCHEMA[path][method]
    role = next(iter(OPERATIONS[method, path].get("x-roles", ["reception"])))
    documented = {int(status) for status in OPERATIONS[method, path]["responses"]}
    with running.session(role) as session:

        @settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case[Any]) -> None:
            answer = case.call(base_url=running.url, session=session, verify=str(running.ca.path), timeout=20)
            assert answer.status_code in documented | {404, 405}, answer.content
            assert answer.headers["x-request-id"]
            if answer.status_code in documented:
                operation.validate_response(answer)
            if answer.status_code >= 400 and path != "/readyz":
                assert answer.headers["content-type"] == ["application/problem+json"]

        ask()
