"""Which source is asked, and what comes of it when none knows."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from appliance.catalogue import Language, error_text
from appliance.errors import (
    BY_CODE,
    ApplianceError,
    CertificateExpired,
    CertificateNotYetValid,
    CertificateRevoked,
    CertificateUnknown,
    RevocationDataInvalid,
    RevocationDefect,
    RevocationStale,
    RevocationUnavailable,
)
from appliance.revocation.importer import import_lists
from appliance.revocation.importing import Report
from appliance.revocation.lists import ListSource
from appliance.revocation.policy import Sources
from appliance.revocation.watch import watch
from appliance.trust.certificates import HolderCertificate
from appliance.trust.revocation import Assurance, Method, Revocation, Standing
from tests.revocation.conftest import Site

GOOD = Standing(Revocation.GOOD, Assurance.ONLINE, Method.OCSP)
SILENT: Sequence[ApplianceError] = (
    RevocationUnavailable("nobody there"),
    RevocationStale("old"),
    RevocationDataInvalid(RevocationDefect.NONCE, "not ours"),
)


class Enough(Exception):
    """The watch has been seen to do what it does."""


@dataclass(slots=True)
class Told:
    """A source that says what it is told to."""

    says: Standing | ApplianceError
    method: Method = Method.OCSP
    asked: int = field(default=0)

    async def check(self, _holder: HolderCertificate, _now: datetime) -> Standing:
        """Say it."""
        self.asked += 1
        if isinstance(self.says, ApplianceError):
            raise self.says
        return self.says


async def test_the_first_that_knows_decides(holder: HolderCertificate, now: datetime) -> None:
    """After an answer nobody else is asked."""
    second = Told(CertificateRevoked("later"))
    assert await Sources([Told(GOOD), second]).check(holder, now) == GOOD
    assert second.asked == 0


@pytest.mark.parametrize("failure", SILENT, ids=lambda failure: failure.code)
async def test_who_cannot_say_is_passed_over(
    failure: ApplianceError, holder: HolderCertificate, now: datetime
) -> None:
    """A source that is silent, old or not to be believed leaves the question to the next."""
    assert await Sources([Told(failure), Told(GOOD)]).check(holder, now) == GOOD


@pytest.mark.parametrize("answer", [CertificateRevoked("yes"), CertificateUnknown("no such")])
async def test_revoked_and_unknown_are_answers(
    answer: ApplianceError, holder: HolderCertificate, now: datetime
) -> None:
    """Nobody after it can turn revoked or unknown into good."""
    with pytest.raises(type(answer)):
        await Sources([Told(answer), Told(GOOD)], accept_unchecked=True).check(holder, now)


@pytest.mark.parametrize("failure", SILENT, ids=lambda failure: failure.code)
async def test_not_knowing_is_a_refusal(
    failure: ApplianceError, holder: HolderCertificate, now: datetime
) -> None:
    """Where nobody knows, the first one's reason is the refusal: fail closed."""
    other = RevocationUnavailable("the other")
    with pytest.raises(type(failure), match=failure.detail):
        await Sources([Told(failure), Told(other)]).check(holder, now)


async def test_not_knowing_is_accepted_only_in_so_many_words(
    holder: HolderCertificate, now: datetime
) -> None:
    """Where a site accepts that, and where it asks nobody, the standing is unchecked and says when."""
    for sources in (Sources([Told(SILENT[0])], accept_unchecked=True), Sources([])):
        standing = await sources.check(holder, now)
        assert (standing.result, standing.assurance) == (Revocation.UNCHECKED, Assurance.UNCHECKED)
        assert (standing.method, standing.checked_at) == (Method.NONE, now)


async def test_what_is_observed_is_a_closed_set(holder: HolderCertificate, now: datetime) -> None:
    """Method and result are told, good or a code, and nothing of the certificate."""
    told: list[tuple[Method, str]] = []
    answers: list[Standing | ApplianceError] = [GOOD, *SILENT, CertificateRevoked("yes")]
    for says in answers:
        sources = Sources([Told(says)], True, lambda method, result: told.append((method, result)))  # noqa: FBT003
        with suppress(ApplianceError):
            await sources.check(holder, now)
    assert [method for method, _ in told] == [Method.OCSP] * 5
    assert {result for _, result in told} <= {"good", *BY_CODE}


@pytest.mark.parametrize("language", Language)
def test_five_results_are_told_apart_by_whoever_reads_them(language: Language) -> None:
    """Revoked, expired, not yet valid, unknown and unavailable: each has words of its own for clerk and operator."""
    errors = (
        *(CertificateRevoked, CertificateExpired, CertificateNotYetValid),
        *(CertificateUnknown, RevocationUnavailable),
    )
    told = [error_text(error.code) for error in errors]
    for words in ({text.title for text in told}, {text.operator for text in told}):
        assert len({text.in_language(language) for text in words}) == 5


async def test_nothing_of_a_list_is_logged_or_told(
    site: Site, holder: HolderCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The law: of revocation data, reports, messages and logs hold times and results, and no serial number."""
    serials = (holder.certificate.serial_number, 0x5EAF00D5)
    site.deliver("aoba.crl", serials)
    site.deliver("bad.crl", serials, number=3, now=site.now + timedelta(hours=3))
    reports = []

    async def import_now() -> Report:
        reports.append(await import_lists(site.folder, site.state, site.anchors))
        if len(reports) == 2:
            raise Enough
        site.deliver("more.crl", serials, number=11, now=site.now + timedelta(minutes=1))
        return reports[-1]

    with caplog.at_level(logging.DEBUG), pytest.raises(Enough):
        await watch(site.folder, import_now, 0.01)
    with pytest.raises(CertificateRevoked) as caught:
        await ListSource(site.index, timedelta(days=2)).check(holder, site.now)
    said = " ".join(
        (caplog.text, *(str(vars(record)) for record in caplog.records), repr(reports), str(caught.value))
    )
    for serial in serials:
        for written in (str(serial), f"{serial:x}", f"{serial:X}"):
            assert written not in said
    assert "imported" in said
