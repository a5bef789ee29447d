"""What `doctor` makes of each part that is not as it should be, without the part itself."""

import asyncio
import errno
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance import config
from appliance.config import Configuration
from appliance.doctor import desks, examination, hsm, ledger, machine, validity
from appliance.doctor.asked import Told
from appliance.doctor.finding import Advice, Check, Finding, Verdict, worst
from appliance.errors import LedgerProofInvalid, LedgerRolledBack
from appliance.gateway.condition import (
    CertificateEnd,
    Condition,
    Copies,
    Failure,
    Hsm,
    HsmKey,
    Ledger,
    Revocation,
)
from appliance.gateway.desks import DeskState, DeskStatus
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.merkle import Frontier
from appliance.ledger.note import Note, VerifierKey
from appliance.ledger.sinks import Directory
from appliance.ledger.sqlite import SqliteStore
from appliance.revocation.index import Listing
from tests.cli.house import furnished

DAY = 86_400.0
NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
"""When the daemon told how it is; what is older or younger is so by this clock."""
UP = Hsm(
    alias="hsm-1",
    state="up",
    workers={"ready": 1, "busy": 1, "absent": 0},
    keys=(HsmKey(label="token", canary_at=NOW.timestamp(), canary_seconds=0.001),),
    breaker_open=False,
    last_failure=None,
    pin_marker=False,
)


@pytest.fixture(scope="module")
def configuration() -> Iterator[Configuration]:
    """The configuration of a site."""
    with furnished() as site:
        yield config.load(site.file)


def condition(*hsms: Hsm) -> Condition:
    """Return a condition with *hsms*."""
    return Condition(
        version="0.1.0",
        time=NOW,
        started_at=NOW.timestamp(),
        hsms=hsms,
        serving=None,
        queued=0,
        ledger=Ledger(
            origin="log",
            usable=True,
            code=None,
            size=0,
            checkpoint_size=None,
            failures={},
            copies=Copies(place=False, covered=0, at=None, waiting=None),
        ),
        revocation=Revocation(
            usable=True, sources=(), this_update=None, next_update=None, longest_age_hours=48.0, missing=()
        ),
        certificates=(),
        peer_certificates=(),
        clock_synchronised=None,
        authentications=0,
    )


def changed(one: Hsm, **changes: object) -> Hsm:
    """Return *one* with *changes*."""
    return msgspec.structs.replace(one, **changes)


@pytest.mark.parametrize(
    ("one", "verdict", "what"),
    [
        (UP, Verdict.OK, None),
        (
            changed(UP, state="down", last_failure=Failure(code="hsm_timeout", at=0)),
            Verdict.FAILED,
            "hsm_timeout",
        ),
        (changed(UP, state="recovering"), Verdict.FAILED, "hsm_unavailable"),
        (changed(UP, state="down", pin_marker=True), Verdict.FAILED, "hsm_pin_rejected"),
        (changed(UP, workers={"ready": 1, "absent": 1}), Verdict.WARNING, Advice.HSM_STRUGGLES),
        (
            changed(UP, keys=(HsmKey(label="token", canary_at=NOW.timestamp() - DAY, canary_seconds=0.1),)),
            Verdict.WARNING,
            Advice.HSM_STRUGGLES,
        ),
        (
            changed(UP, keys=(HsmKey(label="token", canary_at=None, canary_seconds=None),)),
            Verdict.WARNING,
            Advice.HSM_STRUGGLES,
        ),
    ],
)
def test_an_hsm_is_judged_by_what_the_daemon_tells(one: Hsm, verdict: Verdict, what: str | None) -> None:
    """Down and barred are failures with the code of what stopped it; a worker or a canary that is missing is a warning."""
    (found,) = hsm.told(condition(one))
    assert (found.verdict, found.subject) == (verdict, "hsm-1")
    assert (found.advice or found.code) == what


async def test_root_does_not_open_an_hsm_of_another_account(
    configuration: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What root would leave there, the appliance could not use; nobody logs in."""
    state = tmp_path / "state"
    state.mkdir()
    if os.geteuid() == 0:
        await asyncio.to_thread(shutil.chown, state, 65534)
    monkeypatch.setattr("appliance.doctor.hsm.os.geteuid", lambda: 0)
    settings = configuration.settings
    elsewhere = msgspec.structs.replace(settings.hsm, state=str(state))
    moved = Configuration(msgspec.structs.replace(settings, hsm=elsewhere), configuration.folder)
    (found,) = await hsm.opened(moved)
    assert (found.verdict, found.advice) == (Verdict.WARNING, Advice.HSM_NOT_OPENED)
    assert "root" in found.detail


@pytest.mark.parametrize(
    ("days", "verdict", "code"),
    [
        (-1, Verdict.FAILED, "certificate_expired"),
        (0.5, Verdict.FAILED, None),
        (20, Verdict.WARNING, None),
        (40, Verdict.OK, None),
    ],
)
def test_certificates_are_told_before_they_end(
    days: float,
    verdict: Verdict,
    code: str | None,
    configuration: Configuration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A month before is a warning, the last day a failure, as the alerts have it."""
    ends = [CertificateEnd(name="tls-server", not_after=time.time() + days * DAY)]
    monkeypatch.setattr(validity, "certificate_ends", lambda _configuration: ends)
    (found,) = validity.certificates(configuration)
    assert (found.verdict, found.code) == (verdict, code)


def test_a_certificate_of_a_peer_that_ended_is_a_warning(configuration: Configuration) -> None:
    """It locks out one who is named; what the appliance itself needs is well."""
    ends = (
        CertificateEnd(name="ward-1", not_after=time.time() - DAY),
        CertificateEnd(name="ward-2", not_after=2e10),
    )
    theirs, ours = validity.certificates(configuration, ends)
    assert (theirs.verdict, theirs.subject, theirs.advice) == (
        Verdict.WARNING,
        "ward-1",
        Advice.PEER_CERTIFICATE_ENDS,
    )
    assert ours.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("age", "left", "verdict"),
    [
        (1, 10, Verdict.OK),
        (40, 10, Verdict.WARNING),
        (10, 2, Verdict.WARNING),
        (49, 10, Verdict.FAILED),
        (1, -1, Verdict.FAILED),
    ],
)
def test_lists_are_judged_by_age_and_end(age: float, left: float, verdict: Verdict) -> None:
    """A list that has ended, or is older than the appliance would rely on, is a failure; one with a quarter of its time left a warning."""
    now = datetime.now(UTC)
    listing = Listing(
        issuer="x",
        point="y",
        number=1,
        complete=1,
        this_update=now - timedelta(hours=age),
        next_update=now + timedelta(hours=left),
        digests=(),
    )
    found = validity._of_issuer("authority-1", [listing], 48.0, Verdict.FAILED)
    assert found.verdict is verdict
    assert found.code == ("revocation_stale" if verdict is Verdict.FAILED else None)


def test_a_log_with_less_than_was_signed_is_rolled_back(tmp_path: Path) -> None:
    """A checkpoint over more entries than there are, or over others, is the failure that it is at a start."""
    store = SqliteStore(tmp_path / "ledger.sqlite3", "log")
    store.write().close()
    with store.reading() as reader:
        head = reader.head()
        for signed in (Checkpoint("log", 2, bytes(32)), Checkpoint("log", 0, bytes(32))):
            with pytest.raises(LedgerRolledBack):
                ledger._require_covered(reader, head, signed)
        ledger._require_covered(reader, head, Checkpoint("log", 0, Frontier().root()))


def test_the_copy_that_is_looked_at_is_this_ledgers(configuration: Configuration, tmp_path: Path) -> None:
    """Another node's lies in the folder that both share; it accuses nobody."""
    settings = configuration.settings
    own, private = settings.ledger.origin, Ed25519PrivateKey.generate()
    copied = msgspec.structs.replace(settings.ledger, copies=str(tmp_path))
    shared = Configuration(msgspec.structs.replace(settings, ledger=copied), configuration.folder)
    for origin in (own, "another.example.jp/ledger"):
        text = Checkpoint(origin, 1, bytes(32)).to_text()
        key = VerifierKey.of_log(origin, private.public_key())
        note = Note(text, (key.signature(private.sign(text.encode())),)).to_bytes()
        asyncio.run(Directory(tmp_path, lambda: NOW).publish(note))
    found = ledger._outside(shared)
    assert isinstance(found, ledger._Outside)
    assert Note.from_bytes(found.note).text == Checkpoint(own, 1, bytes(32)).to_text()


def test_a_copy_that_fills_a_share_does_not_fill_the_memory(
    configuration: Configuration, tmp_path: Path
) -> None:
    """A file as large as no note is read no further than that, and is damage."""
    (tmp_path / "checkpoint").touch()
    os.truncate(tmp_path / "checkpoint", 1 << 40)
    settings = configuration.settings
    copied = msgspec.structs.replace(settings.ledger, copies=str(tmp_path))
    found = ledger._outside(
        Configuration(msgspec.structs.replace(settings, ledger=copied), configuration.folder)
    )
    assert isinstance(found, LedgerProofInvalid)


@pytest.mark.parametrize("is_empty", [True, False], ids=["new", "in use"])
def test_a_folder_for_copies_that_has_gone_is_told_as_that(
    configuration: Configuration, tmp_path: Path, *, is_empty: bool
) -> None:
    """A share that is not mounted is no folder without a copy; only a new ledger has none yet."""
    settings = configuration.settings
    copied = msgspec.structs.replace(settings.ledger, copies=str(tmp_path / "unmounted"))
    here = Configuration(msgspec.structs.replace(settings, ledger=copied), configuration.folder)
    store = SqliteStore(tmp_path / "ledger.sqlite3", settings.ledger.origin)
    store.write().close()
    key = VerifierKey.of_log(settings.ledger.origin, Ed25519PrivateKey.generate().public_key())
    with store.reading() as reader:
        head = reader.head() if is_empty else replace(reader.head(), size=1, copied=1)
        (found,) = ledger._copies(here, key, reader, head, ledger._outside(here))
    assert found.verdict is (Verdict.OK if is_empty else Verdict.WARNING)
    assert ("the folder cannot be read" in found.detail) is not is_empty


def test_a_full_disk_does_not_end_the_examination(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox is compared with what is put together in a folder; where that fails, this one look says so."""

    def full() -> Finding:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(machine, "sandbox", full)
    found = examination._sandbox()
    assert (found.check, found.verdict) == (Check.SANDBOX, Verdict.FAILED)
    assert "No space left" in found.detail


def told(*statuses: DeskStatus) -> Told:
    """Return what a daemon with these desks tells."""
    return Told(ready=True, causes=(), condition=condition(), desks=statuses)


def test_desks_are_told_one_by_one(configuration: Configuration) -> None:
    """A reader that is away or stuck has the code of that; a terminal is there where its readers are."""
    local = DeskStatus("desk-1", "local", DeskState.EMPTY, 0)
    found = list(
        desks.readers_told(
            told(
                local,
                replace(local, desk="desk-2", state=DeskState.ABSENT),
                replace(local, state=DeskState.STUCK),
            )
        )
    )
    assert [one.code for one in found] == [None, "reader_absent", "reader_stuck"]
    remote = replace(local, desk="ward-1.reader-1", kind="remote")
    for statuses, verdict in (
        ((remote,), Verdict.OK),
        ((remote, replace(remote, desk="ward-1.b", state=DeskState.STUCK)), Verdict.WARNING),
        ((), Verdict.WARNING),
    ):
        (one,) = desks.terminals(configuration, told(*statuses))
        assert (one.subject, one.verdict) == ("ward-1", verdict)


@pytest.mark.parametrize(
    ("said", "verdict", "advice"),
    [
        (1.0, Verdict.OK, None),
        (0.0, Verdict.WARNING, Advice.CLOCK),
        (float("nan"), Verdict.WARNING, Advice.CLOCK_UNKNOWN),
    ],
)
def test_the_clock_is_told_by_the_kernel(
    said: float, verdict: Verdict, advice: Advice | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synchronised, not, or nobody says."""
    monkeypatch.setattr(machine, "clock_synchronised", lambda: said)
    found: Finding = machine.clock()
    assert (found.verdict, found.advice) == (verdict, advice)
    assert worst([found]) is verdict
