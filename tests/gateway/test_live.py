"""What operators see of authentications: that they go on, and how they end; nothing of whose they are or of a person."""

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web

from appliance.authentication import CheckMethod
from appliance.card.jpki import Mode
from appliance.gateway.day import AUTHENTICATED, Day
from appliance.gateway.jobs import Asked, Job, Jobs, Phase, Result, Tell
from appliance.gateway.live import DAY, LIVE, Live
from tests.gateway.house import House, peer, services, serving


async def told(house: House, path: str) -> dict[str, Any]:
    """Return what is answered."""
    async with house.session().get(path) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


def routes(jobs: Jobs, day: Day) -> list[web.RouteDef]:
    """Return what is tested."""
    return Live(jobs, day).routes()


async def test_what_goes_on_is_told_without_its_owner(tmp_path: Path) -> None:
    """Where, how checked, how far and for how long: and when it has ended, nothing."""
    jobs, day, end = Jobs(at_once=8, keep_seconds=60), Day(), asyncio.Event()

    async def work(tell: Tell) -> Result:
        tell(Phase.TALKING)
        await end.wait()
        return Result("secret-token")

    asked = Asked("desk-1", Mode.PINLESS, "request-1", check=CheckMethod.FACE)
    async with serving(services([peer(role="operator")]), tmp_path, more=routes(jobs, day)) as house:
        job = jobs.create("reception-1", asked, work)
        await job.begun(20)
        (one,) = (await told(house, LIVE))["authentications"]
        assert one.pop("seconds") >= 0
        assert one == {"desk": "desk-1", "mode": "pinless", "check": "face", "stage": "talking"}
        end.set()
        await job.ended(20)
        assert await told(house, LIVE) == {"authentications": [], "more": 0, "ended": 0}


async def test_of_a_great_many_the_first_are_told(tmp_path: Path) -> None:
    """An answer stays readable: it has those that last longest, and how many more there are."""
    jobs, end = Jobs(at_once=300, keep_seconds=60), asyncio.Event()

    async def work(_tell: Tell) -> Result:
        await end.wait()
        return Result("secret-token")

    asked = Asked("desk-1", Mode.PIN, "request-1")
    async with serving(services([peer(role="operator")]), tmp_path, more=routes(jobs, Day())) as house:
        begun: list[Job] = [jobs.create("reception-1", asked, work) for _ in range(258)]
        view = await told(house, LIVE)
        assert (len(view["authentications"]), view["more"]) == (256, 2)
        assert {one["check"] for one in view["authentications"]} == {"none"}
        end.set()
        await asyncio.gather(*(job.ended(20) for job in begun))


async def test_the_day_is_told_as_it_was_counted(tmp_path: Path) -> None:
    """Stretches with their numbers, and causes."""
    day = Day(lambda: 1_767_268_800.0)
    day.ended("desk-1", AUTHENTICATED, CheckMethod.FACE, 1.0)
    day.ended("desk-1", "card_removed", None, None)
    jobs = Jobs(at_once=1, keep_seconds=60)
    async with serving(services([peer(role="operator")]), tmp_path, more=routes(jobs, day)) as house:
        view = await told(house, DAY)
        assert (await told(house, LIVE))["ended"] == 2
    (stretch,) = view["stretches"]
    assert (stretch["begin"], stretch["authenticated"], stretch["refused"]) == (1_767_268_800, 1, 1)
    assert stretch["checks"] == {"face": 1, "none": 1}
    assert view["refusals"] == [
        {"code": "card_removed", "times": 1, "at": 1_767_268_800.0, "desks": ["desk-1"]}
    ]
