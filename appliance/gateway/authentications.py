"""
`/v1/authentications`: begin one at a desk, see how it goes and how it ended, follow it, cancel it.

    POST    reception ──> Jobs ──task──> Desks.card ──> Authenticate ──> token, and evidence where asked for
    GET     how it stands, at once or with `wait` when it has ended
    GET     …/events (`events`)
    DELETE  cancels it, and answers when the card is let go of; with an Idempotency-Key instead of an id also what has not
            come yet: for whoever does not know whether the POST has arrived

A visual check is made in between, on the same power-up of the card (`comparison`):

    GET     …/front       what is to be compared with the person, as long as that is awaited
    POST    …/decision    whether it is the same person

What cannot even begin (a desk that is unknown or taken, a terminal that is away) is the problem of the POST itself, and
leaves nothing behind. What fails later is the authentication's own, in its member `problem`.
"""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from appliance.authentication import (
    Authentication,
    Card,
    Compare,
    Request,
)
from appliance.card.jpki import Mode
from appliance.emergency import Emergency
from appliance.errors import (
    AccessDenied,
    AuthenticationCancelled,
    DecisionNotAwaited,
    DeskUnknown,
    EligibilityNotConfigured,
    EmergencyClosed,
    FaceDeviceUnknown,
    ReaderBusy,
    ReaderStuck,
    RequestMalformed,
    ResourceAbsent,
)
from appliance.gateway import checks, events, idempotency, request_id
from appliance.gateway.checks import Check
from appliance.gateway.comparison import Fronts
from appliance.gateway.desks import Desks, DeskState, Purpose, Work
from appliance.gateway.eligibility import Eligibility, EligibilityView, eligibility_view, inquire
from appliance.gateway.http import get, json_response, language_of, no_query, read_json
from appliance.gateway.idempotency import Repeats, Withdrawn
from appliance.gateway.jobs import Asked, Job, Jobs, Phase, Result, State, Tell, Then, phase
from appliance.gateway.order import Decision, Order
from appliance.gateway.peers import Peer
from appliance.gateway.problems import Problem, is_for_another_node, problem
from appliance.gateway.services import PEER, SERVICES
from appliance.gateway.sight import Sight
from appliance.gateway.token import claims_of
from appliance.policy import Policy

PATH: Final = "/v1/authentications"
LONGEST_WAIT: Final = 30
"""Seconds for which an answer may be waited for."""
_START_SECONDS: Final = 1.0
"""How long a desk may take to say whether it begins."""
_WITHDRAWN_SECONDS: Final = 60.0
"""For which a withdrawn key is known at least, however soon results are forgotten: a request may be on its way so long."""
_WAIT: Final = re.compile(r"[0-9]{1,2}")
_PREFER: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*(?P<seconds>[0-9]{1,9})\s*(?:$|[,;])", re.IGNORECASE)
"""`wait` among the preferences (RFC 7240 §4.3)."""


class Authenticate(Protocol):
    """Who authenticates (`authentication.Authenticator.authenticate`)."""

    async def __call__(
        self, request: Request, card: Card, answered: Then, compare: Compare | None = None
    ) -> tuple[Authentication, str]:
        """
        Return the result of *request* on *card*, and its token.

        *answered* is told when the card is done with; *compare* is how the staff compare it with its holder.
        """


class View(msgspec.Struct, frozen=True, kw_only=True):
    """An authentication as its owner sees it. The last members are there where there is something to say."""

    id: str
    state: State
    stage: Phase | None
    """None where it has ended."""
    desk: str
    mode: Mode
    created_at: str
    token: str | UnsetType = UNSET
    claims: dict[str, Any] | UnsetType = UNSET
    evidence: str | UnsetType = UNSET
    """The document as it is, byte for byte: it is text."""
    eligibility: EligibilityView | UnsetType = UNSET
    """Where there is a service that can be asked."""
    problem: Problem | UnsetType = UNSET


@dataclass(slots=True)
class Authentications:
    """
    The resources under `PATH`.

    `daemon` may put another *policy* here when its configuration changes. Without *fronts* no visual check is made,
    and without *emergency* no authentication with no check at all.
    """

    jobs: Jobs
    authenticate: Authenticate
    eligibility: Eligibility | None = None
    policy: Policy = field(default_factory=Policy)
    fronts: Fronts | None = None
    emergency: Emergency | None = None
    heartbeat_seconds: float = events.HEARTBEAT_SECONDS
    repeats: Repeats[Job] = field(default_factory=Repeats)
    withdrawn: Withdrawn = field(init=False)
    clock: Callable[[], float] = time.monotonic
    _orders_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def __post_init__(self) -> None:
        self.withdrawn = Withdrawn(
            max(self.jobs.keep_seconds, _WITHDRAWN_SECONDS), self.clock, self.jobs.kept
        )

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        return [
            web.post(PATH, self.create),
            web.delete(PATH, self.withdraw),
            get(PATH + "/{id}", self.read),
            get(PATH + "/{id}/events", self.follow),
            get(PATH + "/{id}/front", self.show),
            web.post(PATH + "/{id}/decision", self.decide),
            web.delete(PATH + "/{id}", self.cancel),
        ]

    def checks(self, desk: str) -> tuple[Check, ...]:
        """Return the checks that may be claimed at *desk* (`checks.Offered`)."""
        reads_fronts = self.fronts is not None and self.fronts.reader is not None
        window = None if self.emergency is None else self.emergency.open_for(desk)
        return checks.permitted(self.policy, desk, reads_fronts=reads_fronts, window=window)

    @property
    def operators(self) -> tuple[str, ...]:
        """Who may be named for a visual check (`checks.Offered`)."""
        return tuple(sorted(self.policy.operators))

    @property
    def asks_eligibility(self) -> bool:
        """Whether there is an eligibility service that can be asked."""
        return self.eligibility is not None and self.eligibility.is_configured

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Begin an authentication, or find the one that the same request has begun."""
        no_query(request, "wait")
        seconds = _wait(request)
        preferred = None if seconds is not None else _preferred_wait(request)
        key = idempotency.key_in(request.headers.getall(idempotency.HEADER, []))
        order = await read_json(request, Order)
        peer = request[PEER]
        if not peer.may_use(order.desk):
            raise AccessDenied("this desk is not for this peer")
        job = None if key is None else self.repeats.find(peer.alias, key, self._digest(order))
        if job is None:
            if key is not None and self.withdrawn.has(peer.alias, key):
                raise AuthenticationCancelled("it was cancelled before this request for it had come")
            job = self._begin(request, peer, order, key)
        await self._begun(job)
        await job.ended(seconds or preferred or 0)
        headers = {"Location": f"{PATH}/{job.id}"}
        if preferred is not None:
            headers["Preference-Applied"] = f"wait={preferred}"
        return _shown(job, request, status=201, headers=headers)

    async def read(self, request: web.Request) -> web.StreamResponse:
        """Show an authentication, with `wait` when it has ended or the seconds are over."""
        no_query(request, "wait")
        job = self._found(request)
        await job.ended(_wait(request) or 0)
        return _shown(job, request)

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Tell how an authentication goes on."""
        no_query(request)
        job = self._found(request)
        return await events.stream(request, job, lambda: view(job, request), self.heartbeat_seconds)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Show the front that is to be compared with the person, to the authentication's owner alone."""
        no_query(request)
        comparison = self._found(request).comparison
        if comparison is None:
            raise ResourceAbsent("nothing is compared in this authentication")
        return json_response(comparison.front)

    async def decide(self, request: web.Request) -> web.StreamResponse:
        """Take the decision on the front that is shown."""
        no_query(request, "wait")
        seconds = _wait(request)
        decision = await read_json(request, Decision)
        job = self._found(request)
        if job.comparison is None:
            raise DecisionNotAwaited("nothing is compared in this authentication")
        job.comparison.decide(same_person=decision.same_person)
        await job.ended(seconds or 0)
        return _shown(job, request)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Cancel an authentication; one that has ended stays as it is."""
        no_query(request)
        job = self._found(request)
        await self.jobs.cancel(job)
        return _shown(job, request)

    async def withdraw(self, request: web.Request) -> web.Response:
        """Cancel what the caller has begun under a key, and have nothing begun under it from now on."""
        no_query(request)
        key = idempotency.key_in(request.headers.getall(idempotency.HEADER, []))
        if key is None:
            raise RequestMalformed(f"{idempotency.HEADER} says what is to be cancelled")
        peer = request[PEER].alias
        # First of all: what has begun may be forgotten before its own request has been sent again.
        self.withdrawn.add(peer, key)
        job = self.repeats.begun(peer, key)
        if job is None:
            return web.Response(status=204)
        await self.jobs.cancel(job)
        return _shown(job, request)

    def _found(self, request: web.Request) -> Job:
        return self.jobs.find(request[PEER].alias, request.match_info["id"])

    def _begin(self, request: web.Request, peer: Peer, order: Order, key: str | None) -> Job:
        services = request.app[SERVICES]
        try:
            asked = order.request(peer.audience, self.emergency)
            self.policy.require(asked, reads_front=order.front is not None)
        except (FaceDeviceUnknown, EmergencyClosed) as error:
            if services.desks.state(order.desk) is None:
                raise DeskUnknown("no reader has this name") from error
            raise
        check = asked.require_identity_check()
        sight = (
            None if order.front is None else Sight.of(order.front, self.fronts, self.policy.decision_seconds)
        )
        if order.eligibility and not self.asks_eligibility:
            raise EligibilityNotConfigured("there is no eligibility service to ask")
        _require_free(services.desks, order.desk)
        ended = services.budgets.begin(peer)
        forgotten: Then = lambda: None if key is None else self.repeats.forget(peer.alias, key)  # noqa: E731  # so short
        try:
            job = self.jobs.create(
                peer.alias,
                Asked(order.desk, order.mode, request_id.current(), self.asks_eligibility, check.method),
                lambda tell: self._authenticate(services.desks, asked, tell, order, sight),
                comparison=None if sight is None else sight.comparison,
                ended=ended,
                forgotten=forgotten,
            )
        except BaseException:
            ended()
            raise
        if key is not None:
            self.repeats.remember(peer.alias, key, self._digest(order), job)
        return job

    async def _authenticate(
        self, desks: Desks, asked: Request, tell: Tell, order: Order, sight: Sight | None
    ) -> Result:
        work = Work(_purpose(asked.mode, sight))
        to_phase = phase if sight is None else sight.phase
        compare: Compare | None = None if sight is None else lambda card: sight.compare(card, tell)
        async with desks.card(asked.terminal, work, lambda stage: tell(to_phase(stage))) as card:
            result, token = await self.authenticate(asked, card, lambda: tell(Phase.DECIDING), compare)
        evidence = result.evidence if order.evidence else None
        if not order.eligibility or self.eligibility is None:
            return Result(token, evidence)
        # The desk is free again: the next card need not wait for somebody else's service.
        tell(Phase.ASKING_ELIGIBILITY)
        said = await inquire(self.eligibility, token, order.desk, request_id.current())
        return Result(token, evidence, said)

    def _digest(self, order: Order) -> bytes:
        """Return what an *order* is known again by: what is printed on a card is not remembered."""
        return blake2b(msgspec.json.encode(order), key=self._orders_key).digest()

    async def _begun(self, job: Job) -> None:
        """Wait for *job* to begin; where it could not, forget it and raise why."""
        now = await job.begun(_START_SECONDS)
        if now.is_final and not job.has_begun and job.error is not None:
            self.jobs.forget(job)
            raise job.error


def _shown(
    job: Job, request: web.Request, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    answer = json_response(view(job, request), status=status, headers=headers)
    if job.error is not None and is_for_another_node(job.error):
        answer.force_close()
    return answer


def view(job: Job, request: web.Request) -> View:
    """Return *job* as the caller of *request* sees it; raise ResourceAbsent where it was just forgotten."""
    now, result = job.now, job.result
    if now.state is State.AUTHENTICATED and result is None:
        raise ResourceAbsent("there is no such authentication, or not any more")
    return View(
        id=job.id,
        state=now.state,
        stage=now.phase,
        desk=job.asked.desk,
        mode=job.asked.mode,
        created_at=f"{job.created_at:%Y-%m-%dT%H:%M:%SZ}",
        token=UNSET if result is None else result.token,
        claims=UNSET if result is None else claims_of(result.token),
        evidence=UNSET if result is None or result.evidence is None else result.evidence.decode(),
        eligibility=eligibility_view(
            None if result is None else result.eligibility,
            is_asking=now.phase is Phase.ASKING_ELIGIBILITY,
            reader=language_of(request),
            request_id=job.asked.request,
        )
        if job.asked.can_ask
        else UNSET,
        problem=UNSET if job.error is None else problem(job.error, language_of(request), job.asked.request),
    )


def _purpose(mode: Mode, sight: Sight | None) -> Purpose:
    if mode is Mode.PIN:
        return Purpose.PIN
    return Purpose.PINLESS if sight is None else Purpose.VISUAL


def _require_free(desks: Desks, name: str) -> None:
    """Raise ReaderBusy or ReaderStuck where the desk *name* is taken, rather than begin what ends at once."""
    state = desks.state(name)
    if state is DeskState.BUSY:
        raise ReaderBusy("another authentication is under way at this desk")
    if state is DeskState.STUCK:
        raise ReaderStuck("the card before does not let go of the reader")


def _wait(request: web.Request) -> int | None:
    """Return the seconds that the query asks to wait, or raise RequestMalformed."""
    asked = request.query.getall("wait", [])
    if not asked:
        return None
    if len(asked) > 1 or _WAIT.fullmatch(asked[0]) is None or int(asked[0]) > LONGEST_WAIT:
        raise RequestMalformed(f"'wait' is one number of seconds up to {LONGEST_WAIT}")
    return int(asked[0])


def _preferred_wait(request: web.Request) -> int | None:
    """Return the seconds that the caller prefers to wait, within what is possible: a preference is no demand."""
    match = _PREFER.search(request.headers.get("Prefer", ""))
    return None if match is None else min(int(match["seconds"]), LONGEST_WAIT)
