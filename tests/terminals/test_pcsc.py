"""A local reader: real pcscd, virtual reader, software cards that behave and others."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from datetime import datetime

import pytest

from appliance.card.apdu import Command
from appliance.card.dialogue import Exchange, Step
from appliance.card.refusal import MEANINGS
from appliance.errors import (
    CardAbsent,
    CardAnswerMalformed,
    CardBusy,
    CardError,
    CardRemoved,
    CardTimeout,
    PcscUnavailable,
    ReaderAbsent,
    ReaderAmbiguous,
)
from appliance.simulator.card import SoftwareCard
from appliance.simulator.faults import Fault, FaultyCard, Garbage, Mute, Removed, Slow, StatusWord, Truncated
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.pki import Hierarchy
from appliance.simulator.reader import inserted
from appliance.terminals.pcsc import card_on
from tests.pcsc import Client, lying_on
from tests.terminals.occupied import Occupied

SELECT = Step(
    "select-application",
    Command(0x00, 0xA4, 0x04, 0x0C, bytes.fromhex("D392F000260100000001")),
    frozenset({0x9000, 0x6F00}),
)
CHALLENGE = Step("get-challenge", Command(0x00, 0x84, 0, 0, le=16))
READER = "Test Reader 1 00 00"

Insert = Callable[..., AbstractContextManager[Client]]


@pytest.fixture
def insert(hierarchy: Hierarchy, now: datetime, private_pcscd: PrivatePcscd) -> Insert:
    """Return what has a card with given faults lie on the first reader, for as long as a block runs."""
    reader = private_pcscd.readers[0]
    assert reader.name == READER

    def put(*faults: Fault) -> AbstractContextManager[Client]:
        return lying_on(reader, FaultyCard(SoftwareCard(hierarchy.issue_card(now=now)), faults))

    return put


async def test_the_card_is_waited_for_and_spoken_to(insert: Insert) -> None:
    """A card put on the reader is found, answers a batch of commands, and answers the next batch too."""
    with insert():
        async with card_on(READER, wait=20, seconds=20) as card:
            selected, challenge = await card.exchange(Exchange((SELECT, CHALLENGE)))
            assert selected.status == 0x9000
            assert len(challenge.data) == 16
            (again,) = await card.exchange(Exchange((CHALLENGE,)))
            assert again.data != challenge.data


async def test_the_card_is_powered_down_after_use(insert: Insert) -> None:
    """Whoever comes next meets a card that has forgotten everything."""
    with insert():
        async with card_on(READER, wait=20, seconds=20) as card:
            await card.exchange(Exchange((SELECT,)))
        async with card_on(READER, wait=20, seconds=20) as card:
            select_file = Step("select-key", Command(0x00, 0xA4, 0x02, 0x0C, b"\x00\x17"))
            (answer,) = await card.exchange(Exchange((select_file,)))
            assert answer.status != 0x9000


async def test_nobody_else_speaks_to_the_card_meanwhile(insert: Insert) -> None:
    """The connection is exclusive; a second one is told that the card is busy."""
    with insert():
        async with card_on(READER, wait=20, seconds=20):
            with pytest.raises(CardBusy):
                async with card_on(READER, wait=20, seconds=20):
                    pytest.fail("a second connection was made")


async def test_an_empty_reader_is_waited_for_no_longer_than_said(private_pcscd: PrivatePcscd) -> None:
    """Without a card there is a clear end to waiting."""
    with pytest.raises(CardAbsent):
        async with card_on(private_pcscd.readers[1].name, wait=0.2, seconds=5):
            pytest.fail("there is no card")


@pytest.mark.parametrize(
    ("name", "error"), [("No Such Reader", ReaderAbsent), ("Test Reader", ReaderAmbiguous)]
)
@pytest.mark.usefixtures("private_pcscd")
async def test_a_name_has_to_fit_exactly_one_reader(name: str, error: type[CardError]) -> None:
    """A name that fits none, or several, is refused: a card is never taken from the wrong desk."""
    with pytest.raises(error):
        async with card_on(name, wait=0.1, seconds=5):
            pytest.fail("no single reader has that name")


FAULTS: list[tuple[Fault, type[CardError]]] = [
    (Mute(2), CardTimeout),
    (Slow(2, 30.0), CardTimeout),
    (Removed(2), CardRemoved),
    (Garbage(2), CardAnswerMalformed),
    (Truncated(1), CardAnswerMalformed),
]


@pytest.mark.parametrize(("fault", "error"), FAULTS, ids=str)
async def test_a_bad_card_is_an_error_and_the_next_card_works(
    fault: Fault, error: type[CardError], insert: Insert
) -> None:
    """A mute, slow, removed or garbling card ends in its own error within the deadline, and harms nobody after it."""
    with insert(fault):
        async with card_on(READER, wait=20, seconds=20) as card:
            if error is CardTimeout:
                card._manner = replace(card._manner, seconds=0.5)
            with pytest.raises(error) as caught:
                await card.exchange(Exchange((SELECT, CHALLENGE)))
            assert caught.value.code == error.code
            with pytest.raises(RuntimeError):
                await card.exchange(Exchange((SELECT,)))
    with insert():
        async with card_on(READER, wait=20, seconds=20) as card:
            assert len(await card.exchange(Exchange((SELECT, CHALLENGE)))) == 2


async def test_an_unexpected_status_word_is_passed_on(insert: Insert) -> None:
    """What a status word means is the dialogue's to say, not the reader's."""
    with insert(StatusWord(1, 0x6F00)):
        async with card_on(READER, wait=20, seconds=20) as card:
            (answer, _) = await card.exchange(Exchange((SELECT, CHALLENGE)))
            assert answer.status == 0x6F00


async def test_a_card_put_back_between_two_exchanges_is_another_card(insert: Insert) -> None:
    """A session belongs to one power-up: a card pulled and put back ends it."""
    with ExitStack() as first:
        first.enter_context(insert())
        async with card_on(READER, wait=20, seconds=20) as card:
            await card.exchange(Exchange((SELECT, CHALLENGE)))
            first.close()
            with insert(), pytest.raises(CardRemoved):
                await card.exchange(Exchange((CHALLENGE,)))


async def test_a_card_changed_unnoticed_has_lost_its_state(
    hierarchy: Hierarchy, now: datetime, private_pcscd: PrivatePcscd
) -> None:
    """Where PC/SC itself does not notice the change, the new card has no application selected and says so."""
    reader = private_pcscd.readers[2]
    cards = [FaultyCard(SoftwareCard(hierarchy.issue_card(now=now))) for _ in range(2)]
    with ExitStack() as first:
        first.enter_context(inserted(cards[0], reader.host, reader.port))
        async with card_on(reader.name, wait=20, seconds=20) as card:
            await card.exchange(Exchange((SELECT, CHALLENGE)))
            first.close()
            with inserted(cards[1], reader.host, reader.port):
                signature = Command(0x00, 0x82, 0x00, 0x80, bytes(256), extended=True)
                try:
                    (answer,) = await card.exchange(Exchange((Step("present-signature", signature),)))
                except CardRemoved:
                    return
                assert MEANINGS["present-signature"][answer.status] is CardRemoved


async def test_a_caller_who_leaves_leaves_the_reader_usable(
    insert: Insert, hierarchy: Hierarchy, now: datetime, private_pcscd: PrivatePcscd
) -> None:
    """An exchange that is cancelled while the card works holds nothing back from the next one."""
    occupied = Occupied(SoftwareCard(hierarchy.issue_card(now=now)), [Slow(1, 1.0)])
    with lying_on(private_pcscd.readers[0], occupied):
        async with card_on(READER, wait=20, seconds=20) as card:
            exchange = asyncio.ensure_future(card.exchange(Exchange((SELECT,))))
            assert await asyncio.to_thread(occupied.busy.wait, 20)
            exchange.cancel()
            with pytest.raises(asyncio.CancelledError):
                await exchange
    with insert():
        async with card_on(READER, wait=20, seconds=20) as card:
            assert len(await card.exchange(Exchange((SELECT, CHALLENGE)))) == 2


async def test_without_the_service_there_is_one_clear_error(
    insert: Insert, private_pcscd: PrivatePcscd
) -> None:
    """A stopped PC/SC service is named as such, and readers work again as soon as it does."""
    private_pcscd.stop()
    try:
        with pytest.raises(PcscUnavailable):
            async with card_on(READER, wait=0.1, seconds=5):
                pytest.fail("there is no service")
    finally:
        private_pcscd.start()
    with insert():
        async with card_on(READER, wait=20, seconds=20) as card:
            assert len(await card.exchange(Exchange((SELECT,)))) == 1
