"""Emergency windows in the log: nothing is reserved with nobody's check outside of one, and an auditor can tell."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import EmergencyClosed, LedgerDamaged, LedgerUnavailable
from appliance.ledger import audit, export, retention
from appliance.ledger.entries import (
    Entry,
    Finished,
    Reserved,
    WindowClosed,
    WindowConfirmed,
    WindowProposed,
    decode,
    encode,
)
from appliance.ledger.export import Format
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.recorder import Recorder
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import Store, stored_entries
from appliance.ledger.windows import index_of, name_of
from tests.ledger.conftest import ORIGIN, MemoryKey, NewStore

PROPOSED = WindowProposed(time=1_000, by="yamada", reason="unconscious", until=9_000, desks=("desk-1",))
UNCHECKED = Reserved(time=2_000, mode="pinless", terminal="desk-1", check="none_emergency", checked_by="w-0")
CONFIRMED = WindowConfirmed(time=1_500, window=0, by="sato")
CLOSED = WindowClosed(time=3_000, window=0, cause="closed", by="sato")
FINISHED = Finished(time=2_500, reserved=2, outcome="authenticated", holder="ab" * 32)


@dataclass(slots=True)
class Disk:
    """Where the store fails at its next writes, as many as a test says."""

    failing: int = 0
    kept: int = 0
    """Of those, writes that are durable all the same."""
    seen: list[str] = field(default_factory=list)

    def __call__(self, point: str) -> None:
        """Fail, or not."""
        if self.kept and point == "append.committed":
            self.kept -= 1
            raise LedgerUnavailable("the answer was lost")
        if self.failing and point == "append.beginning":
            self.failing -= 1
            raise LedgerUnavailable("the disk is full")


@asynccontextmanager
async def kept(store: Store, key: MemoryKey) -> AsyncIterator[Keeper]:
    """Give the keeper of the log in *store*."""
    async with Log(store, seconds=10) as log:
        keeper = Keeper(Recorder(log, lambda: 4_000), key, key.verifier(store.origin), monotonic=lambda: 0.0)
        await keeper.start()
        yield keeper


def written(store: Store) -> list[Entry]:
    """Return what the log in *store* holds."""
    with store.reading() as reader:
        return [decode(content) for _, content in stored_entries(reader, 0, reader.head().size)]


def audited(store: Store, key: MemoryKey) -> audit.Report:
    """Have the log in *store* verified with its contents."""
    with store.reading() as reader:
        return audit.verify(reader, key.verifier(store.origin), contents=True)


async def test_the_story_of_a_window(new_store: NewStore, key: MemoryKey) -> None:
    """Proposed, confirmed, used, closed: each is an entry, in this order, and the audit counts them."""
    async with kept(new_store(), key) as keeper:
        recorder = keeper.recorder
        assert await recorder.propose(PROPOSED) == 0
        await recorder.confirm(CONFIRMED)
        assert await recorder.reserve(UNCHECKED) == 2
        await recorder.finish(FINISHED)
        await recorder.close(CLOSED)
        assert recorder.settled == 5
        await keeper.checkpoint()
    assert written(new_store()) == [PROPOSED, CONFIRMED, UNCHECKED, FINISHED, CLOSED]
    report = audited(new_store(), key)
    assert (report.windows, report.unchecked, report.unfinished) == (1, 1, 0)


@pytest.mark.parametrize(
    ("entry", "before"),
    [
        (UNCHECKED, 0),
        (UNCHECKED, 1),
        (UNCHECKED, 3),
        (msgspec.structs.replace(UNCHECKED, checked_by="w-1"), 2),
        (msgspec.structs.replace(UNCHECKED, checked_by="operator-3"), 2),
        (msgspec.structs.replace(UNCHECKED, terminal="desk-2"), 2),
        (msgspec.structs.replace(UNCHECKED, time=9_000), 2),
    ],
)
async def test_nothing_is_reserved_outside_of_a_window(
    entry: Reserved, before: int, store: Store, key: MemoryKey
) -> None:
    """Before any, one that is only proposed, closed, another one, none at all, at another desk, after its end: no key is used."""
    async with kept(store, key) as keeper:
        recorder = keeper.recorder
        steps: list[Callable[[], object]] = [
            lambda: recorder.propose(PROPOSED),
            lambda: recorder.confirm(CONFIRMED),
            lambda: recorder.close(CLOSED),
        ]
        for step in steps[:before]:
            await step()  # type: ignore[misc]  # each is awaitable
        with pytest.raises(EmergencyClosed):
            await recorder.reserve(entry)
        assert keeper.log.size == before


async def test_a_restart_closes_windows(new_store: NewStore, key: MemoryKey) -> None:
    """What is stored opens nothing: after a crash a window is closed as interrupted, and stays closed."""
    async with kept(new_store(), key) as keeper:
        await keeper.recorder.propose(PROPOSED)
        await keeper.recorder.confirm(CONFIRMED)
        await keeper.checkpoint()
    for _ in range(2):
        async with kept(new_store(), key) as keeper:
            with pytest.raises(EmergencyClosed):
                await keeper.recorder.reserve(UNCHECKED)
    ended = WindowClosed(time=4_000, window=0, cause="interrupted")
    assert written(new_store()) == [PROPOSED, CONFIRMED, ended]


async def test_what_is_forged_into_the_store_opens_nothing(new_store: NewStore, key: MemoryKey) -> None:
    """Somebody who writes a proposal and its confirmation into the stopped appliance's log has no window for it."""
    async with Log(new_store(), seconds=10) as log:
        for entry in (PROPOSED, CONFIRMED):
            await log.append(encode(entry))
    async with kept(new_store(), key) as keeper:
        with pytest.raises(EmergencyClosed):
            await keeper.recorder.reserve(UNCHECKED)


async def test_a_window_is_closed_although_the_disk_is_full(tmp_path: object, key: MemoryKey) -> None:
    """From the call on nobody passes; its entry, as it was meant, follows when there is space."""
    disk = Disk()
    store = SqliteStore(tmp_path / "log", ORIGIN, disk)  # type: ignore[operator]  # a path, as the fixture gives it
    async with kept(store, key) as keeper:
        await keeper.recorder.propose(PROPOSED)
        await keeper.recorder.confirm(CONFIRMED)
        disk.failing = 1
        with pytest.raises(LedgerUnavailable):
            await keeper.recorder.close(CLOSED)
        with pytest.raises(EmergencyClosed):
            await keeper.recorder.reserve(UNCHECKED)
        await keeper.recorder.sweep()
        await keeper.recorder.sweep()
    assert written(store) == [PROPOSED, CONFIRMED, CLOSED]


@pytest.mark.parametrize("lost", ["propose", "confirm", "close"])
async def test_an_answer_that_is_lost_leaves_an_honest_log(
    lost: str, tmp_path: object, key: MemoryKey
) -> None:
    """
    Whatever became durable although nobody was told so: the log verifies, and nothing is open that was not told.

    A proposal is closed as interrupted, a confirmation opens nothing until it is given again, a closing is not repeated.
    """
    disk = Disk()
    store = SqliteStore(tmp_path / "log", ORIGIN, disk)  # type: ignore[operator]  # a path, as the fixture gives it
    async with kept(store, key) as keeper:
        recorder = keeper.recorder
        for name, step in (
            ("propose", lambda: recorder.propose(PROPOSED)),
            ("confirm", lambda: recorder.confirm(CONFIRMED)),
            ("close", lambda: recorder.close(CLOSED)),
        ):
            disk.kept = int(name == lost)
            if name != lost:
                await step()
                continue
            with pytest.raises(LedgerUnavailable):
                await step()
            with pytest.raises(EmergencyClosed):
                await recorder.reserve(UNCHECKED)
            break
        # The first finds what became durable, the second closes it.
        await keeper.turn()
        await keeper.turn()
        assert recorder.settled == (0 if lost == "confirm" else keeper.log.size)
    expected: dict[str, list[Entry]] = {
        "propose": [PROPOSED, WindowClosed(time=4_000, window=0, cause="interrupted")],
        "confirm": [PROPOSED, CONFIRMED],
        "close": [PROPOSED, CONFIRMED, CLOSED],
    }
    assert written(store) == expected[lost]
    audited(store, key)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([UNCHECKED], "entry 0 has nobody's check"),
        ([PROPOSED, msgspec.structs.replace(UNCHECKED)], "entry 1 has nobody's check"),
        ([PROPOSED, CONFIRMED, CLOSED, UNCHECKED], "entry 3 has nobody's check"),
        ([PROPOSED, msgspec.structs.replace(CONFIRMED, by="yamada")], "by the one who had proposed it"),
        ([CONFIRMED], "no window that could be opened"),
        ([PROPOSED, CLOSED, CONFIRMED], "no window that could be opened"),
        ([PROPOSED, CLOSED, CLOSED], "no window, or over"),
        ([CLOSED], "no window, or over"),
        (
            [PROPOSED, CONFIRMED, msgspec.structs.replace(UNCHECKED, terminal="desk-2")],
            "entry 2 has nobody's check",
        ),
        ([PROPOSED, CONFIRMED, msgspec.structs.replace(UNCHECKED, time=9_001)], "entry 2 has nobody's check"),
        (
            [PROPOSED, CONFIRMED, msgspec.structs.replace(UNCHECKED, checked_by="sato")],
            "entry 2 has nobody's check",
        ),
    ],
)
async def test_an_auditor_finds_what_was_not_permitted(
    entries: list[Entry], why: str, store: Store, key: MemoryKey
) -> None:
    """A log that was written by something else than this appliance is told by its meaning, too."""
    async with Log(store, seconds=10) as log:
        for entry in entries:
            await log.append(encode(entry))
    with pytest.raises(LedgerDamaged, match=why):
        audited(store, key)


async def test_what_was_pruned_is_not_missed(store: Store, key: MemoryKey) -> None:
    """Where a window's beginning is gone after its time, what is left verifies; while it is open nothing of it goes."""
    async with kept(store, key) as keeper:
        await keeper.recorder.propose(PROPOSED)
        await keeper.recorder.confirm(CONFIRMED)
        await keeper.checkpoint()
        assert retention.prune(store, 99_000) == 0
        reserved = await keeper.recorder.reserve(UNCHECKED)
        await keeper.recorder.finish(msgspec.structs.replace(FINISHED, reserved=reserved))
        await keeper.recorder.close(CLOSED)
        await keeper.checkpoint()
    assert retention.prune(store, 2_000) == 2
    report = audited(store, key)
    assert (report.size, report.windows, report.unchecked) == (5, 0, 1)


async def test_windows_are_exported(store: Store, key: MemoryKey) -> None:
    """In each format a reader sees who, why, until when, where, and that an authentication broke the glass."""
    async with kept(store, key) as keeper:
        await keeper.recorder.propose(msgspec.structs.replace(PROPOSED, desks=("desk-1", "ward-3.left")))
        await keeper.recorder.confirm(CONFIRMED)
        await keeper.recorder.reserve(UNCHECKED)
        await keeper.recorder.close(CLOSED)
    with store.reading() as reader:
        plain, syslog, fhir = (list(export.lines(reader, ORIGIN, form)) for form in Format)
    assert json.loads(plain[0]) == {
        **msgspec.to_builtins(PROPOSED),
        "desks": ["desk-1", "ward-3.left"],
        "index": 0,
    }
    assert b' desks="desk-1,ward-3.left"' in syslog[0]
    assert b" window_confirmed " in syslog[1]
    events = [json.loads(line) for line in fhir]
    codes = [event.get("subtype", [{"code": None}])[0]["code"] for event in events]
    assert codes == ["110132", "110127", None, "110138"]
    assert events[2]["purposeOfEvent"][0]["coding"][0]["code"] == "BTG"
    assert [event["agent"][0]["who"]["identifier"]["value"] for event in events] == [
        "yamada",
        "sato",
        "w-0",
        "sato",
    ]


@given(st.integers(0, (1 << 53) - 1))
def test_a_window_is_called_after_its_entry(index: int) -> None:
    """From its name in a result the entry is found."""
    assert index_of(name_of(index)) == index


@given(st.text(max_size=20))
def test_what_is_no_name_is_none(text: str) -> None:
    """Any text is a window's name, in its one spelling, or none."""
    index = index_of(text)
    assert index is None or name_of(index) == text


STEPS = st.lists(
    st.tuples(st.sampled_from(["propose", "confirm", "use", "close"]), st.integers(0, 3), st.integers(0, 3)),
    max_size=14,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_whatever_is_asked_in_whatever_order_the_log_verifies(
    steps: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The recorder writes nothing that its auditor would object to."""
    key = MemoryKey()
    store = SqliteStore(tmp_path_factory.mktemp("log") / "log", ORIGIN)
    used = 0
    async with kept(store, key) as keeper:
        recorder, windows, opened = keeper.recorder, list[int](), dict[int, str]()
        for what, which, who in steps:
            window = windows[which % len(windows)] if windows else 0
            if what == "propose":
                windows.append(
                    await recorder.propose(msgspec.structs.replace(PROPOSED, by=f"operator-{who}"))
                )
                opened[windows[-1]] = f"operator-{who}"
            elif what == "confirm" and opened.get(window, f"operator-{who}") != f"operator-{who}":
                await recorder.confirm(WindowConfirmed(time=1_500, window=window, by=f"operator-{who}"))
            elif what == "use":
                asked = msgspec.structs.replace(UNCHECKED, checked_by=name_of(window))
                try:
                    index = await recorder.reserve(asked)
                except EmergencyClosed:
                    continue
                used += 1
                await recorder.finish(msgspec.structs.replace(FINISHED, reserved=index))
            elif what == "close" and window in opened:
                await recorder.close(msgspec.structs.replace(CLOSED, window=window))
                windows.remove(window)
                del opened[window]
        await keeper.checkpoint()
    assert audited(store, key).unchecked == used
