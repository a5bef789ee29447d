"""The look at a reader and its card: each thing that can be wrong is found, and told with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from appliance.card.profile import shipped
from appliance.catalogue import story
from appliance.errors import BY_CODE
from appliance.simulator.card import SoftwareCard
from appliance.simulator.faults import Fault, FaultyCard, Mute, Removed, StatusWord
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.pki import Hierarchy
from appliance.terminals.examination import (
    ADVICE,
    ReaderAdvice,
    ReaderCheck,
    ReaderExamination,
    ReaderFinding,
    ReaderVerdict,
)
from tests.pcsc import lying_on

PROFILE = shipped("jpki-reference")
# Steps of the examination, counted from the card's power-up.
SELECT, EXTENDED, CERTIFICATE = 1, 4, 6


@contextmanager
def card(hierarchy: Hierarchy, now: datetime, pcscd: PrivatePcscd, *faults: Fault) -> Iterator[str]:
    """Have a card with *faults* on the third reader, and give that reader's name."""
    with lying_on(pcscd.readers[2], FaultyCard(SoftwareCard(hierarchy.issue_card(now=now)), faults)):
        yield pcscd.readers[2].name


async def findings(
    part: str | None, *, wait: float = 10.0, seconds: float = 10.0
) -> dict[ReaderCheck, ReaderFinding]:
    """Return what is found at the reader *part*."""
    examination = ReaderExamination(PROFILE, part, wait=wait, seconds=seconds)
    return {finding.check: finding async for finding in examination.findings()}


async def test_a_good_card_passes_every_check(
    hierarchy: Hierarchy, now: datetime, private_pcscd: PrivatePcscd
) -> None:
    """All checks are made, in their order, timed, and none complains."""
    with card(hierarchy, now, private_pcscd):
        found = await findings(None)
    assert list(found) == list(ReaderCheck)
    assert {finding.verdict for finding in found.values()} == {ReaderVerdict.OK}
    assert found[ReaderCheck.PIN_PAD].advice is ReaderAdvice.NO_PAD
    assert all(finding.seconds > 0 for finding in found.values())


@pytest.mark.parametrize(
    ("fault", "check", "advice"),
    [
        (StatusWord(SELECT, 0x6A82), ReaderCheck.APPLICATION, ReaderAdvice.NOT_JPKI),
        (Removed(SELECT), ReaderCheck.APPLICATION, ReaderAdvice.UNREADABLE),
        (StatusWord(EXTENDED, 0x6700), ReaderCheck.EXTENDED, ReaderAdvice.EXTENDED),
        (StatusWord(CERTIFICATE, 0x6982), ReaderCheck.CERTIFICATE, ReaderAdvice.CERTIFICATE),
    ],
    ids=str,
)
async def test_what_is_wrong_is_found_where_it_is(
    fault: Fault,
    check: ReaderCheck,
    advice: ReaderAdvice,
    hierarchy: Hierarchy,
    now: datetime,
    private_pcscd: PrivatePcscd,
) -> None:
    """One fault fails one check, with the advice for it; checks that do not depend on it are still made."""
    with card(hierarchy, now, private_pcscd, fault) as reader:
        found = await findings(reader)
    failed = [finding for finding in found.values() if finding.verdict is ReaderVerdict.FAILED]
    assert [(finding.check, finding.advice) for finding in failed] == [(check, advice)]
    assert (ReaderCheck.PIN_PAD in found) is (check in {ReaderCheck.EXTENDED, ReaderCheck.CERTIFICATE})
    assert failed[0].code in BY_CODE


async def test_a_card_that_does_not_come_back_is_the_last_finding(
    hierarchy: Hierarchy, now: datetime, private_pcscd: PrivatePcscd
) -> None:
    """A card that is lost over the extended command ends the examination there; nothing else is blamed for it."""
    with card(hierarchy, now, private_pcscd, Removed(EXTENDED)) as reader:
        found = await findings(reader)
    assert list(found) == list(ReaderCheck)[: list(ReaderCheck).index(ReaderCheck.EXTENDED) + 1]
    last = found[ReaderCheck.EXTENDED]
    assert last.verdict is ReaderVerdict.FAILED
    assert last.advice in {ReaderAdvice.NO_CARD, ReaderAdvice.UNREADABLE}


@pytest.mark.parametrize("fault", [Removed(CERTIFICATE), Mute(CERTIFICATE)], ids=str)
async def test_a_card_that_goes_while_its_certificate_is_read_is_the_last_finding(
    fault: Fault, hierarchy: Hierarchy, now: datetime, private_pcscd: PrivatePcscd
) -> None:
    """Nothing is said of the reader's keys: asked without a card, it may seem to have none."""
    with card(hierarchy, now, private_pcscd, fault) as reader:
        found = await findings(reader, wait=1.0, seconds=2.0)
    assert list(found)[-1] is ReaderCheck.CERTIFICATE
    last = found[ReaderCheck.CERTIFICATE]
    assert (last.verdict, last.advice) == (ReaderVerdict.FAILED, ReaderAdvice.UNREADABLE)


async def test_a_mute_card_does_not_hold_the_examination(
    hierarchy: Hierarchy, now: datetime, private_pcscd: PrivatePcscd
) -> None:
    """A card that never answers is a finding after the time that a check has."""
    with card(hierarchy, now, private_pcscd, Mute(SELECT)) as reader:
        found = await findings(reader, wait=1.0, seconds=1.0)
    assert found[ReaderCheck.APPLICATION].code == "card_timeout"


@pytest.mark.parametrize(
    ("part", "check", "advice"),
    [
        ("No Such Reader", ReaderCheck.READER, ReaderAdvice.NO_READER),
        ("Test Reader", ReaderCheck.READER, ReaderAdvice.WHICH_READER),
        ("Test Reader 3 00 00", ReaderCheck.CARD, ReaderAdvice.NO_CARD),
    ],
)
@pytest.mark.usefixtures("private_pcscd")
async def test_without_reader_or_card_that_is_the_last_check(
    part: str, check: ReaderCheck, advice: ReaderAdvice
) -> None:
    """No reader, several, or one without a card: what cannot work any more is not tried."""
    found = await findings(part, wait=0.1)
    assert list(found)[-1] is check
    assert (found[check].verdict, found[check].advice) == (ReaderVerdict.FAILED, advice)


async def test_a_stopped_service_is_the_first_finding(private_pcscd: PrivatePcscd) -> None:
    """Without the service there is nothing else to look at."""
    private_pcscd.stop()
    try:
        found = await findings(None)
    finally:
        private_pcscd.start()
    assert {check: finding.advice for check, finding in found.items()} == {
        ReaderCheck.SERVICE: ReaderAdvice.SERVICE
    }


def test_every_check_and_advice_has_its_words() -> None:
    """Nothing can be found that cannot be told, and the permission's advice is not the service's."""
    for key in [f"check-{check}" for check in ReaderCheck] + [f"advice-{advice}" for advice in ReaderAdvice]:
        assert story(f"doctor-{key}").ja != story(f"doctor-{key}").en
    assert ADVICE.keys() <= BY_CODE.keys()
    assert ADVICE["pcsc_refused"] is ReaderAdvice.PERMISSION
