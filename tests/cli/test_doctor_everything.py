"""`jpki-appliance doctor` for the whole appliance, run as an operator runs it."""

import asyncio
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from appliance import config
from appliance.catalogue import story
from appliance.doctor import ledger, machine, unit
from appliance.doctor.examination import Examination
from appliance.doctor.finding import Advice, Check, Finding, Verdict
from appliance.ledger import place
from appliance.ledger.store import Reader
from tests.cli.house import OPERATOR, RECEPTION, asked, authenticated, furnished, serving
from tests.daemon.process import SECONDS, Site

SYSTEMD = Path(__file__).parents[2] / "systemd"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site whose reception is this account."""
    with furnished() as made:
        yield made


def examined(site: Site, *arguments: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Return the exit status, and what was found, by check."""
    finished = asked(site, "doctor", "--config", str(site.file), "--json", *arguments)
    assert "Traceback" not in finished.stderr, finished.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for one in json.loads(finished.stdout)["checks"]:
        found.setdefault(one["check"], []).append(one)
    return finished.returncode, found


def verdicts(found: list[dict[str, Any]]) -> set[str]:
    """Return all verdicts in *found*."""
    return {one["verdict"] for one in found}


@contextmanager
def said(path: Path, text: str) -> Iterator[None]:
    """Have the file at *path* say something else for the length of a block."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def test_a_running_appliance_tells_how_it_is(site: Site) -> None:
    """The daemon is asked, the HSM is its; nothing has failed, so the status is 0. Who is no operator is not told."""
    with serving(site) as daemon:
        status, refused = examined(site)
        assert (status, refused["daemon"][0]["code"]) == (0, "access_denied")
        assert verdicts(refused["hsm"]) == {"warning"}
        with site.changed((RECEPTION, OPERATOR)):
            daemon.reload()
            status, found = examined(site)
            spoken = asked(site, "doctor", "--config", str(site.file), "--language", "ja")
    assert status == 0, found
    assert found.keys() == set(Check)
    for check in (
        "configuration",
        "permissions",
        "daemon",
        "hsm",
        "certificates",
        "ledger",
        "copies",
        "disk",
    ):
        assert verdicts(found[check]) == {"ok"}, found[check]
    assert [one["subject"] for one in found["readers"]] == ["desk-1"]
    assert (found["terminals"][0]["subject"], found["terminals"][0]["verdict"]) == ("ward-1", "warning")
    assert found["terminals"][0]["advice"].keys() == {"en", "ja"}
    assert spoken.returncode == 0
    assert "[ok]      台帳" in spoken.stdout
    assert "[warning] 遠隔端末 ward-1" in spoken.stdout


def test_without_a_daemon_the_hsm_is_opened_only_when_that_was_said(site: Site) -> None:
    """Nobody logs in unasked; with --hsm every key is found and signs."""
    _, unasked = examined(site)
    assert unasked["daemon"][0]["code"] == "appliance_unreachable"
    assert verdicts(unasked["hsm"]) == {"warning"}
    _, opened = examined(site, "--hsm")
    assert verdicts(opened["hsm"]) == {"ok"}, opened["hsm"]
    for key in ("institution", "token", "ledger"):
        assert f"{key} " in opened["hsm"][0]["detail"]


def test_beside_a_daemon_that_does_not_tell_nobody_logs_in() -> None:
    """Who may not ask, or is not answered, learns nothing of the HSM, and no PIN is tried: the token and its marker stay."""
    with furnished() as site, serving(site) as daemon:
        pin, state = site.folder / "softhsm" / "user.pin", config.load(site.file).settings.hsm.state
        right = pin.read_text()
        pin.write_text("000000000000\n")
        _, found = examined(site, "--hsm")
        assert found["daemon"][0]["code"] == "access_denied"
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            _, unanswered = examined(site, "--hsm")
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        assert unanswered["daemon"][0]["code"] == "appliance_unreachable"
        for hsm in (*found["hsm"], *unanswered["hsm"]):
            assert (hsm["verdict"], hsm["detail"]) == ("warning", "the daemon did not tell")
            assert "systemd-run" in hsm["advice"]["en"]
        assert not list((site.folder / state).glob("pin-rejected-*"))
        pin.write_text(right)


def test_the_service_runs_or_not_as_systemd_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nobody answers, systemd knows whether the service runs, or does not say; a bare machine runs none."""
    program = tmp_path / "systemctl"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(unit, "_BOOTED", tmp_path)
    for state, expected in (("active", True), ("deactivating", True), ("inactive", False), ("failed", False)):
        program.write_text(f"#!/bin/sh\necho ActiveState={state}\n")
        program.chmod(0o755)
        assert unit.runs() is expected
    program.write_text("#!/bin/sh\nexit 1\n")
    assert unit.runs() is None
    monkeypatch.setattr(unit, "_BOOTED", tmp_path / "nowhere")
    assert unit.runs() is False


async def test_where_nobody_says_whether_a_daemon_runs_nobody_logs_in(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A socket without a listener is no proof where systemd fails to say: only its word, or its absence, allows a login."""
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(unit, "_BOOTED", tmp_path)
    findings = Examination(site.file, log_in=True).findings()
    found = await anext(one async for one in findings if one.check is Check.HSM)
    assert (found.verdict, found.detail) == (Verdict.WARNING, "the daemon did not tell")


def test_a_rejected_pin_is_tried_once_and_never_again() -> None:
    """The first look leaves the marker; after that the token is not touched, with or without --hsm."""
    with furnished() as site:  # of its own: the token remembers the try
        pin, state = site.folder / "softhsm" / "user.pin", config.load(site.file).settings.hsm.state
        pin.write_text("000000000000\n")
        status, first = examined(site, "--hsm")
        assert (status, first["hsm"][0]["code"]) == (1, "hsm_pin_rejected")
        (marker,) = (site.folder / state).glob("pin-rejected-*.json")
        written = marker.stat().st_mtime_ns
        for arguments in (("--hsm",), ()):
            with site.without_hsm():  # who touched it would find no token
                status, again = examined(site, *arguments)
            assert (status, again["hsm"][0]["code"]) == (1, "hsm_pin_rejected")
            assert "not touched" in again["hsm"][0]["detail"]
        assert marker.stat().st_mtime_ns == written


def test_what_is_open_to_others_is_named(site: Site) -> None:
    """A PIN file that others can read, and a ledger folder that others can write to, are failures with advice."""
    pin = site.folder / "softhsm" / "user.pin"
    pin.chmod(0o644)
    site.folder.chmod(0o777)
    try:
        status, found = examined(site)
    finally:
        pin.chmod(0o600)
        site.folder.chmod(0o755)
    assert status == 1
    assert [one["subject"] for one in found["permissions"]] == ["hsm.pin_file", "configuration"]
    assert str(pin) in found["permissions"][0]["detail"]
    assert "0000" not in found["permissions"][0]["detail"]


def test_a_configuration_that_cannot_be_read_ends_there(site: Site) -> None:
    """The first finding says what is wrong with the file; what needs no file is looked at all the same."""
    with said(site.file, "[hsm]\ntypo = 1\n"):
        status, found = examined(site)
    assert status == 1
    assert found.keys() == {"configuration", "clock", "sandbox"}
    assert found["configuration"][0]["code"] == "config_invalid"


def test_a_copy_that_does_not_verify_is_a_failure(site: Site) -> None:
    """A checkpoint in the folder outside that this log never signed is noticed."""
    with serving(site):
        pass
    with said(site.folder / "ledger" / "checkpoints" / "checkpoint", "not a note\n"):
        status, found = examined(site)
    assert (status, found["copies"][0]["verdict"]) == (1, "failed")
    assert verdicts(found["ledger"]) == {"ok"}


def test_a_checkpoint_that_comes_while_one_looks_accuses_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log goes on under the eyes of whoever reads it: what left for the folder meanwhile was not put back."""
    configuration = config.load(site.file)
    copy = site.folder / "ledger" / "checkpoints" / "checkpoint"
    store = place.store(configuration)

    @contextmanager
    def busy() -> Iterator[Reader]:
        """Give one state of the log, which is an old one by the time that anybody looks."""
        with store.reading() as reader:
            reader.head()  # which state it is, the first question decides
            before = copy.read_bytes()
            asyncio.run(authenticated(daemon))
            deadline = time.monotonic() + SECONDS
            while copy.read_bytes() == before:
                assert time.monotonic() < deadline, "no checkpoint has left"
                time.sleep(0.05)
            yield reader

    with serving(site) as daemon:
        asyncio.run(authenticated(daemon))
        monkeypatch.setattr(place, "store", lambda _configuration: SimpleNamespace(reading=busy))
        found = list(ledger.ledger(configuration, is_running=True))
    assert [(one.verdict, one.code) for one in found] == [(Verdict.OK, None), (Verdict.OK, None)], found


def test_the_sandbox_is_measured_with_its_drop_ins(tmp_path: Path) -> None:
    """The unit as shipped is fine, a drop-in that opens it is warned of, and without a unit there is nothing to say."""
    assert machine.sandbox([tmp_path]).verdict is Verdict.NOT_APPLICABLE
    text = (SYSTEMD / unit.SERVICE).read_text()
    (tmp_path / unit.SERVICE).write_text(text.replace("/usr/bin/jpki-appliance", "/bin/true"))
    assert machine.sandbox([tmp_path]).verdict is Verdict.OK
    folder = tmp_path / f"{unit.SERVICE}.d"
    folder.mkdir()
    (folder / "open.conf").write_text("[Service]\nSystemCallFilter=\nProtectSystem=no\nPrivateDevices=no\n")
    assert machine.sandbox([tmp_path]).advice is Advice.SANDBOX


@pytest.mark.parametrize(
    "needed", [["network.conf"], ["luna.conf", "network.conf"], ["network.conf", "usb-hsm.conf"]]
)
def test_what_a_site_needs_of_the_shipped_drop_ins_is_no_warning(needed: list[str], tmp_path: Path) -> None:
    """A warning that never goes teaches to overlook warnings: copies with the site's own networks are fine, and no more."""
    (tmp_path / unit.SERVICE).write_text(
        (SYSTEMD / unit.SERVICE).read_text().replace("/usr/bin/jpki-appliance", "/bin/true")
    )
    folder = tmp_path / f"{unit.SERVICE}.d"
    folder.mkdir()
    for name in needed:
        text = (SYSTEMD / "drop-ins" / name).read_text()
        (folder / name).write_text(text.replace("192.0.2.0/24", "192.168.10.0/24"))
    found = machine.sandbox([tmp_path], SYSTEMD / "drop-ins")
    assert found.verdict is Verdict.OK, found
    assert found.detail.endswith(f"as shipped with {' '.join(needed)}")
    (folder / "open.conf").write_text("[Service]\nNoNewPrivileges=no\nPrivateDevices=no\n")
    assert machine.sandbox([tmp_path], SYSTEMD / "drop-ins").advice is Advice.SANDBOX
    (folder / "open.conf").unlink()
    (folder / "network.conf").write_text("[Service]\nIPAddressDeny=\nIPAddressAllow=any\nSystemCallFilter=\n")
    assert machine.sandbox([tmp_path], SYSTEMD / "drop-ins").advice is Advice.SANDBOX


@pytest.mark.parametrize(
    ("free", "verdict"), [(50, Verdict.FAILED), (500, Verdict.WARNING), (50_000, Verdict.OK)]
)
def test_a_disk_that_fills_is_told_in_time(
    free: int, verdict: Verdict, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a gigabyte is a warning, below 100 MB a failure."""
    blocks = SimpleNamespace(f_bavail=free, f_frsize=1 << 20, f_blocks=100_000, f_files=1000, f_favail=900)
    monkeypatch.setattr("appliance.doctor.machine.os.statvfs", lambda _path: blocks)
    assert {one.verdict for one in machine.disk(config.load(site.file))} == {verdict}


def test_looking_does_not_start_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where systemd holds the socket of a service that does not run, nobody connects."""
    with tempfile.TemporaryDirectory() as name:
        program = Path(name) / "systemctl"
        program.write_text(
            '#!/bin/sh\ncase "$4" in *.socket) echo "Listen=/run/x.sock (Stream)";; *) echo ActiveState=inactive;; esac\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", name, prepend=":")
        monkeypatch.setattr(unit, "_BOOTED", Path(name))
        assert unit.sleeps(Path("/run/x.sock"))
        assert not unit.sleeps(Path("/run/y.sock"))
    monkeypatch.setattr(unit, "_BOOTED", Path(name))
    assert not unit.sleeps(Path("/run/x.sock"))


def test_every_check_and_advice_has_its_words() -> None:
    """Nothing can be found that cannot be told, in both languages."""
    for key in [f"part-{check}" for check in Check] + [f"do-{advice}" for advice in Advice]:
        assert story(f"doctor-{key}").ja != story(f"doctor-{key}").en
    told = Finding(Check.HSM, Verdict.FAILED, "detail", code="hsm_pin_rejected").what_to_do
    assert told is not None
    assert shutil.which("systemd-analyze"), "systemd-analyze is not installed (Debian package systemd)"
