"""Five real modules, started here and probed; what they do has to be what profiles and document say."""

import re
import subprocess
import sys
from datetime import date
from functools import cache
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from appliance import config
from appliance.cli import conformance as command
from appliance.errors import EX_CONFIG, ConfigInvalid, HsmPinRejected, PartMissing
from appliance.hsm.conformance.profile import as_toml, profile
from appliance.hsm.conformance.results import Destroyed, Failed, Finding, KeyMade, Report
from appliance.hsm.conformance.runner import Conformance, Target
from appliance.hsm.conformance.table import rows
from appliance.hsm.marker import Marker
from appliance.hsm.shipped import shipped
from appliance.hsm.softhsm import MODULE, TOKEN_LABEL, USER_PIN, environment, provision_softhsm
from appliance.hsm.vendor import SAFE_KEY, SOFTHSM, load_vendor
from tests.cli.conftest import files_of_at_most
from tests.conformance import document, run
from tests.conformance.modules import LABEL, MODULES, need, softhsm, temporary
from tests.shim.rules import NUMBERS, Action, Function, Rules, compiled

DOCS = run.ROOT / "docs"
_HANG = "static unsigned long freeze(void *arguments) { for (;;) pause(); }"
_ABORT = "static unsigned long freeze(void *arguments) { abort(); }"

each_module = pytest.mark.parametrize("vendor", MODULES)


@cache
def report(vendor: str) -> Report:
    """Return the report about a module; each is probed once."""
    return run.report(vendor)


@each_module
def test_profile_follows_from_the_report(vendor: str) -> None:
    """What the shipped profile claims is what the module was measured to do."""
    measured, shipped = report(vendor).profile, load_vendor(vendor)
    assert measured is not None
    assert replace(measured, status=shipped.status) == shipped


@each_module
def test_document_is_current(vendor: str) -> None:
    """Dates, versions and rates aside, the checked-in report is what a new run finds."""
    documented = {one.vendor: one for one in document.read(DOCS)}
    assert report(vendor).stable() == documented[vendor].stable()


@each_module
def test_nothing_is_left_on_the_token(vendor: str) -> None:
    """All throw-away keys are destroyed in the end."""
    destroyed = report(vendor).findings["destroy"]
    assert isinstance(destroyed, Destroyed)
    assert destroyed.destroyed > 0
    assert destroyed.left == 0


@each_module
def test_no_key_leaves_its_token(vendor: str) -> None:
    """No private part of any key can be read, in any of the modules."""
    keys = [found for found in report(vendor).findings.values() if isinstance(found, KeyMade)]
    assert keys
    for made in keys:
        assert set(made.secret_parts) <= {"CKR_ATTRIBUTE_SENSITIVE", "CKR_ATTRIBUTE_TYPE_INVALID"}
        assert made.attributes["CKA_SENSITIVE"] is True
        assert made.attributes["CKA_EXTRACTABLE"] is False


def test_table_is_made_from_the_reports() -> None:
    """The document for people says what the one for programs says."""
    assert (DOCS / "conformance.md").read_text("utf-8") == document.text(document.read(DOCS))


def test_written_profile_can_be_read(tmp_path: Path) -> None:
    """The profile that the command writes is one the appliance reads."""
    profile = report("nss").profile
    assert profile is not None
    file = tmp_path / "measured.toml"
    file.write_text(as_toml(profile), "utf-8")
    assert load_vendor(str(file)) == profile


def test_deviation_is_told() -> None:
    """A module that does not say where a key was made is accepted only by a profile that says so aloud."""
    assert "CKA_LOCAL is FALSE for a key made in the token" in load_vendor("nss").deviations


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("name", ["CKR_PIN_INCORRECT", "CKR_VENDOR_DEFINED"])
def test_pin_that_is_rejected_is_tried_no_more(tmp_path: Path, name: str, before: int) -> None:
    """The run ends with the first login that is refused, or that has an answer nobody understands."""
    provision_softhsm(tmp_path / "token")
    pin_file = str(tmp_path / "token" / USER_PIN)
    with Rules(tmp_path / "rules", str(MODULE)) as rules:
        variables = {**environment(tmp_path / "token"), **rules.environment}
        target = Target(SOFTHSM, str(compiled(tmp_path)), TOKEN_LABEL, pin_file, variables)
        rules.set(Function.LOGIN, Action.RETURN, NUMBERS[name], skip=before)
        with pytest.raises(HsmPinRejected, match="are left in the token" if before else "no other login"):
            Conformance(target).report(date(2026, 1, 1))
        assert rules.calls(Function.LOGIN) == before + 1


@pytest.mark.parametrize(("name", "value"), [("CKA_SENSITIVE", False), ("CKA_EXTRACTABLE", True)])
@pytest.mark.parametrize("known", [True, False])
def test_module_whose_keys_may_leave_it_has_no_profile(name: str, value: bool, known: bool) -> None:  # noqa: FBT001
    """What no profile may excuse ends in a report that says so, and in no profile."""
    safe: dict[str, bool | None] = {str(one): wanted for one, wanted in SAFE_KEY.items()}
    made = KeyMade(
        omitted=(),
        attributes={**safe, name: value if known else None},
        allowed=("CKM_SHA256_RSA_PKCS",),
        signature="signs",
        secret_parts=("CKR_ATTRIBUTE_SENSITIVE",),
        made_extractable="CKR_ATTRIBUTE_READ_ONLY",
        other_mechanism=None,
    )
    findings: dict[str, Finding] = {"key institution": made}
    assert profile(SOFTHSM, findings, date(2026, 1, 1), "1") is None
    condemned = Report(
        vendor="softhsm", tested=date(2026, 1, 1), versions="1", findings=findings, profile=None
    )
    said = dict(rows(condemned))["What the profile softens"]
    assert f"not usable, {name} is {str(value).upper() if known else 'unknown'}" in said
    usable = msgspec.structs.replace(made, attributes=safe)
    assert profile(SOFTHSM, {"key institution": usable}, date(2026, 1, 1), "1") is not None


def test_report_that_cannot_be_written_is_refused_before_anything_is_probed(tmp_path: Path) -> None:
    """A folder that cannot be made is a mistake in the command, and is told in a second, not after minutes."""
    (tmp_path / "file").touch()
    command = (sys.executable, "-m", "appliance", "hsm", "conformance", "--vendor", "softhsm")
    ended = subprocess.run(
        (
            *command,
            "--token",
            LABEL,
            "--pin-file",
            str(_pin_file(tmp_path)),
            "--out",
            tmp_path / "file/reports",
        ),
        cwd=run.ROOT,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "SOFTHSM2_CONF": "/nonexistent"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, "[config_invalid]" in ended.stderr) == (EX_CONFIG, True)
    assert "·" not in ended.stderr


def test_report_that_the_disk_has_no_room_for_leaves_the_one_before(tmp_path: Path) -> None:
    """A profile that is in use is not cut off by a newer one."""
    command._write(tmp_path, {"softhsm.toml": b"before"})
    with files_of_at_most(16), pytest.raises(ConfigInvalid, match="File too large"):
        command._write(tmp_path, {"softhsm.toml": b"after" * 10})
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("softhsm.toml", b"before")]


def test_marker_of_a_rejected_pin_stops_the_command(tmp_path: Path) -> None:
    """Where the appliance may not log in, this command does not either."""
    file = tmp_path / "appliance.toml"
    file.write_text(shipped("appliance.toml").read_text("utf-8"), "utf-8")
    configuration = config.load(file)
    first = configuration.settings.hsm
    module = first.module or load_vendor(first.vendor).module
    marker = Marker.of_token(
        module, first.token, configuration.environment(first), configuration.path(first.state)
    )
    marker.prepare()
    marker.path.touch()
    ended = subprocess.run(
        (sys.executable, "-m", "appliance", "hsm", "conformance", "--config", str(file)),
        cwd=run.ROOT,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == EX_CONFIG
    assert f"{marker.path} is there" in ended.stderr
    assert "·" not in ended.stderr


def test_rejected_pin_leaves_its_marker(tmp_path: Path) -> None:
    """A configured token that rejects the PIN is marked, for the next run and for the appliance: the PIN is tried once."""
    token = tmp_path / "softhsm"
    provision_softhsm(token)
    (token / USER_PIN).write_text("00000000")
    file = tmp_path / "appliance.toml"
    text = shipped("appliance.toml").read_text("utf-8")
    with Rules(tmp_path / "rules", str(MODULE)) as rules:
        text = re.sub(r"(?m)^module = .*", f'module = "{compiled(tmp_path)}"', text, count=1)
        text = re.sub(r"(?m)^token = .*", f'token = "{TOKEN_LABEL}"', text, count=1)
        text = re.sub(r"(?m)^pin_file = .*", f'pin_file = "softhsm/{USER_PIN}"', text, count=1)
        variables = {**environment(token), **rules.environment}
        lines = "".join(f'{name} = "{value}"\n' for name, value in variables.items())
        file.write_text(re.sub(r"(?m)^SOFTHSM2_CONF = .*\n", lambda _: lines, text, count=1), "utf-8")
        command = (sys.executable, "-m", "appliance", "hsm", "conformance", "--config", str(file))
        first, second = (
            subprocess.run(command, cwd=run.ROOT, check=False, capture_output=True, text=True)
            for _ in range(2)
        )
        assert rules.calls(Function.LOGIN) == 1
    (marker,) = (tmp_path / "state").iterdir()
    configuration = config.load(file)
    one = configuration.settings.hsm
    assert one.module is not None
    assert (
        marker
        == Marker.of_token(one.module, one.token, configuration.environment(one), tmp_path / "state").path
    )
    assert (first.returncode, second.returncode) == (EX_CONFIG, EX_CONFIG)
    assert f"{marker} is left" in first.stderr
    assert f"{marker} is there" in second.stderr


def test_nss_needs_arguments(tmp_path: Path) -> None:
    """NSS's softoken itself does not initialise without arguments, which is why it is reached through p11-kit."""
    softoken = Path(load_vendor("nss").module).with_name("libsoftokn3.so")
    need(softoken, "libnss3")
    assert _initialise(softoken, tmp_path) == Failed("refused", "CKR_ARGUMENTS_BAD")


@pytest.mark.parametrize(
    ("code", "found", "seconds"),
    [
        (_HANG, Failed("hung", "no answer in time"), 1.0),
        (_ABORT, Failed("crashed", "SIGABRT"), 60.0),
    ],
    ids=["hangs", "aborts"],
)
def test_module_that_does_not_survive(tmp_path: Path, code: str, found: Failed, seconds: float) -> None:
    """A module that hangs or aborts is a result, not the end of the probes."""
    assert _initialise(_module(tmp_path, code), tmp_path, seconds) == found


def test_wrong_pin_ends_the_probes() -> None:
    """SoftHSM refuses the first login, of a key's probe, and no report comes of it."""
    with temporary() as folder, softhsm(folder) as started:
        started.pin_file.write_text("00000000")
        target = Target(SOFTHSM, SOFTHSM.module, LABEL, str(started.pin_file), started.environment)
        with pytest.raises(HsmPinRejected, match=r"'key institution'.*no other login is tried"):
            Conformance(target).report(date(2026, 1, 1))


def test_missing_package_is_named() -> None:
    """A part that is not installed is reported with the package that has it."""
    with pytest.raises(PartMissing, match="install Debian's package swtpm"):
        need("no-such-program", "swtpm")


def _initialise(module: Path, folder: Path, seconds: float = 60.0) -> object:
    target = Target(SOFTHSM, str(module), LABEL, str(_pin_file(folder)), {})
    made = Conformance(target, probe_seconds=seconds).report(date(2026, 1, 1))
    assert made.profile is None
    assert set(made.findings) == {"initialise"}
    return made.findings["initialise"]


def _pin_file(folder: Path) -> Path:
    path = folder / "user.pin"
    path.touch(mode=0o600)
    path.write_text("1234\n")
    return path


def _module(folder: Path, code: str) -> Path:
    source, module = folder / "module.c", folder / "module.so"
    source.write_text(
        "#include <stdlib.h>\n#include <unistd.h>\n"
        f"{code}\n"
        "static struct { unsigned char version[2]; unsigned long (*initialize)(void *); } functions = {{2, 40}, freeze};\n"
        "unsigned long C_GetFunctionList(void **list) { *list = &functions; return 0; }\n"
    )
    subprocess.run(("gcc", "-shared", "-fPIC", "-o", module, source), check=True)
    return module


def test_command_stays_out_of_the_module() -> None:
    """The process that an operator starts brings no PKCS#11 in; the probes do."""
    program = (
        "import sys, appliance.cli.conformance\n"
        "sys.exit(any(name.partition('.')[0] == 'pkcs11' for name in sys.modules))"
    )
    assert subprocess.run((sys.executable, "-c", program), check=False).returncode == 0


def test_variable_that_a_module_needs(tmp_path: Path) -> None:
    """A module without a variable it cannot do without is not started, and the variable is named."""
    command = (sys.executable, "-m", "appliance", "hsm", "conformance", "--vendor", "softhsm")
    ended = subprocess.run(
        (*command, "--token", LABEL, "--pin-file", str(_pin_file(tmp_path))),
        cwd=run.ROOT,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == EX_CONFIG
    assert "SOFTHSM2_CONF" in ended.stderr
