"""What is told to whoever looks after the gateway: judged by a snapshot, with what to do for each trouble."""

from typing import Any

import msgspec
import pytest

from appliance.catalogue import Language, catalogue, error_text, story
from appliance.errors import BY_CODE
from appliance.gateway.condition import CertificateEnd, Condition, Copies, Failure, HsmKey
from appliance.gateway.desks import DeskState, DeskStatus
from appliance.gateway.findings import Advice, Finding, Part, Verdict, findings
from tests.gateway.house import NOW, condition

AT = NOW.timestamp()
DAY = 86_400.0
DESKS = (
    DeskStatus("desk-1", "local", DeskState.EMPTY, AT),
    DeskStatus("ward-1.left", "remote", DeskState.CARD, AT),
)


def changed(part: str, **changes: Any) -> Condition:  # noqa: ANN401  # of whatever type the member is
    """Return a condition in which all is well but for *changes* of a *part*."""
    how = condition()
    if part == "hsms":
        return msgspec.structs.replace(how, hsms=(msgspec.structs.replace(how.hsms[0], **changes),))
    if not part:
        return msgspec.structs.replace(how, **changes)
    return msgspec.structs.replace(how, **{part: msgspec.structs.replace(getattr(how, part), **changes)})


def copies(**changes: Any) -> Condition:  # noqa: ANN401  # of whatever type the member is
    """Return a condition whose copies are otherwise."""
    known = Copies(place=True, covered=0, at=None, waiting=None)
    return changed("ledger", copies=msgspec.structs.replace(known, **changes))


def troubles(how: Condition, desks: tuple[DeskStatus, ...] = DESKS) -> list[Finding]:
    """Return what is not well."""
    return [one for one in findings(how, desks) if one.verdict is not Verdict.OK]


def test_where_all_is_well_every_part_is_told() -> None:
    """Whoever looks sees what was looked at, in its order, and nothing to do."""
    found = findings(condition(), DESKS)
    assert [one.part for one in found] == list(Part)
    assert all(one.verdict is Verdict.OK and one.advice is None and one.code is None for one in found)


def test_what_an_appliance_does_not_have_is_not_told() -> None:
    """Without readers and terminals there is nothing to say of them."""
    parts = {one.part for one in findings(condition(), ())}
    assert parts == set(Part) - {Part.READERS, Part.TERMINALS}


@pytest.mark.parametrize(
    ("how", "part", "verdict", "what"),
    [
        (changed("hsms", pin_marker=True), Part.HSM, Verdict.WARNING, "hsm_pin_rejected"),
        (changed("hsms", workers={"ready": 1, "absent": 1}), Part.HSM, Verdict.WARNING, Advice.HSM_STRUGGLES),
        (
            changed("hsms", keys=(HsmKey(label="token", canary_at=AT - 400, canary_seconds=0.1),)),
            Part.HSM,
            Verdict.WARNING,
            Advice.HSM_STRUGGLES,
        ),
        (
            changed("hsms", keys=(HsmKey(label="token", canary_at=None, canary_seconds=None),)),
            Part.HSM,
            Verdict.WARNING,
            Advice.HSM_STRUGGLES,
        ),
        (condition(hsm=False), Part.HSM, Verdict.FAILED, "hsm_unavailable"),
        (condition(ledger=False), Part.LEDGER, Verdict.FAILED, "ledger_unavailable"),
        (
            changed("ledger", size=5_000, checkpoint_size=None),
            Part.LEDGER,
            Verdict.WARNING,
            Advice.CHECKPOINT_BEHIND,
        ),
        (copies(place=False), Part.COPIES, Verdict.WARNING, Advice.NO_COPIES),
        (copies(waiting=7_200.0), Part.COPIES, Verdict.WARNING, Advice.COPIES_BEHIND),
        (condition(revocation=False), Part.REVOCATION, Verdict.FAILED, Advice.LIST_OLD),
        (changed("revocation", sources=()), Part.REVOCATION, Verdict.WARNING, Advice.NOTHING_CHECKED),
        (
            changed("revocation", usable=False, this_update=None),
            Part.REVOCATION,
            Verdict.FAILED,
            Advice.LIST_MISSING,
        ),
        (
            changed("revocation", missing=("authority-2",)),
            Part.REVOCATION,
            Verdict.WARNING,
            Advice.LIST_MISSING,
        ),
        (
            changed("revocation", this_update=AT - 40 * 3_600),
            Part.REVOCATION,
            Verdict.WARNING,
            Advice.LIST_OLD,
        ),
        (
            changed("revocation", this_update=AT - 10 * 3_600, next_update=AT + 2 * 3_600),
            Part.REVOCATION,
            Verdict.WARNING,
            Advice.LIST_OLD,
        ),
        (
            changed("", certificates=(CertificateEnd(name="tls-server", not_after=AT + 10 * DAY),)),
            Part.CERTIFICATES,
            Verdict.WARNING,
            Advice.CERTIFICATE_ENDS,
        ),
        (
            changed("", certificates=(CertificateEnd(name="tls-server", not_after=AT - DAY),)),
            Part.CERTIFICATES,
            Verdict.FAILED,
            Advice.CERTIFICATE_ENDS,
        ),
        (
            changed("", peer_certificates=(CertificateEnd(name="ward-1", not_after=AT - DAY),)),
            Part.CERTIFICATES,
            Verdict.WARNING,
            Advice.PEER_CERTIFICATE_ENDS,
        ),
        (changed("", clock_synchronised=False), Part.CLOCK, Verdict.WARNING, Advice.CLOCK),
        (changed("", clock_synchronised=None), Part.CLOCK, Verdict.WARNING, Advice.CLOCK_UNKNOWN),
    ],
)
def test_each_trouble_has_its_finding(how: Condition, part: Part, verdict: Verdict, what: str) -> None:
    """One part is in trouble, it is told how gravely, and what to do about it."""
    (found,) = troubles(how)
    assert (found.part, found.verdict) == (part, verdict)
    assert what in {found.advice, found.code}


def test_an_authority_without_lists_is_named_beside_lists_that_have_ended() -> None:
    """One is no reason to be silent about the other: both lock out, each other people."""
    how = changed("revocation", usable=False, missing=("authority-2",), next_update=AT - 60)
    assert [(one.verdict, one.advice, one.subjects) for one in troubles(how)] == [
        (Verdict.WARNING, Advice.LIST_MISSING, ("authority-2",)),
        (Verdict.FAILED, Advice.LIST_OLD, ()),
    ]


def test_an_hsm_that_failed_is_told_by_its_last_failure() -> None:
    """What stopped it leads to what helps; where another one serves, that is no outage."""
    down = changed("hsms", state="down", last_failure=Failure(code="hsm_token_absent", at=AT))
    for serving, verdict in ((None, Verdict.FAILED), ("hsm-2", Verdict.WARNING)):
        (found,) = troubles(msgspec.structs.replace(down, serving=serving))
        assert (found.code, found.verdict, found.subjects) == ("hsm_token_absent", verdict, ("hsm-1",))


@pytest.mark.parametrize(
    ("kind", "state", "verdict", "what"),
    [
        ("local", DeskState.ABSENT, Verdict.FAILED, "reader_absent"),
        ("local", DeskState.STUCK, Verdict.FAILED, "reader_stuck"),
        ("remote", DeskState.ABSENT, Verdict.WARNING, Advice.TERMINAL_AWAY),
        ("remote", DeskState.STUCK, Verdict.WARNING, Advice.TERMINAL_AWAY),
    ],
)
def test_desks_are_told_together(kind: str, state: DeskState, verdict: Verdict, what: str) -> None:
    """However many desks are away, it is one finding that names the first of them."""
    names = [f"ward-{number:03}" for number in range(20)]
    end = "" if kind == "local" else ".left"
    desks = tuple(DeskStatus(name + end, kind, state, AT) for name in names)  # type: ignore[arg-type]  # one of two words
    (found,) = troubles(condition(), desks)
    assert (found.verdict, found.subjects, found.more) == (verdict, tuple(names[:8]), 12)
    assert what in {found.advice, found.code}


def test_a_terminal_counts_with_all_its_readers() -> None:
    """One that has not come since the start is away, and so is one with a reader that cannot be used."""
    desks = (
        DeskStatus("ward-1.left", "remote", DeskState.EMPTY, AT),
        DeskStatus("ward-1.right", "remote", DeskState.STUCK, AT),
        DeskStatus("ward-2.left", "remote", DeskState.BUSY, AT),
    )
    found = findings(condition(), desks, ["ward-3", "ward-2", "ward-1"])
    told = {one.verdict: one.subjects for one in found if one.part is Part.TERMINALS}
    assert told == {Verdict.WARNING: ("ward-1", "ward-3"), Verdict.OK: ("ward-2",)}


def test_what_is_advised_can_be_read() -> None:
    """Each advice has a text of what was found and of what to do, and each code is one of the catalogue."""
    for advice in Advice:
        for text in (catalogue().page[f"console-found-{advice}"], story(f"doctor-do-{advice}")):
            assert text.in_language(Language.EN) != text.in_language(Language.JA)
    for part in Part:
        assert f"console-part-{part}" in catalogue().page
    for verdict in Verdict:
        assert f"console-verdict-{verdict}" in catalogue().page
    codes = {"hsm_pin_rejected", "hsm_unavailable", "reader_absent", "reader_stuck", "ledger_unavailable"}
    assert codes <= set(BY_CODE)
    assert all(error_text(code).operator for code in codes)
