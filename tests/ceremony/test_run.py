import fcntl
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.hsm.ceremony.errand import MakeKeys, Refused
from appliance.hsm.ceremony.plan import load
from appliance.hsm.ceremony.run import working_folder
from appliance.hsm.ceremony.visit import Visit
from tests.ceremony.conftest import FIRST, OUTPUT, ROTATION, Place
from tests.shim.rules import Action, Function, Rules

ALL_KEYS = [
    *("private institution-2026", "private ledger-2026", "private token-2026"),
    *("public institution-2026", "public ledger-2026", "public token-2026"),
]


def test_the_example_makes_what_it_plans(held: Place) -> None:
    """Three keys are in the token, and request, public keys, plan and transcript in the output, nothing beside it."""
    assert held.objects() == ALL_KEYS
    assert {path.name for path in (held.folder / OUTPUT).iterdir()} == {
        *("plan.toml", "transcript.json", "institution-2026.csr.pem"),
        *("institution-2026.pub.pem", "token-2026.pub.pem", "ledger-2026.pub.pem"),
    }
    assert (held.folder / OUTPUT / "plan.toml").read_bytes() == (held.folder / FIRST).read_bytes()
    assert not working_folder(held.folder / OUTPUT).exists()


def test_the_transcript_tells_where_and_by_whom(held: Place) -> None:
    """People, plan, versions, module and token stand in the transcript as they were."""
    statement = held.transcript()["statement"]
    assert (statement["operator"], statement["witnesses"]) == (
        "Hanako Yamada",
        ["Ichiro Sato", "Yuki Suzuki"],
    )
    assert statement["plan_sha256"] == held.sha256(FIRST)
    assert statement["token"]["label"] == "jpki-appliance"
    assert "SoftHSM" in statement["token"]["model"]
    assert len(statement["token"]["serial"]) == 16
    assert statement["module"]["path"] == "/usr/lib/softhsm/libsofthsm2.so"
    for key in statement["keys"]:
        assert key["attributes"]["CKA_LOCAL"] is True
        assert key["attributes"]["CKA_ALLOWED_MECHANISMS"] == [key["mechanism"]]


def test_a_plan_that_was_not_reviewed_is_refused(place: Place) -> None:
    """One more blank in the file than reviewers saw, and nothing is made."""
    reviewed = place.sha256(FIRST)
    (place.folder / FIRST).write_text((place.folder / FIRST).read_text("utf-8") + "\n", "utf-8")
    before = place.contents()
    finished = place.run("run", FIRST, "--plan-sha256", reviewed)
    assert (finished.returncode, "[ceremony_refused]" in finished.stderr) == (1, True)
    assert place.contents() == before
    assert place.objects() == []


def test_a_key_of_the_same_name_is_left_alone(after: Place) -> None:
    """A token with a key of a planned label or id is refused, and keeps the keys it has."""
    after.edit(FIRST, 'output = "ceremony-2026"', 'output = "another"')
    for label in ("token-2026", "token-2028"):
        (after.folder / "second.toml").write_text(
            (after.folder / FIRST).read_text("utf-8").replace("token-2026", label), "utf-8"
        )
        finished = after.hold("second.toml")
        assert (finished.returncode, "[hsm_key_ambiguous]" in finished.stderr) == (1, True)
    assert after.objects() == ALL_KEYS
    assert not (after.folder / "another").exists()
    assert not working_folder(after.folder / "another").exists()


def test_an_output_in_use_is_left_alone(place: Place) -> None:
    """Whatever is in the output's place stays as it is, and nothing is made."""
    (place.folder / OUTPUT).mkdir()
    finished = place.hold()
    assert (finished.returncode, "[ceremony_refused]" in finished.stderr) == (1, True)
    assert list((place.folder / OUTPUT).iterdir()) == []
    assert place.objects() == []


def test_a_wrong_pin_is_tried_once(place: Place) -> None:
    """A rejected PIN ends with status 78, leaves no file, and is not tried a second time."""
    pin_file = place.folder / "softhsm" / "user.pin"
    right = pin_file.read_text()
    pin_file.write_text("000000000000\n")
    before = place.contents()
    first = place.hold()
    assert first.returncode == 78
    assert "[hsm_pin_rejected]" in first.stderr
    assert "CKR_PIN_INCORRECT" in first.stderr
    assert place.contents() == before
    second = place.hold()
    assert second.returncode == 78
    assert "not tried" in second.stderr
    assert "000000000000" not in first.stderr + second.stderr
    pin_file.write_text(right)
    assert place.objects() == []  # logs in with the right PIN, after which the token forgets the wrong one
    assert place.hold().returncode == 0


def test_a_pin_file_that_others_can_read_is_refused(place: Place) -> None:
    """A PIN that is no secret is noticed when the plan is looked at."""
    (place.folder / "softhsm" / "user.pin").chmod(0o644)
    finished = place.run("plan", FIRST)
    assert (finished.returncode, "[hsm_pin_unavailable]" in finished.stderr) == (78, True)


def test_the_pin_is_in_no_argument_and_no_environment(behind_shim: Place, rules: Rules) -> None:
    """While keys are made, no process of the ceremony shows the PIN to others."""
    pin = (behind_shim.folder / "softhsm" / "user.pin").read_bytes().strip()
    rules.set(Function.SIGN, Action.HANG)
    with behind_shim.start("run", FIRST, "--plan-sha256", behind_shim.sha256(FIRST)) as command:
        sent = _stopped(command, rules, 1)
        for pid in (command.pid, sent):
            for name in ("cmdline", "environ"):
                assert pin not in Path(f"/proc/{pid}/{name}").read_bytes()
        rules.lift(Function.SIGN)
    assert command.returncode == 0


def _stopped(command: subprocess.Popen[bytes], rules: Rules, signatures: int) -> int:
    """Wait until the process that *command* has sent asks the HSM for its n-th signature; return its number."""
    while rules.calls(Function.SIGN) < signatures:
        assert command.poll() is None
        time.sleep(0.002)  # the shim tells nobody; looking without a pause would take its processor
    (sent,) = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    return int(sent)


@pytest.mark.parametrize(
    ("signatures", "keys"), [(1, ["institution-2026"]), (4, ["institution-2026", "token-2026"])]
)
@pytest.mark.parametrize("victim", ["command", "process"])
def test_a_killed_run_is_told_and_begun_anew(
    behind_shim: Place, rules: Rules, victim: str, signatures: int, keys: list[str]
) -> None:
    """A run killed after some keys are made publishes nothing; the next one names them, and discards them if told."""
    rules.set(Function.SIGN, Action.HANG, skip=signatures - 1)
    with behind_shim.start("run", FIRST, "--plan-sha256", behind_shim.sha256(FIRST)) as command:
        sent = _stopped(command, rules, signatures)
        os.kill(command.pid if victim == "command" else sent, signal.SIGKILL)
        command.wait()
        if victim == "command":
            os.kill(sent, signal.SIGKILL)
    rules.lift(Function.SIGN)
    _wait_until_unlocked(behind_shim)
    assert not (behind_shim.folder / OUTPUT).exists()
    assert behind_shim.objects() == sorted(f"{half} {key}" for half in ("private", "public") for key in keys)
    for command_line in (
        behind_shim.run("plan", FIRST),
        behind_shim.hold(),
    ):
        assert command_line.returncode == 1
        assert "[ceremony_unfinished]" in command_line.stderr
        assert all(f"public key '{key}'" in command_line.stderr for key in keys)
    finished = behind_shim.hold(FIRST, "--discard-unfinished")
    assert finished.returncode == 0, finished.stderr
    assert behind_shim.objects() == ALL_KEYS
    assert not working_folder(behind_shim.folder / OUTPUT).exists()


def test_a_process_that_lost_its_command_ends_by_itself(behind_shim: Place, rules: Rules) -> None:
    """Killed alone, the command leaves its process to finish; another run waits its turn and then tells of the keys."""
    rules.set(Function.SIGN, Action.HANG)
    with behind_shim.start("run", FIRST, "--plan-sha256", behind_shim.sha256(FIRST)) as command:
        _stopped(command, rules, 1)
        command.kill()
    busy = behind_shim.hold()
    assert (busy.returncode, "[ceremony_refused]" in busy.stderr) == (1, True)
    rules.lift(Function.SIGN)
    _wait_until_unlocked(behind_shim)
    assert behind_shim.objects() == ALL_KEYS
    told = behind_shim.hold()
    assert (told.returncode, "[ceremony_unfinished]" in told.stderr) == (1, True)
    assert behind_shim.hold(FIRST, "--discard-unfinished").returncode == 0


def _wait_until_unlocked(place: Place) -> None:
    lock = os.open(working_folder(place.folder / OUTPUT), os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.close(lock)


def test_a_run_killed_before_any_key_stops_nobody(behind_shim: Place, rules: Rules) -> None:
    """Where nothing was made, the next run needs no option."""
    rules.set(Function.GET_TOKEN_INFO, Action.ABORT)
    assert behind_shim.hold().returncode == 1
    rules.lift(Function.GET_TOKEN_INFO)
    assert behind_shim.hold().returncode == 0


def test_a_module_that_fails_half_way_leaves_nothing(behind_shim: Place, rules: Rules) -> None:
    """Where the second key cannot be made, the first is destroyed, and the next run is as if there was none."""
    rules.set(Function.SIGN, Action.RETURN, 0x30, skip=4)
    finished = behind_shim.hold()
    assert (finished.returncode, "[hsm_signing_failed]" in finished.stderr) == (1, True)
    assert "CKR_DEVICE_ERROR" in finished.stderr
    rules.lift(Function.SIGN)
    assert behind_shim.objects() == []
    assert not working_folder(behind_shim.folder / OUTPUT).exists()
    assert behind_shim.hold().returncode == 0


@pytest.mark.parametrize("signatures", [3, 4], ids=["while a key is made", "with a key that is made"])
def test_an_hsm_that_goes_away_half_way_hides_no_key(
    behind_shim: Place, rules: Rules, signatures: int
) -> None:
    """
    Where nothing can be taken away or closed any more, what is left is told, and the next run can discard it.

    What went wrong first is said: no key is called unsafe because it could not be destroyed.
    """
    for function, skip in ((Function.SIGN, signatures), (Function.DESTROY_OBJECT, 0), (Function.LOGOUT, 0)):
        rules.set(function, Action.RETURN, 0x32, skip=skip)
    finished = behind_shim.hold()
    assert (finished.returncode, "[hsm_signing_failed]" in finished.stderr) == (1, True), finished.stderr
    assert "left in the token: what could not be destroyed" in finished.stderr
    for function in (Function.SIGN, Function.DESTROY_OBJECT, Function.LOGOUT):
        rules.lift(function)
    assert "public institution-2026" in behind_shim.objects()
    told = behind_shim.hold()
    assert (told.returncode, "[ceremony_unfinished]" in told.stderr) == (1, True)
    assert behind_shim.hold(FIRST, "--discard-unfinished").returncode == 0
    assert behind_shim.objects() == ALL_KEYS


def test_an_hsm_that_goes_away_at_the_end_takes_no_transcript_along(behind_shim: Place, rules: Rules) -> None:
    """Where all keys are made and signed for, a session that cannot be closed changes nothing of it."""
    rules.set(Function.LOGOUT, Action.RETURN, 0x32)
    finished = behind_shim.hold()
    assert finished.returncode == 0, finished.stderr
    assert (behind_shim.folder / OUTPUT / "transcript.json").exists()
    assert behind_shim.objects() == ALL_KEYS


def test_a_bug_half_way_leaves_nothing(place: Place) -> None:
    """Where our own code fails after a key was made, the key is destroyed, and the command hears that it is."""
    program = (
        "import sys\n"
        "from appliance.hsm.ceremony import process, request\n"
        "def fail(*_): raise ValueError\n"
        "request.make = fail\n"
        "sys.exit(process.main())"
    )
    reviewed = load(place.folder / FIRST)
    claim = str(place.folder / "claim")
    errand = MakeKeys(plan=reviewed.content, folder=str(place.folder), claim=claim, discard=None)
    ended = subprocess.run(
        (sys.executable, "-c", program),
        input=msgspec.msgpack.encode(errand),
        env={"PATH": "/usr/bin:/bin", **reviewed.environment},
        capture_output=True,
        check=True,
    )
    answer = msgspec.msgpack.decode(ended.stdout, type=Refused)
    assert (answer.code, answer.left) == ("hsm_unavailable", ())
    assert "ValueError" in answer.detail
    assert place.objects() == []


def test_a_clock_that_is_set_back_ends_no_ceremony_before_its_beginning() -> None:
    """How long it took is not told by the clock that people and NTP set."""
    ahead = datetime.now(UTC) + timedelta(hours=1)
    nothing: Any = None
    here = Visit(nothing, nothing, nothing, nothing, ahead, time.monotonic() - 2)
    assert ahead + timedelta(seconds=2) <= here.ended < ahead + timedelta(minutes=1)


def test_discarding_destroys_only_what_was_left(after: Place) -> None:
    """With nothing unfinished there is nothing to destroy: keys in use stay, whatever is asked."""
    after.edit(FIRST, 'output = "ceremony-2026"', 'output = "another"')
    finished = after.hold(FIRST, "--discard-unfinished")
    assert (finished.returncode, "[hsm_key_ambiguous]" in finished.stderr) == (1, True)
    assert after.objects() == ALL_KEYS


def test_an_output_that_appears_meanwhile_is_left_alone(behind_shim: Place, rules: Rules) -> None:
    """An output that somebody fills while keys are made stays, and the keys are told of, not lost."""
    rules.set(Function.SIGN, Action.HANG)
    with behind_shim.start("run", FIRST, "--plan-sha256", behind_shim.sha256(FIRST)) as command:
        _stopped(command, rules, 1)
        (behind_shim.folder / OUTPUT).mkdir()
        (behind_shim.folder / OUTPUT / "note").touch()
        rules.lift(Function.SIGN)
    assert command.returncode == 1
    assert [path.name for path in (behind_shim.folder / OUTPUT).iterdir()] == ["note"]
    (behind_shim.folder / OUTPUT / "note").unlink()
    (behind_shim.folder / OUTPUT).rmdir()
    assert "[ceremony_unfinished]" in behind_shim.hold().stderr


def test_a_lying_module_is_found_out(behind_shim: Place, rules: Rules) -> None:
    """A signature with one bit turned over is noticed while the keys are made, and none is left."""
    rules.set(Function.SIGN, Action.LIE)
    finished = behind_shim.hold()
    assert (finished.returncode, "[hsm_signing_failed]" in finished.stderr) == (1, True)
    rules.lift(Function.SIGN)
    assert behind_shim.objects() == []


def test_a_module_that_prints_disturbs_nobody(behind_shim: Place, rules: Rules) -> None:
    """What a module prints does not get between the bytes of the answer."""
    rules.set(Function.SIGN, Action.PRINT)
    assert behind_shim.hold().returncode == 0


def test_a_countersigner_that_is_not_there_is_named(after: Place) -> None:
    """A key of an earlier ceremony that the token does not hold ends the ceremony before a key is made."""
    (after.folder / "other.pem").write_bytes((after.folder / OUTPUT / "token-2026.pub.pem").read_bytes())
    after.edit(ROTATION, "ceremony-2026/ledger-2026.pub.pem", "other.pem")
    finished = after.hold(ROTATION)
    assert finished.returncode == 1, finished.stderr
    assert after.objects() == ALL_KEYS
    assert load(after.folder / ROTATION).output.exists() is False


def test_another_vendor_makes_other_keys(place: Place) -> None:
    """What a vendor profile says is what is made, and the transcript carries what it excuses."""
    profile = (place.folder / FIRST).with_name("vendor.toml")
    profile.write_text(
        """
        name = "without-ed25519"
        module = "/usr/lib/softhsm/libsofthsm2.so"
        status = { kind = "untested", document = "none: it is for a test" }
        signing = { ledger = "p256" }
        attributes = { allowed_mechanisms = "unenforced" }
        """,
        "utf-8",
    )
    place.edit(FIRST, 'vendor = "softhsm"', 'vendor = "vendor.toml"')
    place.edit(FIRST, 'algorithm = "ed25519"', 'algorithm = "p-256"')
    planned = place.run("plan", FIRST)
    assert "CKA_ALLOWED_MECHANISMS is kept but not enforced" in planned.stdout
    finished = place.hold()
    assert finished.returncode == 0, finished.stderr
    statement = place.transcript()["statement"]
    assert statement["vendor"]["name"] == "without-ed25519"
    assert [key["algorithm"] for key in statement["keys"]] == ["rsa-2048", "p-256", "p-256"]
    assert place.run("verify", f"{OUTPUT}/transcript.json").returncode == 0


def test_the_commands_never_load_python_pkcs11() -> None:
    """Whoever runs the commands, or the daemon, has no PKCS#11 module in the process: only the sent process does."""
    loaded = "import sys, appliance.cli.ceremony; sys.exit('pkcs11' in sys.modules)"
    assert subprocess.run((sys.executable, "-c", loaded), check=False).returncode == 0
