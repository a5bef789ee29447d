"""
What the console shows besides `/v1/status`: what goes on at this moment, and the last day.

    GET /v1/live   authentications under way: where, how far, since when; not whose, and not how they end
    GET /v1/day    how they have ended, and why (`day`)

Nothing here leads to an authentication itself: its id, its owner and its result stay its owner's.
"""

from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from appliance.card.jpki import Mode
from appliance.gateway import http
from appliance.gateway.day import NO_CHECK, Day
from appliance.gateway.jobs import Job, Jobs, Phase

LIVE: Final = "/v1/live"
DAY: Final = "/v1/day"
_MOST: Final = 256


class UnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """An authentication at a *desk*, begun so many *seconds* ago; *check* is how its holder is checked."""

    desk: str
    mode: Mode
    check: str
    stage: Phase
    seconds: float


class LiveView(msgspec.Struct, frozen=True, kw_only=True):
    """The longest lasting first; there are *more* than are told. So many have *ended* since the start."""

    authentications: tuple[UnderWay, ...]
    more: int
    ended: int


@dataclass(frozen=True, slots=True)
class Live:
    """The resources `LIVE` and `DAY`."""

    jobs: Jobs
    day: Day

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        return [http.get(LIVE, self._live), http.get(DAY, self._day)]

    async def _live(self, request: web.Request) -> web.Response:
        http.no_query(request)
        running = self.jobs.running()
        shown = tuple(_under_way(job, phase) for job, phase in running[:_MOST])
        more = len(running) - len(shown)
        return http.json_response(LiveView(authentications=shown, more=more, ended=self.day.number))

    async def _day(self, request: web.Request) -> web.Response:
        http.no_query(request)
        return http.json_response(self.day.view())


def _under_way(job: Job, phase: Phase) -> UnderWay:
    check = job.asked.check
    return UnderWay(
        desk=job.asked.desk,
        mode=job.asked.mode,
        check=NO_CHECK if check is None else check.value,
        stage=phase,
        seconds=round(job.seconds, 1),
    )
