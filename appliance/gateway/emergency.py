"""
`/v1/emergency-windows`: two operators open a time in which nobody has to check holders, and any one ends it.

    GET     those that are proposed or open, and what may be asked for
    POST    propose one, with its reason, its end, and the desks it is for
    POST    …/confirmation    open it, in another operator's name than proposed it
    DELETE  close it

Bodies are JSON also where there is little to say: a page of somebody else's could send anything simpler with an
operator's certificate.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web

from appliance.emergency import Emergency, Proposal, Reason, Window
from appliance.errors import DeskUnknown, GatewayDraining
from appliance.gateway import idempotency
from appliance.gateway.http import get, json_response, no_query, read_json
from appliance.gateway.idempotency import Repeats
from appliance.gateway.order import DeskName
from appliance.gateway.services import PEER, SERVICES

PATH: Final = "/v1/emergency-windows"
MOST_DESKS: Final = 16
_KEY_SECONDS: Final = 3600.0
"""For which a request that is sent again is known by its key."""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is proposed: no *desks* are all of them."""

    reason: Reason
    until: Annotated[datetime, msgspec.Meta(tz=True)]
    desks: Annotated[tuple[DeskName, ...], msgspec.Meta(max_length=MOST_DESKS)] = ()


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """That is meant."""

    confirm: Literal[True]

    def __post_init__(self) -> None:
        if self.confirm is not True:
            raise ValueError("a window is confirmed, or nothing is sent")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A window as an operator sees it. *yours*: who asks has proposed it, and so cannot confirm it."""

    id: str
    state: Literal["proposed", "open", "closed"]
    reason: Reason
    desks: tuple[str, ...]
    proposed_by: str
    proposed_at: str
    confirmed_by: str | None
    confirmed_at: str | None
    until: str
    confirm_before: str | None
    yours: bool


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """All of them on this *node*, which is called as its ledger; by its clock it is *now*."""

    node: str
    now: str
    longest_hours: float
    reasons: tuple[Reason, ...]
    windows: tuple[View, ...]


@dataclass(slots=True)
class EmergencyWindows:
    """The resources under `PATH`. *node* is the origin of its ledger."""

    emergency: Emergency
    node: str
    repeats: Repeats["asyncio.Task[Window]"] = field(default_factory=Repeats)

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        return [
            get(PATH, self.list),
            web.post(PATH, self.propose),
            web.post(PATH + "/{id}/confirmation", self.confirm),
            web.delete(PATH + "/{id}", self.close),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Show all windows, and what may be asked for."""
        no_query(request)
        return json_response(
            Listed(
                node=self.node,
                now=_told(self.emergency.clock()),
                longest_hours=self.emergency.hours,
                reasons=tuple(Reason),
                windows=tuple(_view(window, request) for window in self.emergency.windows),
            )
        )

    async def propose(self, request: web.Request) -> web.Response:
        """Propose a window, or find the one that the same request has proposed."""
        no_query(request)
        key = idempotency.key_in(request.headers.getall(idempotency.HEADER, []))
        order = await read_json(request, Order)
        _require_going_on(request)
        peer = request[PEER].alias
        proposing = None if key is None else self.repeats.find(peer, key, order)
        if proposing is None:
            _require_desks(request, order)
            proposing = self._begin(peer, order, key)
        # It goes on where the caller does not wait for it.
        window = self.emergency.find((await asyncio.shield(proposing)).id)
        return json_response(_view(window, request), status=201, headers={"Location": f"{PATH}/{window.id}"})

    async def confirm(self, request: web.Request) -> web.Response:
        """Open a window that somebody else has proposed."""
        no_query(request)
        await read_json(request, Confirmation)
        _require_going_on(request)
        window = await self.emergency.confirm(request.match_info["id"], request[PEER].alias)
        return json_response(_view(window, request))

    async def close(self, request: web.Request) -> web.Response:
        """Close a window."""
        no_query(request)
        window = await self.emergency.close(request.match_info["id"], request[PEER].alias)
        return json_response(_view(window, request, is_closed=True))

    def _begin(self, peer: str, order: Order, key: str | None) -> "asyncio.Task[Window]":
        until = order.until.replace(microsecond=0)
        proposal = Proposal(peer, order.reason, until, frozenset(order.desks))
        proposing = asyncio.create_task(self.emergency.propose(proposal), name="emergency-proposal")
        if key is not None:
            self.repeats.remember(peer, key, order, proposing)
        proposing.add_done_callback(lambda task: self._proposed(peer, key, task))
        return proposing

    def _proposed(self, peer: str, key: str | None, task: "asyncio.Task[Window]") -> None:
        # Why it failed is looked at here, too: nobody may be waiting for it any more.
        has_failed = task.cancelled() or task.exception() is not None
        if key is None:
            return
        if has_failed:
            self.repeats.forget(peer, key)
        else:
            asyncio.get_running_loop().call_later(_KEY_SECONDS, self.repeats.forget, peer, key)


def _require_going_on(request: web.Request) -> None:
    if request.app[SERVICES].is_draining:
        raise GatewayDraining("the appliance is about to end, and its windows with it")


def _require_desks(request: web.Request, order: Order) -> None:
    """
    Raise DeskUnknown where a desk is none: a window for a misspelt one would be missed when it is needed.

    Readers of a terminal that has not come since the start may be named, as nobody knows them.
    """
    if any(request.app[SERVICES].desks.state(desk) is None for desk in order.desks):
        raise DeskUnknown("no reader has one of these names")


def _view(window: Window, request: web.Request, *, is_closed: bool = False) -> View:
    proposal = window.proposal
    return View(
        id=window.id,
        state="closed" if is_closed else "open" if window.is_open else "proposed",
        reason=proposal.reason,
        desks=tuple(sorted(proposal.desks)),
        proposed_by=proposal.by,
        proposed_at=_told(window.proposed_at),
        confirmed_by=window.confirmed_by,
        confirmed_at=None if window.confirmed_at is None else _told(window.confirmed_at),
        until=_told(proposal.until),
        confirm_before=None if window.is_open else _told(window.ends_at),
        yours=proposal.by == request[PEER].alias,
    )


def _told(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
