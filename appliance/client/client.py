"""
The client: one call from a desk to a verified result.

A request carries an Idempotency-Key and is sent again where its answer was lost, so there is one authentication
whatever becomes of connections. Whoever stops waiting, by cancelling the task or by its time limit, has the
authentication cancelled as well, by that key, also where it is not known whether the request has arrived: a card is not
kept for nobody. Nothing is logged here at all.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from types import TracebackType
from typing import Any, Final, Literal, Self, TypedDict, Unpack

import msgspec

from appliance.catalogue import Language
from appliance.client.address import Address
from appliance.client.answers import Desk, Desks, Front, Job, Shown, decoded
from appliance.client.checks import IdentityCheck, VisualCheck
from appliance.client.exchange import Answer, Ask, Deadline, Delivery, Exchange
from appliance.client.refused import Refused
from appliance.client.result import Question, Result, require_evidence, verify
from appliance.errors import (
    ApplianceAnswerInvalid,
    ApplianceError,
    ApplianceLate,
    AuthenticationCancelled,
    TokenInvalid,
)
from appliance.trust.result_token import Keys

_AUTHENTICATIONS: Final = "/v1/authentications"
_WAIT_SECONDS: Final = 25
_TO_DECIDE: Final = "awaiting-decision"
_KEYS_SECONDS: Final = 15.0
_FRONT_SECONDS: Final = 60.0
_LETTING_GO_SECONDS: Final = 5.0
"""How long whoever stops waiting is held up at most, and a client that is closed."""
_CANCELLING_SECONDS: Final = 60.0
"""For which it is tried, while the client is open."""

Mode = Literal["pinless", "pin"]


class Options(TypedDict, total=False):
    """What else can be said of an authentication."""

    nonce: str
    """The caller's own, which the token repeats; a random one where none is given."""
    evidence: bool
    """Whether the evidence comes with the result."""
    eligibility: bool
    """Whether the eligibility service is asked as well; what it says is in the result as it came."""
    last_pin_try: bool
    """Whether the PIN's last try may be used."""
    seconds: float
    """How long all of it may take; 120 where nothing is said."""


class Client:
    """
    An appliance at *address*, which makes results for *audience*; an asynchronous context manager.

    *keys* is a JWKS that was brought here by a way you trust; without it, the appliance is asked for its keys by the same
    connection. Texts for people are in *language*.
    """

    def __init__(
        self,
        address: Address,
        *,
        audience: str,
        keys: bytes | None = None,
        language: Language = Language.EN,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address, self._audience, self._language, self._clock = address, audience, language, clock
        self._pinned = None if keys is None else Keys(keys)
        self._keys = self._pinned
        self._opened: Exchange | None = None
        self._leaving: dict[asyncio.Task[None], Deadline] = {}
        """What cancels something, and until when it is waited for."""

    async def __aenter__(self) -> Self:
        self._opened = Exchange(self._address, self._language)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for leaving, patience in list(self._leaving.items()):
                await asyncio.wait((leaving,), timeout=patience.left())
            await _ended(*self._leaving)
        finally:
            await self._exchange.close()
            self._opened = None

    async def authenticate(
        self,
        desk: str,
        mode: Mode,
        identity_check: IdentityCheck | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """
        Authenticate the holder of the card at *desk*, and return the verified result.

        Raises Refused where the appliance refuses, ApplianceUnreachable, ApplianceLate, ApplianceAnswerInvalid,
        AuthenticationCancelled, and TokenInvalid or JwksInvalid where the result does not hold.
        """
        deadline = Deadline(options.get("seconds", 120.0))
        check = None if identity_check is None else identity_check.claimed
        question = Question(self._audience, options.get("nonce") or secrets.token_hex(16), desk, mode, check)
        evidence = options.get("evidence", False)
        order: dict[str, Any] = {"desk": desk, "mode": mode, "nonce": question.nonce, "evidence": evidence}
        if identity_check is not None:
            order |= identity_check.ordered
        for name in ("last_pin_try", "eligibility"):
            if options.get(name, False):
                order[name] = True
        ask = Ask("POST", _AUTHENTICATIONS, msgspec.json.encode(order), key=secrets.token_hex(16))
        delivery = Delivery()
        try:
            job, request_id = _job(await self._exchange.persistently(ask, deadline, delivery))
            visual = identity_check if isinstance(identity_check, VisualCheck) else None
            while job.state == "running":
                if visual is not None and job.stage == _TO_DECIDE:
                    await self._decide(job, visual, request_id, deadline)
                    visual = None
                # To the end, or else only until there is something to decide.
                job = await self._look(job, request_id, deadline, _WAIT_SECONDS if visual is None else 1)
        except BaseException:
            if delivery.may_have_arrived:
                await self._leave(ask)
            raise
        return await self._result(job, question, request_id, evidence=evidence)

    async def read_front(
        self, desk: str, birth: date, expiry_year: int, security_code: str, *, last_try: bool = False
    ) -> Front:
        """
        Return the front of the card at *desk*, opened by what is printed on it (照合番号B).

        Asked once and never again by itself: the card counts wrong tries, and blocks after a few. Raises as
        `authenticate`.
        """
        order = {
            "desk": desk,
            "birth": birth,
            "expiry_year": expiry_year,
            "security_code": security_code,
            "last_try": last_try,
        }
        ask = Ask("POST", "/v1/surface-readings", msgspec.json.encode(order), seconds=_FRONT_SECONDS)
        answer = await self._exchange.once(ask)
        return decoded(answer.body, Front, answer.request_id)

    async def desks(self) -> tuple[Desk, ...]:
        """Return the desks that we may use."""
        answer = await self._exchange.persistently(Ask("GET", "/v1/terminals"), Deadline(_KEYS_SECONDS))
        return decoded(answer.body, Desks, answer.request_id).desks

    @property
    def _exchange(self) -> Exchange:
        if self._opened is None:
            raise RuntimeError("a client is used within its `async with`")
        return self._opened

    async def _decide(self, job: Job, check: VisualCheck, request_id: str, deadline: Deadline) -> None:
        """Have the front compared, and say what came of it; where it is too late for that, *job* itself says why."""
        path = f"{_AUTHENTICATIONS}/{job.id}"
        with suppress(Refused):
            answer = await self._exchange.persistently(Ask("GET", path + "/front"), deadline)
            front = decoded(answer.body, Shown, answer.request_id).front()
            comparing = asyncio.ensure_future(check.compare(front))
            # A front is on somebody's screen no longer than it is waited for what they say.
            watching = asyncio.create_task(self._awaited(job, request_id, deadline))
            try:
                await asyncio.wait((comparing, watching), return_when=asyncio.FIRST_COMPLETED)
                if comparing.done():
                    said = msgspec.json.encode({"same_person": comparing.result()})
                    await self._exchange.persistently(Ask("POST", path + "/decision", said), deadline)
                else:
                    watching.result()
            finally:
                # Not waited for: whoever takes long to clear a screen would hold up the cancelling.
                for task in (comparing, watching):
                    task.cancel()
                    task.add_done_callback(_looked_at)

    async def _awaited(self, job: Job, request_id: str, deadline: Deadline) -> None:
        """Return once nothing is to be decided in *job* any more; raise as `_look`."""
        while job.state == "running" and job.stage == _TO_DECIDE:
            job = await self._look(job, request_id, deadline, _WAIT_SECONDS)

    async def _look(self, job: Job, request_id: str, deadline: Deadline, most: int) -> Job:
        """
        Return how *job* stands later, when it has ended or some time has passed.

        It is the one that *request_id* asked for, and is logged under that. Raises ApplianceLate at the end.
        """
        wait = min(most, int(deadline.left()))
        if deadline.left() <= 0:
            raise ApplianceLate("the authentication has not ended in time", request_id)
        ask = Ask("GET", f"{_AUTHENTICATIONS}/{job.id}?wait={wait}", seconds=wait + 10.0)
        later, _ = _job(await self._exchange.persistently(ask, deadline))
        if later.id != job.id:
            raise ApplianceAnswerInvalid("the answer is about another authentication", request_id)
        if wait == 0 and later.state == "running":
            await asyncio.sleep(min(0.1, deadline.left()))
        return later

    async def _leave(self, ask: Ask) -> None:
        """Have cancelled what *ask* has begun, or is about to; it goes on where we are cancelled once more."""
        leaving = asyncio.create_task(self._cancel(ask))
        patience = Deadline(_LETTING_GO_SECONDS)
        self._leaving[leaving] = patience
        leaving.add_done_callback(self._leaving.pop)
        await asyncio.wait((leaving,), timeout=patience.left())

    async def _cancel(self, ask: Ask) -> None:
        cancelling = Ask("DELETE", ask.path, key=ask.key, seconds=_LETTING_GO_SECONDS * 2)
        with suppress(ApplianceError):
            await self._exchange.persistently(cancelling, Deadline(_CANCELLING_SECONDS))

    async def _result(self, job: Job, question: Question, request_id: str, *, evidence: bool) -> Result:
        if job.problem is not None:
            raise Refused(job.problem)
        if job.state == "cancelled":
            raise AuthenticationCancelled("the authentication was cancelled", request_id)
        if job.state != "authenticated" or job.token is None:
            raise ApplianceAnswerInvalid("the authentication has ended without result and reason", request_id)
        key = await self._key(job.token)
        claims = verify(job.token, key, question, self._clock())
        if not evidence:
            return Result(claims, job.token, None, job.eligibility, request_id)
        if job.evidence is None:
            raise ApplianceAnswerInvalid("the evidence that was asked for is missing", request_id)
        document = job.evidence.encode()
        require_evidence(claims, document)
        return Result(claims, job.token, document, job.eligibility, request_id)

    async def _key(self, token: str) -> Any:  # noqa: ANN401 - PyJWT's key
        """Return the key that *token* names; one that is not known is a reason to ask again, once."""
        key = None if self._keys is None else self._keys.named_by(token)
        if key is None and self._pinned is None:
            answer = await self._exchange.persistently(
                Ask("GET", "/.well-known/jwks.json"), Deadline(_KEYS_SECONDS)
            )
            self._keys = Keys(answer.body)
            key = self._keys.named_by(token)
        if key is None:
            raise TokenInvalid("the key that the token names is none of the appliance's")
        return key


def _job(answer: Answer) -> tuple[Job, str]:
    """Return the authentication that is in *answer*, and the number of the request for it."""
    return decoded(answer.body, Job, answer.request_id), answer.request_id


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what is still under way of *tasks*, and give it a little while to end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_LETTING_GO_SECONDS)
    for task in tasks:
        if task.done():
            _looked_at(task)


def _looked_at(task: asyncio.Future[Any]) -> None:
    """Look at the error of *task*, so that nobody complains of one that nobody has heard of."""
    if not task.cancelled():
        task.exception()
