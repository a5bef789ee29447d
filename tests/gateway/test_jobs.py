"""Authentications under way and after: whose they are, how far, and how they end."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from weakref import ref

import pytest

from appliance.card.jpki import Mode
from appliance.errors import CardAbsent, GatewayBusy, GatewayDraining, ResourceAbsent
from appliance.gateway.desks import Stage
from appliance.gateway.jobs import Asked, Job, Jobs, Phase, Result, Snapshot, State, Tell, Work, phase

LONG = 60.0
"""Seconds that no test waits for."""
ASKED = Asked("desk-1", Mode.PINLESS, "request-1")
RESULT = Result("a.token.of-ours", b"{}")


@dataclass(slots=True)
class Later:
    """What is to be done later, done when a test says that it is time."""

    waiting: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __call__(self, seconds: float, then: Callable[[], None]) -> None:
        """Remember."""
        self.waiting.append((seconds, then))

    def come(self) -> None:
        """Do all of it."""
        waiting, self.waiting = self.waiting, []
        for _, then in waiting:
            then()


@dataclass(slots=True)
class Script:
    """An authentication that goes as far as it is let."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    tell: list[Tell] = field(default_factory=list)
    let_go: bool = False

    async def __call__(self, tell: Tell) -> Result:
        """Wait to be let."""
        self.tell.append(tell)
        self.begun.set()
        tell(Phase.WAITING_FOR_CARD)
        try:
            await self.go.wait()
        finally:
            self.let_go = True
        return RESULT


async def _at_once(_tell: Tell) -> Result:
    return RESULT


def jobs(later: Later | None = None, *, at_once: int = 8, kept: int = 1024) -> Jobs:
    """Return a registry."""
    return Jobs(at_once=at_once, keep_seconds=300, kept=kept, later=later or Later())


async def finished(registry: Jobs, owner: str = "reception-1", work: Work = _at_once) -> Job:
    """Return a job that has ended."""
    job = registry.create(owner, ASKED, work)
    assert (await job.ended(LONG)).is_final
    return job


def test_every_stage_of_a_desk_is_a_phase() -> None:
    """Whatever a desk can tell is passed on under its name."""
    assert [phase(stage).value for stage in Stage] == [stage.value for stage in Stage]


async def test_an_authentication_runs_and_ends_with_its_result() -> None:
    """From its start to its end it is told how it stands; the result is there at the end, and not before."""
    registry, script = jobs(), Script()
    job = registry.create("reception-1", ASKED, script)
    assert job.now == Snapshot(0, State.RUNNING, Phase.STARTING)
    assert (await job.begun(LONG)).phase is Phase.WAITING_FOR_CARD
    assert (registry.under_way, job.result) == (1, None)
    script.go.set()
    assert (await job.ended(LONG)).state is State.AUTHENTICATED
    assert (registry.under_way, job.result) == (0, RESULT)


def test_neither_token_nor_evidence_is_in_a_repr() -> None:
    """What a log line or a traceback shows of a result is nothing."""
    assert repr(RESULT) == "Result()"


async def test_ids_cannot_be_guessed() -> None:
    """Each id has 128 random bits."""
    registry = jobs()
    ids = {(await finished(registry)).id for _ in range(20)}
    assert len(ids) == 20
    assert {len(identity) for identity in ids} == {32}


async def test_an_authentication_is_its_owners_alone() -> None:
    """To everybody else it is as if there were none, and nobody can tell the difference."""
    registry = jobs()
    job = await finished(registry)
    assert registry.find("reception-1", job.id) is job
    with pytest.raises(ResourceAbsent) as foreign:
        registry.find("reception-2", job.id)
    with pytest.raises(ResourceAbsent) as absent:
        registry.find("reception-2", "0" * 32)
    assert foreign.value.detail == absent.value.detail


async def test_a_refusal_is_known_by_its_error() -> None:
    """What refused the authentication is kept as it is."""

    async def refuse(_tell: Tell) -> Result:
        raise CardAbsent("no card")

    job = await finished(jobs(), work=refuse)
    assert (job.now.state, type(job.error), job.result) == (State.REFUSED, CardAbsent, None)


async def test_a_bug_ends_one_authentication_and_is_told_to_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error that is none of ours becomes `internal`; the log names job and place, and nothing of what it said."""

    async def broken(_tell: Tell) -> Result:
        raise KeyError("YAMADA TARO")

    registry, script = jobs(), Script()
    other = registry.create("reception-1", ASKED, script)
    with caplog.at_level(logging.ERROR):
        job = await finished(registry, work=broken)
    assert job.error is not None
    assert (job.now.state, job.error.code) == (State.REFUSED, "internal")
    assert job.id in caplog.text
    assert "KeyError" in caplog.text
    assert "YAMADA" not in caplog.text + str(job.error)
    script.go.set()
    assert (await other.ended(LONG)).state is State.AUTHENTICATED


async def test_news_come_to_everybody_who_waits() -> None:
    """Hundreds may wait for one end, and all of them hear of it."""
    registry, script = jobs(), Script()
    job = registry.create("reception-1", ASKED, script)
    await job.begun(LONG)
    waiting = [asyncio.create_task(job.ended(LONG)) for _ in range(500)]
    await asyncio.sleep(0)
    script.go.set()
    assert {(await one).state for one in waiting} == {State.AUTHENTICATED}


async def test_who_comes_late_is_told_how_it_stands() -> None:
    """A late or slow follower gets the present state once, and not what came and went before."""
    registry, script = jobs(), Script()
    job = registry.create("reception-1", ASKED, script)
    await job.begun(LONG)
    for told in (Phase.TALKING, Phase.WAITING_FOR_PIN, Phase.WAITING_FOR_PIN, Phase.TALKING):
        script.tell[0](told)
    now = await job.news(-1, LONG)
    assert now == Snapshot(4, State.RUNNING, Phase.TALKING)
    assert await job.news(4, 0) is None
    script.go.set()
    assert await job.news(4, LONG) == Snapshot(5, State.AUTHENTICATED, None)
    script.tell[0](Phase.DECIDING)
    assert job.now.is_final


async def test_waiting_ends_without_an_end() -> None:
    """Whoever waits gets the state as it is when their time is over, and the authentication goes on."""
    registry, script = jobs(), Script()
    job = registry.create("reception-1", ASKED, script)
    await job.begun(LONG)
    assert (await job.ended(0)).state is State.RUNNING
    waiting = asyncio.create_task(job.ended(LONG))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert (job.now.state, script.let_go) == (State.RUNNING, False)
    await registry.cancel(job)


async def test_cancelling_lets_go_of_the_card_first() -> None:
    """When the cancelling is answered, the authentication has let go of what it held."""
    registry, script = jobs(), Script()
    job = registry.create("reception-1", ASKED, script)
    await job.begun(LONG)
    assert (await registry.cancel(job)).state is State.CANCELLED
    assert script.let_go
    assert (registry.under_way, job.error) == (0, None)


async def test_cancelling_what_has_not_begun_begins_nothing() -> None:
    """An authentication that is cancelled at once never touches a desk."""
    registry, script = jobs(), Script()
    job = registry.create("reception-1", ASKED, script)
    assert (await registry.cancel(job)).state is State.CANCELLED
    assert script.tell == []


async def test_cancelling_what_has_ended_changes_nothing() -> None:
    """An end is an end: the result stays."""
    registry = jobs()
    job = await finished(registry)
    assert (await registry.cancel(job)).state is State.AUTHENTICATED
    assert job.result == RESULT


async def test_a_finished_one_is_forgotten_in_time_and_nothing_of_it_stays() -> None:
    """After its seconds it is as if it had never been: token and evidence are held by nobody."""
    later = Later()
    registry = jobs(later)
    job = await finished(registry, work=_with_evidence)
    assert job.result is not None
    held, identity = ref(job), job.id
    assert [seconds for seconds, _ in later.waiting] == [300]
    later.come()
    assert job.result is None
    with pytest.raises(ResourceAbsent):
        registry.find("reception-1", identity)
    del job
    gc.collect()
    assert held() is None


async def _with_evidence(_tell: Tell) -> Result:
    return Result("token", b"evidence")


async def test_a_clock_that_is_set_keeps_and_ends_nothing() -> None:
    """The time of day is shown, and decides nothing."""
    time = datetime(2026, 1, 1, tzinfo=UTC)
    later = Later()
    registry = Jobs(at_once=1, keep_seconds=300, later=later, clock=lambda: time)
    job = await finished(registry)
    time += timedelta(days=4000)
    assert registry.find("reception-1", job.id) is job
    time -= timedelta(days=8000)
    later.come()
    with pytest.raises(ResourceAbsent):
        registry.find("reception-1", job.id)


async def test_of_one_owner_so_many_are_kept() -> None:
    """Whoever makes too many loses their own oldest, and nobody else's."""
    registry = jobs(kept=2)
    of_another = await finished(registry, "reception-2")
    mine = [await finished(registry) for _ in range(4)]
    for job in mine[:2]:
        with pytest.raises(ResourceAbsent):
            registry.find("reception-1", job.id)
    assert [registry.find("reception-1", job.id) for job in mine[2:]] == mine[2:]
    assert registry.find("reception-2", of_another.id) is of_another


async def test_no_more_than_so_many_at_once() -> None:
    """One too many is refused at once, and there is room again when one has ended."""
    registry, script = jobs(at_once=2), Script()
    running = [registry.create("reception-1", ASKED, script) for _ in range(2)]
    with pytest.raises(GatewayBusy):
        registry.create("reception-2", ASKED, script)
    with pytest.raises(GatewayBusy), registry.admitted():
        pass
    script.go.set()
    for job in running:
        await job.ended(LONG)
    await registry.cancel(registry.create("reception-2", ASKED, script))


@pytest.mark.parametrize("ending", ["itself", "cancelled", "at-once"])
async def test_its_end_is_told_once_however_it_ends(ending: str) -> None:
    """Whoever counts what is under way is told of each end exactly once, and of the forgetting."""
    later, told, script = Later(), list[str](), Script()
    registry = jobs(later)
    job = registry.create(
        "reception-1",
        ASKED,
        script,
        ended=lambda: told.append("ended"),
        forgotten=lambda: told.append("forgotten"),
    )
    if ending != "at-once":
        await job.begun(LONG)
    if ending == "itself":
        script.go.set()
        await job.ended(LONG)
    else:
        await registry.cancel(job)
    assert told == ["ended"]
    registry.forget(job)
    later.come()
    assert told == ["ended", "forgotten"]


async def test_at_the_end_what_runs_may_finish() -> None:
    """Draining waits for what is under way, and begins nothing new meanwhile."""
    registry, script = jobs(), Script()
    job = registry.create("reception-1", ASKED, script)
    await job.begun(LONG)
    draining = asyncio.create_task(registry.drain(LONG))
    await asyncio.sleep(0)
    assert registry.is_draining
    with pytest.raises(GatewayDraining):
        registry.create("reception-1", ASKED, script)
    with pytest.raises(GatewayDraining), registry.admitted():
        pass
    script.go.set()
    await draining
    assert job.now.state is State.AUTHENTICATED
    assert registry.find("reception-1", job.id).result == RESULT


async def test_at_the_end_what_does_not_finish_is_cancelled() -> None:
    """After its seconds a draining cancels the rest, other conversations with cards among it, and says why."""
    registry, script, reading = jobs(), Script(), Script()
    job = registry.create("reception-1", ASKED, script)
    other = asyncio.create_task(_admitted(registry, reading))
    await job.begun(LONG)
    await reading.begun.wait()
    assert registry.under_way == 2
    await registry.drain(0)
    assert (job.now.state, script.let_go, reading.let_go, other.cancelled()) == (
        State.CANCELLED,
        True,
        True,
        True,
    )
    assert isinstance(job.error, GatewayDraining)
    assert registry.under_way == 0


async def _admitted(registry: Jobs, work: Callable[[Tell], Awaitable[Result]]) -> None:
    with registry.admitted():
        await work(lambda _phase: None)


async def test_draining_with_nothing_under_way_is_done_at_once() -> None:
    """An idle appliance ends without waiting."""
    await jobs().drain(LONG)
