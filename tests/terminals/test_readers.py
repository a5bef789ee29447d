"""Readers under supervision: real pcscd, virtual readers, software cards; services and cards that come and go."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, aclosing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median
from time import perf_counter

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.authentication import converse
from appliance.card import jpki
from appliance.card.apdu import Command
from appliance.card.cvc import Chain, check_chain
from appliance.card.dialogue import Exchange, Step, VerifyHolder
from appliance.card.jpki import HolderProof
from appliance.card.nonce import Nonce
from appliance.card.profile import Header, shipped
from appliance.errors import (
    CardAbsent,
    CardError,
    CardRemoved,
    CardTimeout,
    PcscUnavailable,
    ReaderBusy,
    ReaderStuck,
    ReaderWithoutExtended,
)
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import Fault, FaultyCard, Mute, Outcome, Removed, Slow
from appliance.simulator.pcscd import PrivatePcscd, VirtualReader
from appliance.simulator.pki import Hierarchy
from appliance.simulator.reader import inserted
from appliance.terminals import scard
from appliance.terminals.readers import Readers
from appliance.terminals.session import PcscCard
from appliance.terminals.transport import Extended
from appliance.terminals.view import CardInserted, CardTaken, Desk, Event, ReaderDown, ReaderUp, View
from tests.pcsc import Client
from tests.terminals.occupied import Meeting, Occupied

WAIT, SECONDS, PATIENCE = 15.0, 15.0, 30.0
PROFILE = shipped("jpki-reference")
SELECT = Exchange((Step("select-application", Command(0x00, 0xA4, 0x04, 0x0C, PROFILE.application.aid)),))
SELECTS = Exchange(SELECT.steps * 3)
VERIFY = Exchange((*SELECT.steps, VerifyHolder("verify-holder", Header.from_hex("00200080"), 4)))


@dataclass(slots=True)
class Hand:
    """A hand that puts cards made of *data* on *reader*, and takes them away."""

    reader: VirtualReader
    data: CardData
    lying: ExitStack = field(default_factory=ExitStack)

    def put(self, *faults: Fault, card: FaultyCard | None = None) -> None:
        """Put a card on the reader, in the place of one that lies there."""
        self.lying.close()
        card = card or FaultyCard(SoftwareCard(self.data), faults)
        self.lying.enter_context(inserted(card, self.reader.host, self.reader.port))

    def take(self) -> None:
        """Leave the reader empty."""
        self.lying.close()

    async def replace(self, *faults: Fault, card: FaultyCard | None = None) -> None:
        """
        Put a card on the reader when the service has seen it empty, and wait until it has seen the card.

        Who asks sooner may still get the one before.
        """
        self.take()
        count = await asyncio.to_thread(_await_empty, self.reader)
        self.put(*faults, card=card)
        await asyncio.to_thread(_await_card, self.reader, count)


@dataclass(frozen=True, slots=True)
class Institution:
    """What authenticates: a chain, and its key in memory."""

    chain: Chain
    key: rsa.RSAPrivateKey

    async def sign(self, challenge: bytes) -> bytes:
        """Sign as the HSM does."""
        return self.key.sign(challenge, padding.PKCS1v15(), SHA256())

    async def authenticate(self, card: PcscCard, number: int) -> HolderProof:
        """Have *card* prove its holder: with PIN at odd numbers, without at even ones."""
        nonce = Nonce.from_random(number.to_bytes(32))
        if number % 2:
            return await converse(jpki.with_pin(PROFILE, nonce), card, self.sign)
        return await converse(jpki.pinless(PROFILE, self.chain, nonce), card, self.sign)


@pytest.fixture(scope="module")
def institution(hierarchy: Hierarchy) -> Institution:
    """Return an institution that the software cards accept."""
    key = rsa.generate_private_key(65_537, 2_048)
    leaf = hierarchy.issue_institution(key.public_key(), "9912345")
    return Institution(check_chain(hierarchy.institution.intermediate, leaf, hierarchy.root_key), key)


@pytest.fixture
async def hands(
    private_pcscd: PrivatePcscd, hierarchy: Hierarchy, now: datetime
) -> AsyncIterator[tuple[Hand, Hand]]:
    """Return a hand for each of the first two readers; at the end the readers are empty, and pcscd has seen it."""
    data = hierarchy.issue_card(now=now)
    first, second = (Hand(reader, data) for reader in private_pcscd.readers[:2])
    try:
        yield first, second
    finally:
        for hand in (first, second):
            hand.take()
            await asyncio.to_thread(_await_empty, hand.reader)


def _await_empty(reader: VirtualReader) -> int:
    with Client.of(reader) as client:
        return client.await_removal()


def _await_card(reader: VirtualReader, since: int) -> None:
    with Client.of(reader) as client:
        client.await_card(since)


def desks(*hands: Hand, **options: object) -> dict[str, Desk]:
    """Return a desk for the reader of each hand."""
    return {
        f"desk-{number}": Desk(hand.reader.name, **options)  # type: ignore[arg-type]
        for number, hand in enumerate(hands, start=1)
    }


async def proved(readers: Readers, alias: str, institution: Institution, number: int) -> HolderProof:
    """Return the proof of the card at the desk *alias*."""
    async with readers.card(alias, wait=WAIT, seconds=SECONDS, enter_pin=lambda: "1234") as card:
        return await institution.authenticate(card, number)


async def expect(events: AsyncIterator[Event], *wanted: Event) -> None:
    """Wait for *wanted*, and nothing else in between."""
    async with asyncio.timeout(PATIENCE):
        for event in wanted:
            assert await anext(events) == event


async def test_what_happens_at_a_desk_is_told_across_a_restart_of_the_service(
    hands: tuple[Hand, Hand], private_pcscd: PrivatePcscd
) -> None:
    """Readers and cards that come and go are events, also when pcscd ends and another one begins."""
    hand, _ = hands
    async with Readers(desks(hand)) as readers, aclosing(readers.events()) as events:  # type: ignore[type-var]
        await expect(events, ReaderUp("desk-1"))
        hand.put()
        await expect(events, CardInserted("desk-1"))
        hand.take()
        await expect(events, CardTaken("desk-1"))
        began, polled = readers.view.up_since, readers.view.polled_at
        private_pcscd.stop()
        try:
            await expect(events, ReaderDown("desk-1"))
            assert readers.view.up_since is None
            assert [status.up for status in readers.status()] == [False]
        finally:
            private_pcscd.start()
        await expect(events, ReaderUp("desk-1"))
        assert began is not None
        assert readers.view.up_since is not None
        assert readers.view.up_since > began
        assert readers.view.polled_at > polled


async def test_service_and_cards_fail_in_the_middle_of_fifty_authentications(
    hands: tuple[Hand, Hand], private_pcscd: PrivatePcscd, institution: Institution
) -> None:
    """Each mishap has its own code, nothing hangs, and the next card works without restarting us."""
    hand, _ = hands
    pulled, restarted = {4, 13, 22, 38, 41}, {17, 30}
    errors: dict[int, str] = {}

    async def restart(busy: threading.Event) -> None:
        assert await asyncio.to_thread(busy.wait, PATIENCE)
        private_pcscd.restart()  # in this thread, with which it would end

    async with Readers(desks(hand)) as readers:
        hand.put()
        for number in range(50):
            mishap: asyncio.Task[None] | None = None
            if number in pulled:
                await hand.replace(Removed(1 + number % 8))
            if number in restarted:
                card = Occupied(SoftwareCard(hand.data), [Slow(3, 60.0)])
                await hand.replace(card=card)
                mishap = asyncio.create_task(restart(card.busy))
            try:
                async with asyncio.timeout(PATIENCE):
                    proof = await proved(readers, "desk-1", institution, number)
            except CardError as error:
                errors[number] = f"{error.code}: {error.detail}"
            else:
                assert len(proof.signature) == 256
            if mishap is not None:
                await mishap
            if number in pulled | restarted:
                await hand.replace()
    codes = {number: error.partition(":")[0] for number, error in errors.items()}
    wanted = dict.fromkeys(pulled, CardRemoved.code) | dict.fromkeys(restarted, PcscUnavailable.code)
    assert codes == wanted, errors


async def test_a_card_that_comes_while_it_is_connected_to_is_connected_to_again(
    hands: tuple[Hand, Hand], institution: Institution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the service knew before it was asked may be the card before: nobody is told that this one was taken away."""
    hand, _ = hands
    asked = scard.Context.state
    stale = iter([True])

    def state(
        context: scard.Context, reader: str, known: scard.ReaderState | None = None, wait_ms: int = 0
    ) -> scard.ReaderState:
        seen = asked(context, reader, known, wait_ms)
        if threading.current_thread().name == "readers" or not next(stale, False):
            return seen
        return replace(seen, insertions=seen.insertions - 1)

    hand.put()
    async with Readers(desks(hand)) as readers, asyncio.timeout(PATIENCE):
        await proved(readers, "desk-1", institution, 0)
        monkeypatch.setattr(scard.Context, "state", state)
        proof = await proved(readers, "desk-1", institution, 2)
    assert len(proof.signature) == 256
    assert next(stale, None) is None


@dataclass(slots=True)
class Clock:
    """A loop that knows the time, which the test sets, and nothing else."""

    now: float = 0.0

    def time(self) -> float:
        """Return the time."""
        return self.now


@pytest.mark.parametrize(("put_on_again_at", "tries"), [(3.0, 3), (WAIT + 3.0, 2)])
async def test_a_card_that_is_put_on_again_may_fail_once_more(
    monkeypatch: pytest.MonkeyPatch, put_on_again_at: float, tries: int
) -> None:
    """Connecting to a card fails for a moment, to each anew: who fumbles has the whole wait, and no more than that."""
    readers = Readers({"desk-1": Desk("Reader")})
    clock, place, tried, taken = Clock(), readers._places["desk-1"], [], asyncio.Event()
    readers._loop = clock  # type: ignore[assignment]  # of a loop, this needs the time alone

    def see(insertions: int, *, card: bool) -> None:
        readers._see(View(clock.now, 0.0, {"Reader 1": scard.ReaderState(card, insertions, 0)}))

    async def connect(_function: object, _seconds: float) -> tuple[str, str]:
        tried.append(clock.now)
        if len(tried) == 1:
            see(2, card=False)
            taken.set()
        if len(tried) <= 2:
            raise CardRemoved("a card came or went while it was connected to")
        return "connection", "able"

    async def put_on_again() -> None:
        await taken.wait()
        clock.now = put_on_again_at
        see(3, card=True)

    monkeypatch.setattr(place.attendant, "call", connect)
    see(1, card=True)
    with nullcontext() if tries == 3 else pytest.raises(CardRemoved):
        await asyncio.gather(readers._connect(place, ExitStack(), WAIT, SECONDS), put_on_again())
    assert tried == [0.0, *[put_on_again_at] * (tries - 1)]


async def test_two_readers_work_at_once(hands: tuple[Hand, Hand], institution: Institution) -> None:
    """Either card answers only while the other one is asked, too: one desk does not wait for the other."""
    party = threading.Barrier(len(hands))
    cards = [Meeting(SoftwareCard(hand.data), party) for hand in hands]
    async with Readers(desks(*hands)) as readers:
        for hand, card in zip(hands, cards, strict=True):
            await hand.replace(card=card)
        proofs = await asyncio.gather(
            *(proved(readers, alias, institution, 0) for alias in ("desk-1", "desk-2"))
        )
    assert [len(proof.signature) for proof in proofs] == [256, 256]
    assert all(card.met for card in cards)


async def test_how_long_two_readers_take_at_once(
    hands: tuple[Hand, Hand], institution: Institution, record_property: Callable[[str, object], None]
) -> None:
    """
    Two desks authenticate side by side; how long both take against each alone is reported, and not judged here.

    The cards take their time, as real ones do: with cards that answer at once the machine's load is all that is
    measured. Which goes first alternates.
    """
    count, rounds = 2, 2
    ratios = []
    async with Readers(desks(*hands)) as readers:
        for hand in hands:
            hand.put(*(Slow(step, 0.06) for step in (2, 4, 8, 10, 12)))

        async def work(*aliases: str) -> float:
            began = perf_counter()
            for number in range(0, 2 * count, 2):
                proofs = await asyncio.gather(
                    *(proved(readers, alias, institution, number) for alias in aliases)
                )
                assert [len(proof.signature) for proof in proofs] == [256] * len(aliases)
            return perf_counter() - began

        for turn in range(rounds):
            taken = {}
            for aliases in (("desk-1",), ("desk-2",), ("desk-1", "desk-2"))[:: -1 if turn % 2 else 1]:
                taken[aliases] = await work(*aliases)
            ratios.append(taken["desk-1", "desk-2"] / max(taken["desk-1",], taken["desk-2",]))
    report = f"both at once over the slower one alone: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
    record_property("two readers", report)
    print(report)  # noqa: T201  # the measurement, for whoever runs pytest with -rP


async def test_a_desk_has_one_authentication_at_a_time(hands: tuple[Hand, Hand]) -> None:
    """A second request is refused at once and disturbs neither the first one nor the other desk."""
    async with Readers(desks(*hands)) as readers:
        for hand in hands:
            hand.put()
        async with readers.card("desk-1", wait=WAIT, seconds=SECONDS) as card:
            with pytest.raises(ReaderBusy):
                async with readers.card("desk-1", wait=WAIT, seconds=SECONDS):
                    pytest.fail("two authentications on one card")
            async with readers.card("desk-2", wait=WAIT, seconds=SECONDS) as other:
                assert len(await other.exchange(SELECT)) == 1
            assert len(await card.exchange(SELECT)) == 1
        async with readers.card("desk-1", wait=WAIT, seconds=SECONDS) as card:
            assert len(await card.exchange(SELECT)) == 1


async def test_a_frozen_card_holds_its_own_desk_until_it_is_taken_away(hands: tuple[Hand, Hand]) -> None:
    """A desk whose card never answers is told to be stuck, the other works on, and removal frees the desk."""
    frozen, well = hands
    async with Readers(desks(*hands)) as readers:
        frozen.put(Mute(1))
        well.put()
        async with readers.card("desk-1", wait=WAIT, seconds=SECONDS) as card:
            # Not before: connecting, too, takes its time.
            card._manner = replace(card._manner, seconds=0.3)
            with pytest.raises(CardTimeout):
                await card.exchange(SELECT)
        with pytest.raises(ReaderStuck):
            async with readers.card("desk-1", wait=WAIT, seconds=SECONDS):
                pytest.fail("the card before is still busy")
        assert [status.stuck_since is not None for status in readers.status()] == [True, False]
        async with readers.card("desk-2", wait=WAIT, seconds=SECONDS) as card:
            assert len(await card.exchange(SELECT)) == 1
        await frozen.replace()
        async with readers.card("desk-1", wait=WAIT, seconds=SECONDS) as card:
            assert len(await card.exchange(SELECT)) == 1
            assert [status.stuck_since for status in readers.status()] == [None, None]


class Listening(FaultyCard):
    """A card that remembers which instructions it heard."""

    heard: Counter[int]

    def respond(self, command: bytes) -> Outcome:
        """Answer as ever."""
        self.heard[command[1]] += 1
        return super().respond(command)


async def test_a_pin_that_comes_too_late_is_not_sent(hands: tuple[Hand, Hand]) -> None:
    """Who enters the PIN after the request has ended loses no try by it."""
    hand, _ = hands
    card = Listening(SoftwareCard(hand.data))
    card.heard = Counter()
    asked, entered = threading.Event(), threading.Event()

    def enter() -> str:
        asked.set()
        entered.wait(PATIENCE)
        return "0000"

    async with Readers(desks(hand, pin_seconds=2.0)) as readers:
        hand.put(card=card)
        async with readers.card("desk-1", wait=WAIT, seconds=2.0, enter_pin=enter) as at_reader:
            with pytest.raises(CardTimeout):
                await at_reader.exchange(VERIFY)
        assert asked.is_set()
        entered.set()
        async with readers.card("desk-1", wait=WAIT, seconds=SECONDS) as at_reader:
            assert len(await at_reader.exchange(SELECT)) == 1
    assert card.heard == {0xA4: 2}


@pytest.mark.parametrize(
    "faults", [(Removed(1),), ()], ids=["pulled-in-a-command", "pulled-before-power-down"]
)
async def test_a_card_put_on_at_once_after_another_was_pulled_is_seen(
    faults: tuple[Fault, ...], hands: tuple[Hand, Hand]
) -> None:
    """Although pcscd has not looked in between, the next card is not overlooked."""
    hand, _ = hands
    async with Readers(desks(hand)) as readers:
        hand.put(*faults)
        async with readers.card("desk-1", wait=WAIT, seconds=SECONDS) as card:
            with pytest.raises(CardRemoved) if faults else nullcontext():
                await card.exchange(SELECT)
            hand.take()
        hand.put()
        async with readers.card("desk-1", wait=WAIT, seconds=SECONDS) as card:
            assert len(await card.exchange(SELECT)) == 1


async def test_a_card_changed_between_two_exchanges_ends_the_session(hands: tuple[Hand, Hand]) -> None:
    """The session belongs to the card it began with, and to its power-up."""
    hand, _ = hands
    async with Readers(desks(hand)) as readers, aclosing(readers.events()) as events:  # type: ignore[type-var]
        hand.put()
        await expect(events, ReaderUp("desk-1"), CardInserted("desk-1"))
        async with readers.card("desk-1", wait=WAIT, seconds=SECONDS) as card:
            await card.exchange(SELECT)
            hand.take()
            await expect(events, CardTaken("desk-1"))
            hand.put()
            await expect(events, CardInserted("desk-1"))
            with pytest.raises(CardRemoved):
                await card.exchange(SELECT)


async def test_a_reader_without_extended_apdus_is_told_and_harms_no_card(
    hands: tuple[Hand, Hand], institution: Institution
) -> None:
    """What needs extended APDUs has its own code; the PIN works, and so does an answer in short form."""
    hand, _ = hands
    async with Readers(desks(hand, extended=Extended.NO)) as readers:
        hand.put()
        with pytest.raises(ReaderWithoutExtended):
            await proved(readers, "desk-1", institution, 0)
        assert len((await proved(readers, "desk-1", institution, 1)).signature) == 256


async def test_a_slow_reader_gets_its_pauses(hands: tuple[Hand, Hand]) -> None:
    """Before each command but the first, the configured time passes."""
    hand, _ = hands
    async with Readers(desks(hand, delay_seconds=0.1)) as readers:
        hand.put()
        async with readers.card("desk-1", wait=WAIT, seconds=SECONDS) as card:
            began = perf_counter()
            assert len(await card.exchange(SELECTS)) == 3
            assert perf_counter() - began >= 0.2


async def test_without_a_card_the_wait_has_an_end(hands: tuple[Hand, Hand]) -> None:
    """An empty reader is told as such, and the desk is free afterwards."""
    async with Readers(desks(hands[0])) as readers:
        for _ in range(2):
            with pytest.raises(CardAbsent):
                async with readers.card("desk-1", wait=0.1, seconds=SECONDS):
                    pytest.fail("there is no card")
