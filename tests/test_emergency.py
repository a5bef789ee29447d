"""Windows in which nobody has to check holders: two operators, a reason, an end, and a ledger that knows."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from appliance.authentication import CheckMethod
from appliance.emergency import (
    CONFIRM_WITHIN,
    MOST,
    Cause,
    Emergency,
    Proposal,
    Reason,
    Window,
)
from appliance.errors import (
    EmergencyClosed,
    EmergencyEndInvalid,
    EmergencyFull,
    EmergencyNotPermitted,
    EmergencySameOperator,
    LedgerUnavailable,
    ResourceAbsent,
)

BEGAN = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PROPOSAL = Proposal("yamada", Reason.UNCONSCIOUS, BEGAN + 4 * HOUR)


@dataclass(slots=True)
class Book:
    """A ledger in memory, which a test can break or hold up."""

    told: list[tuple[object, ...]] = field(default_factory=list)
    broken: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def propose(self, proposal: Proposal) -> int:
        """Write it down, under a number."""
        return await self._write("propose", proposal)

    async def confirm(self, entry: int, by: str) -> None:
        """Write it down."""
        await self._write("confirm", entry, by)

    async def close(self, entry: int, cause: Cause, by: str | None) -> None:
        """Write it down."""
        await self._write("close", entry, cause, by)

    async def _write(self, *what: object) -> int:
        self.reached.set()
        await self.gate.wait()
        if self.broken:
            raise LedgerUnavailable("the disk is full")
        self.told.append(what)
        return len(self.told) + 99


@dataclass(slots=True)
class Alarm:
    """One call that is to come."""

    seconds: float
    call: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Do not call."""
        self.is_cancelled = True


@dataclass(slots=True)
class Watch:
    """A clock that is set by hand, and the alarms of another that nobody sets."""

    now: datetime = BEGAN
    alarms: list[Alarm] = field(default_factory=list)

    def later(self, seconds: float, call: Callable[[], None]) -> Alarm:
        """Take an alarm."""
        self.alarms.append(Alarm(seconds, call))
        return self.alarms[-1]

    def ring(self) -> None:
        """Have all alarms that count go off."""
        for alarm in self.alarms:
            if not alarm.is_cancelled:
                alarm.call()


@pytest.fixture
def watch() -> Watch:
    """Return the clocks."""
    return Watch()


@pytest.fixture
def book() -> Book:
    """Return the ledger."""
    return Book()


@pytest.fixture
def emergency(book: Book, watch: Watch) -> Emergency:
    """Return an appliance's windows, of eight hours at most."""
    return Emergency(book, lambda: watch.now, 8.0, frozenset({"yamada", "sato", "suzuki"}), later=watch.later)


async def opened(emergency: Emergency, proposal: Proposal = PROPOSAL) -> Window:
    """Return a window that two operators have opened."""
    return await emergency.confirm((await emergency.propose(proposal)).id, "sato")


async def test_two_operators_open_a_window(emergency: Emergency, book: Book) -> None:
    """One proposes, another confirms, and from then on it stands for a check; the ledger has both before it counts."""
    window = await emergency.propose(PROPOSAL)
    assert (window.id, window.is_open) == ("w-100", False)
    with pytest.raises(EmergencyClosed):
        emergency.check("desk-1")
    await emergency.confirm("w-100", "sato")
    check = emergency.check("desk-1")
    assert (check.method, check.by, check.reason) == (CheckMethod.NONE_EMERGENCY, "w-100", "unconscious")
    assert book.told == [("propose", PROPOSAL), ("confirm", 100, "sato")]


async def test_one_operator_is_not_two(emergency: Emergency, book: Book) -> None:
    """Who has proposed it cannot confirm it, before and after another one has."""
    window = await emergency.propose(PROPOSAL)
    with pytest.raises(EmergencySameOperator):
        await emergency.confirm(window.id, "yamada")
    assert emergency.open_for("desk-1") is None
    await emergency.confirm(window.id, "sato")
    with pytest.raises(EmergencySameOperator):
        await emergency.confirm(window.id, "yamada")
    assert len(book.told) == 2


async def test_a_window_is_confirmed_once(emergency: Emergency, book: Book) -> None:
    """Whoever confirms it again, or at the same time, gets the same open window, and nothing is written twice."""
    window = await emergency.propose(PROPOSAL)
    both = await asyncio.gather(*(emergency.confirm(window.id, name) for name in ("sato", "suzuki")))
    assert both[0] == both[1] == await emergency.confirm(window.id, "suzuki")
    assert [what for what, *_ in book.told] == ["propose", "confirm"]


@pytest.mark.parametrize(
    "until",
    [
        BEGAN - HOUR,
        BEGAN,
        BEGAN + 8 * HOUR + timedelta(seconds=1),
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
    ],
)
async def test_an_end_lies_within_what_is_configured(
    until: datetime, emergency: Emergency, book: Book
) -> None:
    """What is over already, or would last longer than the configuration permits, is not even proposed."""
    with pytest.raises(EmergencyEndInvalid):
        await emergency.propose(replace(PROPOSAL, until=until))
    assert (emergency.windows, book.told) == ((), [])
    assert not (await emergency.propose(replace(PROPOSAL, until=BEGAN + 8 * HOUR))).is_open


async def test_by_default_none_can_be_opened(book: Book) -> None:
    """An appliance that was not told otherwise has no such windows, whoever asks."""
    with pytest.raises(EmergencyNotPermitted):
        await Emergency(book, lambda: BEGAN).propose(PROPOSAL)
    assert book.told == []


async def test_who_is_no_operator_opens_none(emergency: Emergency) -> None:
    """Also where somebody got past the table of access."""
    with pytest.raises(EmergencyNotPermitted):
        await emergency.propose(replace(PROPOSAL, by="tanaka"))
    window = await emergency.propose(PROPOSAL)
    with pytest.raises(EmergencyNotPermitted):
        await emergency.confirm(window.id, "tanaka")
    assert emergency.open_for("desk-1") is None


async def test_a_window_is_for_its_desks(emergency: Emergency) -> None:
    """One for some desks lets nobody pass at another; of several, the one that lasts longest is named."""
    short = await opened(emergency, replace(PROPOSAL, until=BEGAN + HOUR))
    long = await opened(emergency, replace(PROPOSAL, desks=frozenset({"desk-1"})))
    assert (emergency.open_for("desk-1"), emergency.open_for("desk-2")) == (long, short)
    await emergency.close(short.id, "suzuki")
    assert emergency.open_for("desk-2") is None


async def test_any_operator_closes_a_window(emergency: Emergency, book: Book) -> None:
    """From then on nobody passes, and it is nowhere to be found."""
    window = await opened(emergency)
    await emergency.close(window.id, "suzuki")
    assert book.told[-1] == ("close", 100, Cause.CLOSED, "suzuki")
    for do in (emergency.close(window.id, "sato"), emergency.confirm(window.id, "sato")):
        with pytest.raises(ResourceAbsent):
            await do


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_window_ends_at_its_time(
    is_open: bool,  # noqa: FBT001 - a table's column
    emergency: Emergency,
    book: Book,
    watch: Watch,
) -> None:
    """By the clock that its end is told by, also where that was set forward; a proposal lapses much sooner."""
    window = await (opened(emergency) if is_open else emergency.propose(PROPOSAL))
    watch.now = BEGAN + (4 * HOUR if is_open else CONFIRM_WITHIN) - timedelta(seconds=1)
    assert emergency.windows == (window,)
    watch.now += timedelta(seconds=1)
    assert not emergency.windows
    assert emergency.open_for("desk-1") is None
    await emergency.end()
    assert book.told[-1] == ("close", 100, Cause.EXPIRED, None)


async def test_a_clock_that_is_set_back_prolongs_nothing(
    emergency: Emergency, book: Book, watch: Watch
) -> None:
    """Beside the clock stands a timer of another one, which nobody sets."""
    await opened(emergency)
    assert [alarm.seconds for alarm in watch.alarms if not alarm.is_cancelled] == [4 * 3600.0]
    watch.now = BEGAN - 24 * HOUR
    watch.ring()
    assert emergency.windows == ()
    await emergency.end()
    assert book.told[-1] == ("close", 100, Cause.EXPIRED, None)


async def test_a_proposal_may_end_before_it_would_lapse(emergency: Emergency, watch: Watch) -> None:
    """Its own end counts, where that comes first."""
    soon = await emergency.propose(replace(PROPOSAL, until=BEGAN + timedelta(minutes=5)))
    assert soon.ends_at == BEGAN + timedelta(minutes=5)
    assert watch.alarms[-1].seconds == 300.0


async def test_there_are_not_too_many(emergency: Emergency) -> None:
    """A list that nobody can read any more helps nobody; one that is closed makes room."""
    windows = [await emergency.propose(PROPOSAL) for _ in range(MOST)]
    with pytest.raises(EmergencyFull):
        await emergency.propose(PROPOSAL)
    await emergency.close(windows[0].id, "yamada")
    await emergency.propose(PROPOSAL)


async def test_what_is_not_durable_opens_nothing(emergency: Emergency, book: Book) -> None:
    """Where the ledger cannot write, there is no proposal, and a proposal stays one."""
    book.broken = True
    with pytest.raises(LedgerUnavailable):
        await emergency.propose(PROPOSAL)
    assert emergency.windows == ()
    book.broken = False
    window = await emergency.propose(PROPOSAL)
    book.broken = True
    with pytest.raises(LedgerUnavailable):
        await emergency.confirm(window.id, "sato")
    assert emergency.open_for("desk-1") is None
    book.broken = False
    await emergency.confirm(window.id, "sato")
    assert emergency.open_for("desk-1") is not None


async def test_a_window_closes_whatever_the_ledger_says(emergency: Emergency, book: Book) -> None:
    """Closing fails towards the safe side: nobody passes, and the operator is not told to try again."""
    window = await opened(emergency)
    book.broken = True
    await emergency.close(window.id, "sato")
    assert emergency.windows == ()


async def test_who_closes_wins_over_who_confirms(emergency: Emergency, book: Book) -> None:
    """A proposal that is taken back while its confirmation is being written does not open."""
    window = await emergency.propose(PROPOSAL)
    book.gate.clear()
    book.reached.clear()
    confirming = asyncio.create_task(emergency.confirm(window.id, "sato"))
    await book.reached.wait()
    book.reached.clear()
    closing = asyncio.create_task(emergency.close(window.id, "yamada"))
    await book.reached.wait()
    book.gate.set()
    await closing
    with pytest.raises(ResourceAbsent):
        await confirming
    assert emergency.open_for("desk-1") is None


@pytest.mark.parametrize(
    ("hours", "operators"),
    [(0.0, {"yamada", "sato"}), (3.0, {"yamada", "sato"}), (8.0, {"yamada"}), (8.0, {"sato", "suzuki"})],
)
async def test_another_configuration_ends_what_it_does_not_permit(
    hours: float, operators: set[str], emergency: Emergency, book: Book
) -> None:
    """Where windows are switched off, are to be shorter, or one of the two is no operator any more."""
    await opened(emergency)
    emergency.change(hours, operators)
    assert emergency.windows == ()
    await emergency.end()
    assert book.told[-1] == ("close", 100, Cause.POLICY, None)


async def test_another_configuration_leaves_what_it_permits(emergency: Emergency) -> None:
    """A reload for another reason drops nobody's window."""
    window = await opened(emergency)
    emergency.change(4.0, {"yamada", "sato"})
    assert emergency.windows == (window,)


async def test_a_configuration_that_changes_meanwhile_counts(emergency: Emergency, book: Book) -> None:
    """What was permitted when it was asked for, and is not when it is durable, does not come to be."""
    book.gate.clear()
    proposing = asyncio.create_task(emergency.propose(PROPOSAL))
    await book.reached.wait()
    emergency.change(0.0, {"yamada", "sato"})
    book.gate.set()
    with pytest.raises(EmergencyNotPermitted):
        await proposing
    await emergency.end()
    assert (emergency.windows, book.told[-1]) == ((), ("close", 100, Cause.POLICY, None))


async def test_the_end_of_the_process_is_theirs(emergency: Emergency, book: Book) -> None:
    """All windows are closed, and it is written why."""
    await opened(emergency)
    await emergency.propose(PROPOSAL)
    await emergency.end()
    assert emergency.windows == ()
    ended = sorted(what[1:] for what in book.told if what[0] == "close")
    assert ended == [(100, Cause.INTERRUPTED, None), (102, Cause.INTERRUPTED, None)]


async def test_every_change_is_told(emergency: Emergency) -> None:
    """Whoever shows windows hears of each that begins, opens and ends."""
    heard: list[list[bool]] = []
    emergency.changed = lambda windows: heard.append([window.is_open for window in windows])
    window = await opened(emergency)
    await emergency.close(window.id, "sato")
    assert heard == [[False], [True], []]
