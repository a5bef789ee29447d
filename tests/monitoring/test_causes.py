"""
Each alert by its real cause: a daemon becomes ill in many ways, and a real Prometheus with our rules notices each.

The tests share one ward and go on in their order, which is that of a long bad day; each leaves the ward well, but for
the last, which cost the daemon. What cannot be had here is named in docs/alerts.en.md; the last test counts.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.simulator.faults import StatusWord, WrongSignature
from appliance.simulator.key_files import new_key
from tests.monitoring.prometheus import Watching, watching
from tests.monitoring.ward import LOCAL, REMOTE, Ward
from tests.monitoring.ward import ward as made
from tests.monitoring.watched import ROOT, alerts, panels, recorded
from tests.shim.rules import NUMBERS, Action, Function

pytestmark = pytest.mark.timeout(300)

_NOTHING_WHERE_ALL_IS_WELL = {
    "Failures of the HSM",
    "Recoveries",
    "Answers other than 9000",
    "Failures",
}
"""Panels that show failures alone."""


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    """The ward that the tests share."""
    with made() as there:
        yield there


@pytest.fixture
async def watch(ward: Ward) -> AsyncIterator[Watching]:
    """What asks the ward's Prometheus."""
    async with watching(ward.prometheus) as there:
        yield there


async def test_where_all_is_well_no_alert_is_raised_and_every_query_has_data(
    ward: Ward, watch: Watching
) -> None:
    """Recording rules and panels show what the daemon has done; the eligibility service alone is away."""
    async with ward.terminal():
        await watch.holds("jpki_terminal_connected == 1")
        with ward.card():
            assert await ward.ask(eligibility=True) == "authenticated"
            assert await ward.ask(REMOTE) == "authenticated"
        for query in (*recorded(), *recorded().values()):
            await watch.holds(query)
        for title, queries in panels().items():
            for query in queries:
                if title in _NOTHING_WHERE_ALL_IS_WELL:
                    await watch.results(query)
                else:
                    await watch.holds(query)
        await watch.silent(*alerts())
        rules = [rule for group in (await watch.ask("rules"))["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        # And a terminal that goes.
    await watch.fires("JpkiTerminalAway", terminal="ward-1")


async def test_a_terminal_that_was_renamed(ward: Ward, watch: Watching) -> None:
    """Whoever is configured is missed, though never seen since the start; who is configured no longer is not."""
    with ward.site.changed(('\nalias = "ward-1"\n', '\nalias = "ward-2"\n')):
        await asyncio.to_thread(ward.daemon.reload)
        await watch.fires("JpkiTerminalAway", terminal="ward-2")
        await watch.holds('absent(jpki_terminal_connected{terminal="ward-1"})')
    await asyncio.to_thread(ward.daemon.reload)
    await watch.fires("JpkiTerminalAway", terminal="ward-1")
    await watch.holds('absent(jpki_terminal_connected{terminal="ward-2"})')


async def test_cards_that_are_not_read_and_cards_that_are_not_genuine(ward: Ward, watch: Watching) -> None:
    """A dirty reader's errors, a card of another scheme that refuses our chain, and a forged signature."""
    with ward.card(StatusWord(3, 0x6F00)):
        await watch.fires("JpkiCardsUnreadable", ward.ask)
    with ward.card(anchor_key=new_key().public_key()):
        await watch.fires("JpkiInstitutionRefused", ward.ask)
    with ward.card(WrongSignature()):
        await watch.fires("JpkiProofsInvalid", ward.ask, outcome="proof_invalid")


async def test_an_eligibility_service_that_is_away(ward: Ward, watch: Watching) -> None:
    """People are authenticated, and nobody learns whether they are insured."""

    async def ask() -> None:
        assert await ward.ask(eligibility=True) == "authenticated"

    with ward.card():
        await watch.fires("JpkiEligibilityFails", ask)


async def test_strangers_who_take_up_all_room(ward: Ward, watch: Watching) -> None:
    """They connect and say nothing; who has waited for longest gives way."""
    with ward.strangers():
        await watch.fires("JpkiConnectionsRefused", cause="crowded")


async def test_an_emergency_window(ward: Ward, watch: Watching) -> None:
    """Two operators open it; with the window the alert goes."""
    async with ward.emergency():
        await watch.fires("JpkiEmergencyOpen")
    await watch.silent("JpkiEmergencyOpen")


async def test_as_many_authentications_as_are_allowed(ward: Ward, watch: Watching) -> None:
    """Two desks wait for cards that do not come, and no more than two are allowed."""
    async with ward.terminal():
        await watch.holds("jpki_terminal_connected == 1")
        async with ward.waiting(LOCAL), ward.waiting(REMOTE):
            await watch.fires("JpkiBusy")


async def test_certificates_and_lists_that_end(ward: Ward, watch: Watching) -> None:
    """The listener's certificate has half a day left; a new CA's list does not come, then to its end, and holders are refused."""
    ward.certify_server(timedelta(hours=12))
    ward.trust_the_new_generation()
    await asyncio.to_thread(ward.daemon.reload)
    await watch.fires("JpkiCertificateEnded", certificate="tls-server")
    await watch.fires("JpkiListsMissing", issuer="authority-3")
    deliver = ward.deliver_lists_that_end()
    await watch.holds('jpki_crl_counts_until_timestamp_seconds{issuer="authority-3"} > 0', deliver)
    await watch.silent("JpkiListsMissing")
    await watch.fires("JpkiListsGettingOld", issuer="authority-3")
    await watch.fires("JpkiListsStale", issuer="authority-3")
    with ward.card(**ward.of_the_new_generation):
        await watch.fires("JpkiRevocationUnknown", ward.ask, method="crl")
    await watch.fires("JpkiCertificateEnds", certificate="tls-server")
    ward.certify_server(timedelta(days=365))
    await asyncio.to_thread(ward.daemon.reload)
    ward.deliver_list(timedelta(days=1))
    await watch.silent("JpkiListsGettingOld", "JpkiListsStale", "JpkiCertificateEnds", "JpkiCertificateEnded")


async def test_a_certificate_of_an_operator_that_ends(ward: Ward, watch: Watching) -> None:
    """Who comes with a certificate that has a week left is named until another one is shown."""
    ward.certify_operator(timedelta(days=7))
    await ward.look()
    await watch.fires("JpkiPeerCertificateEnds", peer="operator-2")
    ward.certify_operator(timedelta(days=365))
    await ward.look()
    await watch.silent("JpkiPeerCertificateEnds")


async def test_a_machine_whose_clock_and_disk_fail(ward: Ward, watch: Watching) -> None:
    """No other clock is followed; data is durable only after most of a second; copies have no place to go."""
    ward.machine.clock(synchronised=False)
    ward.machine.disk(milliseconds=700)
    with ward.card(), ward.no_copies():
        await watch.fires("JpkiClockUnsynchronised")
        await watch.fires("JpkiLedgerSlow", ward.ask)
        await watch.fires("JpkiLedgerCopiesFail", sink="directory")
    ward.machine.clock(synchronised=True)
    ward.machine.disk(milliseconds=0)
    await watch.silent("JpkiClockUnsynchronised")


async def test_an_hsm_that_is_too_busy_or_hangs(ward: Ward, watch: Watching) -> None:
    """Signatures take long, and others wait behind them; then none comes, and pcscd hangs as well."""
    with ward.card():

        async def ask() -> None:
            ward.rules.set(Function.SIGN, Action.DELAY, 1100, times=5)
            await ward.ask()

        await watch.fires("JpkiHsmSlow", ask)
        await watch.fires("JpkiHsmQueueing", ask)
    ward.rules.lift(Function.SIGN)
    with ward.silent_pcscd():
        with ward.hsm(Function.SIGN, Action.HANG):
            await watch.fires("JpkiHsmCanaryOld")
        await watch.fires("JpkiPcscStuck")
    await watch.silent("JpkiHsmCanaryOld", "JpkiPcscStuck")


async def test_an_hsm_that_breaks_again_and_again(ward: Ward, watch: Watching) -> None:
    """Its device fails in a row; a worker that is lost cannot log in any more, while the other one goes on."""

    async def fail() -> None:
        if not ward.rules.active(Function.SIGN_INIT):
            ward.rules.set(Function.SIGN_INIT, Action.RETURN, NUMBERS["CKR_DEVICE_ERROR"], times=6)
        await asyncio.sleep(0.1)

    await watch.fires("JpkiHsmUnsteady", fail)
    ward.rules.lift(Function.SIGN_INIT)
    await ward.workers_ready()
    with ward.hsm(Function.LOGIN, Action.HANG):
        await ward.lose_workers(1)
        await watch.fires("JpkiHsmWorkersMissing")
    await watch.silent("JpkiHsmWorkersMissing")


async def test_an_hsm_that_is_gone_and_a_reader_too(ward: Ward, watch: Watching) -> None:
    """Nobody is authenticated, no checkpoint is signed, and what was asked meanwhile stays under none."""

    async def ask() -> None:
        assert (await ward.ask()).startswith("hsm_")
        await asyncio.sleep(0.05)

    await ward.workers_ready()
    with ward.site.without_hsm():
        with ward.card():
            await watch.fires("JpkiNoHsm")
            await watch.fires("JpkiHsmDown", hsm="hsm-1")
            for _ in range(5):
                await ask()
            await watch.fires("JpkiAuthenticationsFail", ask)
        ward.site.pcscd.stop()
        await watch.fires("JpkiReaderDown", reader=LOCAL)
        await watch.fires("JpkiLedgerFails", sink="signer")
        await watch.fires("JpkiLedgerCheckpointOld")
    ward.site.pcscd.start()  # not in another thread: it would end with that
    await watch.silent("JpkiNoHsm", "JpkiHsmDown", "JpkiLedgerCheckpointOld", "JpkiReaderDown")


async def test_a_ledger_without_room(ward: Ward, watch: Watching) -> None:
    """The disk is full: nobody is authenticated without an entry; and with room again everybody is."""
    with ward.card():
        with ward.full_disk():
            await watch.fires("JpkiLedgerFails", ward.ask, sink="store")
        async with asyncio.timeout(60):
            while await ward.ask() != "authenticated":
                pass


async def test_a_token_whose_key_is_gone(ward: Ward, watch: Watching) -> None:
    """Somebody has deleted the institution key, which no try heals."""
    await ward.workers_ready()
    with ward.token_kept():
        ward.tool("--delete-object", "--type", "privkey", "--label", "institution")
        await watch.fires("JpkiHsmRefuses", hsm="hsm-1")
        ward.end()
    ward.start()


async def test_a_daemon_that_is_killed_again_and_again(ward: Ward, watch: Watching) -> None:
    """It is away, and then it is there for too short a time."""

    async def kill() -> None:
        await ward.workers_ready()
        await watch.holds("up == 1")
        ward.kill()
        await watch.fires("JpkiDown")
        ward.start()
        await watch.holds("up == 1")

    while not await watch.results("changes(process_start_time_seconds[3m]) > 2"):
        await kill()
    await watch.fires("JpkiRestarts")


async def test_a_pin_that_was_changed(ward: Ward, watch: Watching) -> None:
    """Workers that have to log in again are refused, and none tries a second time."""
    await ward.workers_ready()
    ward.tool("--change-pin", "--new-pin", "87654321")
    await ward.lose_workers(2)
    await watch.fires("JpkiHsmPinTriesLow", hsm="hsm-1")


def test_each_alert_was_provoked_or_is_named_with_its_reason() -> None:
    """docs/alerts has a list of what cannot be provoked here; nothing is missing, and nothing is there twice."""
    provoked = re.findall(r'\.fires\(\s*"(\w+)"', Path(__file__).read_text("utf-8"))
    for language in ("en", "ja"):
        page = (ROOT / "docs" / f"alerts.{language}.md").read_text("utf-8")
        excused = re.findall(r"^- \*\*(Jpki\w+)\*\*", page, re.MULTILINE)
        assert sorted({*provoked, *excused}) == sorted(alerts())
        assert not set(provoked) & set(excused)
