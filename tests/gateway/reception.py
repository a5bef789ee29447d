"""A gateway on a Unix socket, with software cards at its desks, a real ledger, and gates where a test can hold it up."""

import asyncio
import getpass
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn
from uuid import uuid4

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from appliance.authentication import Authenticator
from appliance.card.apdu import Response
from appliance.card.cvc import check_chain
from appliance.card.dialogue import Exchange, VerifyHolder
from appliance.card.profile import shipped
from appliance.chains import Chains
from appliance.config import BudgetSettings, PeerSettings
from appliance.emergency import Emergency
from appliance.errors import CardAbsent, CardRemoved, DeskUnknown, LedgerUnavailable, ReaderBusy
from appliance.front_reading import FrontReader
from appliance.gateway.authentications import Authentications
from appliance.gateway.desks import DeskState, DeskStatus, Progress, Stage, Work
from appliance.gateway.emergency import EmergencyWindows
from appliance.gateway.http import application
from appliance.gateway.jobs import Jobs
from appliance.gateway.keys import PublishedKeys
from appliance.gateway.peers import Directory
from appliance.gateway.services import Services
from appliance.gateway.surface_readings import SurfaceReadings
from appliance.gateway.token import ResultTokens
from appliance.ledger.authentications import AuthenticationLedger
from appliance.ledger.emergency import EmergencyLedger
from appliance.ledger.entries import Finished, Reserved, decode
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.recorder import Recorder
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import stored_entries
from appliance.policy import Policy
from appliance.revocation.policy import Sources
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import Answer, Fault, FaultyCard
from appliance.simulator.pki import Hierarchy
from appliance.terminals.steps import perform
from appliance.trust.certificates import Anchors, HolderCertificate
from appliance.trust.decision import Trust
from appliance.trust.pseudonym import PseudonymKey
from appliance.trust.revocation import Standing
from tests.ledger.conftest import ORIGIN, MemoryKey

INSTITUTION_KEY = rsa.generate_private_key(65_537, 2_048)
TOKEN_KEY = ec.generate_private_key(ec.SECP256R1())
AUDIENCE, OTHER_AUDIENCE = "reception.test", "ward.test"
LONG = 30.0
HOURS = 8.0
OPERATORS = ("yamada", "sato")
POLICY = Policy(
    frozenset({"operator-3"}), {"desk-1": "face-1", "desk-2": "face-1", "ward-3.": "face-1"}, LONG, HOURS
)
BUDGET = BudgetSettings(per_minute=10_000, at_once=64)


class Gates:
    """Points that an authentication passes; a test closes some, and is told when it has come there."""

    def __init__(self) -> None:
        self._open: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._closed: set[str] = set()
        self.failing: dict[str, Exception] = {}
        """What goes wrong at which point."""

    def close(self, *points: str) -> None:
        """Hold up whoever comes to *points*."""
        self._closed |= set(points)

    def open(self) -> None:
        """Hold nobody up any more."""
        self._closed.clear()
        for gate in self._open.values():
            gate.set()

    def pass_on(self, point: str, *, closing: str | None) -> None:
        """Let whoever is at *point* go on, as far as the next one, which is closed."""
        if closing is not None:
            self._closed.add(closing)
        self._closed.discard(point)
        self._open[point].set()

    async def reached(self, point: str) -> None:
        """Wait until somebody has come to *point*."""
        async with asyncio.timeout(LONG):
            await self._reached[point].wait()

    async def passing(self, point: str) -> None:
        """Pass *point*, as far as it is open and nothing goes wrong there."""
        self._reached[point].set()
        if point in self._closed:
            await self._open[point].wait()
        if point in self.failing:
            raise self.failing[point]


@dataclass(slots=True)
class Place:
    """A desk: what lies on it, what its user enters, and whether it is engaged."""

    card: FaultyCard | None
    pin: str | None = "1234"
    engaged: bool = False
    works: list[Work] = field(default_factory=list)


@dataclass(slots=True)
class SoftwareDesks:
    """Fits `desks.Desks`: software cards, spoken to by the far end that terminals have, too."""

    gates: Gates
    places: dict[str, Place]

    def status(self) -> tuple[DeskStatus, ...]:
        """Return how the desks are."""
        return tuple(
            DeskStatus(name, "local", DeskState.BUSY if place.engaged else DeskState.CARD, 0.0)
            for name, place in self.places.items()
        )

    def state(self, desk: str) -> DeskState | None:
        """Return how one desk is."""
        return next((one.state for one in self.status() if one.desk == desk), None)

    @asynccontextmanager
    async def card(self, desk: str, work: Work, progress: Progress) -> AsyncIterator["CardAtDesk"]:
        """Give the card at *desk*."""
        place = self.places.get(desk)
        if place is None:
            raise DeskUnknown(f"there is no {desk}")
        if place.engaged:
            raise ReaderBusy(f"{desk} is taken")
        place.engaged = True
        place.works.append(work)
        try:
            progress(Stage.WAITING_FOR_CARD)
            await self.gates.passing("waiting-for-card")
            if place.card is None:
                raise CardAbsent("no card was put on")
            place.card.power_on()
            progress(Stage.TALKING)
            yield CardAtDesk(place, place.card, self.gates, progress)
        finally:
            place.engaged = False


@dataclass(slots=True)
class CardAtDesk:
    """Fits `authentication.Card`."""

    place: Place
    card: FaultyCard
    gates: Gates
    progress: Progress

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps."""
        await self.gates.passing("talking")
        if self.place.card is not self.card:
            raise CardRemoved("this card is not the one that was here before")
        if any(isinstance(step, VerifyHolder) for step in exchange.steps):
            self.progress(Stage.WAITING_FOR_PIN)
            await self.gates.passing("waiting-for-pin")
        return perform(exchange, self._transmit, lambda: self.place.pin)

    def _transmit(self, command: bytes) -> bytes:
        outcome = self.card.respond(command)
        if not isinstance(outcome, Answer):
            raise CardRemoved("the card was pulled")
        return outcome.octets


@dataclass(frozen=True, slots=True)
class Hsm:
    """The institution's key and the token key, in memory."""

    gates: Gates

    async def sign_challenge(self, challenge: bytes, _key: str) -> bytes:
        """Sign as the HSM does."""
        await self.gates.passing("signing")
        return INSTITUTION_KEY.sign(challenge, padding.PKCS1v15(), hashes.SHA256())

    async def sign_token(self, signing_input: bytes) -> bytes:
        """Sign as the HSM does."""
        await self.gates.passing("issuing")
        return TOKEN_KEY.sign(signing_input, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class Asking:
    """Revocation that nobody knows of, after a while."""

    gates: Gates

    async def check(self, holder: HolderCertificate, now: datetime) -> Standing:
        """Say so."""
        await self.gates.passing("deciding")
        return await Sources([]).check(holder, now)


class _Nowhere:
    """What the resources under test do not use; loud where they do."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"nobody was to ask for {name}")


@dataclass(slots=True)
class Clock:
    """Tells a time that a test may change."""

    now: datetime

    def __call__(self) -> datetime:
        """Return it."""
        return self.now


@dataclass(slots=True)
class Reception:
    """The gateway under test: *mine* and *theirs* are two peers' sessions, *mine* for all desks, *theirs* for desk-2."""

    gates: Gates
    desks: SoftwareDesks
    jobs: Jobs
    authentications: Authentications
    readings: SurfaceReadings
    keeper: Keeper
    services: Services
    ledger_broken_at: set[int]
    """Which of the ledger's writes fail, counted from 1."""
    socket: Path
    mine: aiohttp.ClientSession
    theirs: aiohttp.ClientSession
    emergency: Emergency
    clock: "Clock"
    """By which emergency windows end."""
    operators: dict[str, aiohttp.ClientSession]
    everybody: dict[str, Services]

    async def begin(self, body: dict[str, Any], **headers: str) -> str:
        """Begin what *body* asks for, and return where it is."""
        async with self.mine.post("/v1/authentications", json=body, headers=headers) as answer:
            assert answer.status == 201, await answer.text()
            return answer.headers["Location"]

    async def end(self, at: str) -> dict[str, Any]:
        """Wait for the end of the authentication *at* its address."""
        async with self.mine.get(at, params={"wait": "30"}) as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def remembered(self) -> list[Reserved | Finished]:
        """Return what the ledger holds, what was interrupted closed."""
        await self.keeper.turn()
        with self.keeper.log.store.reading() as reader:
            entries = [decode(content) for _, content in stored_entries(reader, 0, reader.head().size)]
        return [entry for entry in entries if isinstance(entry, Reserved | Finished)]


def card(data: CardData, *faults: Fault) -> FaultyCard:
    """Return a card made of *data*."""
    return FaultyCard(SoftwareCard(data), faults)


@asynccontextmanager
async def open_reception(
    folder: Path,
    hierarchy: Hierarchy,
    data: CardData,
    now: datetime,
    jobs: Jobs | None = None,
    *,
    elapsed: Callable[[], float] = monotonic,
) -> AsyncIterator[Reception]:
    """Give a gateway whose sockets and ledger are in *folder*, with a card at desk-1 and another at desk-2."""
    gates = Gates()
    desks = SoftwareDesks(gates, {name: Place(card(data)) for name in ("desk-1", "desk-2", "ward-3.left")})
    jobs = jobs or Jobs(at_once=64, keep_seconds=300)
    broken: set[int] = set()
    writes = 0

    def fault(point: str) -> None:
        nonlocal writes
        writes += point == "append.beginning"
        if point == "append.beginning" and writes in broken:
            raise LedgerUnavailable("the disk is full")

    async with AsyncExitStack() as parts:
        ledger_key = MemoryKey()
        log = await parts.enter_async_context(Log(SqliteStore(folder / "log", ORIGIN, fault), seconds=10))
        keeper = Keeper(Recorder(log, lambda: 1), ledger_key, ledger_key.verifier(), monotonic=lambda: 0.0)
        await keeper.start()
        authenticator = _authenticator(gates, keeper, hierarchy, now)
        reader = FrontReader(authenticator.profile, hierarchy.surface_root_key, os.urandom)
        readings = SurfaceReadings(jobs, reader)
        clock = Clock(now)
        emergency = Emergency(EmergencyLedger(keeper.recorder, clock), clock, HOURS, frozenset(OPERATORS))
        parts.push_async_callback(emergency.end)
        authentications = Authentications(
            jobs,
            authenticator.authenticate,
            policy=POLICY,
            fronts=readings,
            emergency=emergency,
            clock=elapsed,
        )
        parts.callback(readings.rendering.close)
        me = getpass.getuser()
        peers = {
            "mine": PeerSettings(alias="mine", role="reception", user=me, budget=BUDGET),
            "theirs": PeerSettings(
                alias="theirs",
                role="reception",
                user=me,
                desks=("desk-2",),
                audience=OTHER_AUDIENCE,
                budget=BUDGET,
            ),
            **{name: PeerSettings(alias=name, role="operator", user=me, budget=BUDGET) for name in OPERATORS},
        }
        windows = EmergencyWindows(emergency, ORIGIN)
        sessions: dict[str, aiohttp.ClientSession] = {}
        all_services: dict[str, Services] = {}
        for name, settings in peers.items():
            all_services[name] = services = Services(
                Directory([settings], AUDIENCE),
                desks,
                _Nowhere(),  # type: ignore[arg-type]  # not asked for
                PublishedKeys(TOKEN_KEY.public_key()),
                Trust(Anchors(hierarchy.ca_certificates)),
                _Nowhere(),
                lambda: datetime.now(UTC),
                monotonic,
            )
            parts.callback(services.close)
            app = application(services, [*authentications.routes(), *readings.routes(), *windows.routes()])
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await runner.setup()
            parts.push_async_callback(runner.cleanup)
            await web.UnixSite(runner, str(folder / name), backlog=1024).start()
            sessions[name] = await parts.enter_async_context(
                aiohttp.ClientSession(
                    "http://gateway",
                    connector=aiohttp.UnixConnector(str(folder / name), limit=0),
                    timeout=aiohttp.ClientTimeout(total=60),
                )
            )
        yield Reception(
            gates,
            desks,
            jobs,
            authentications,
            readings,
            keeper,
            all_services["mine"],
            broken,
            folder / "mine",
            sessions["mine"],
            sessions["theirs"],
            emergency,
            clock,
            {name: sessions[name] for name in OPERATORS},
            all_services,
        )
        gates.open()
        await jobs.drain(LONG)


def _authenticator(gates: Gates, keeper: Keeper, hierarchy: Hierarchy, now: datetime) -> Authenticator:
    leaf = hierarchy.issue_institution(INSTITUTION_KEY.public_key(), "9912345")
    chain = check_chain(hierarchy.institution.intermediate, leaf, hierarchy.root_key)
    hsm, pseudonyms = Hsm(gates), PseudonymKey(b"\x05" * 32)
    tokens = ResultTokens(
        "appliance.test",
        AUDIENCE,
        timedelta(minutes=5),
        TOKEN_KEY.public_key(),
        pseudonyms,
        hsm.sign_token,
        uuid4,
    )
    return Authenticator(
        shipped("jpki-reference"),
        Chains(chain),
        Anchors(hierarchy.ca_certificates),
        hsm,
        tokens,
        lambda: now,
        os.urandom,
        Asking(gates),
        AuthenticationLedger(keeper.recorder, pseudonyms, lambda: now),
    )
