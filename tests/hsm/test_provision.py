import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance.errors import EX_CONFIG, ConfigInvalid, HsmModuleUnusable
from appliance.hsm import provision, softhsm
from appliance.hsm.messages import Request, TokenSetup, frame
from appliance.hsm.pool import Pool
from appliance.hsm.shipped import shipped
from appliance.hsm.vendor import SOFTHSM
from tests.hsm.conftest import Token, spki

COMMAND = (sys.executable, "-I", "-m", "appliance.hsm.provision")


def test_folder_has_all_parts(provisioned: Path) -> None:
    """The folder holds configuration, token, PINs and public keys, and only its owner can look into it."""
    assert {path.name for path in provisioned.iterdir()} == {
        "softhsm2.conf",
        "tokens",
        "user.pin",
        "so.pin",
        "institution.pub.pem",
        "token.pub.pem",
        "ledger.pub.pem",
    }
    for path in (provisioned, *provisioned.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("said", ["", "Serial number? "])
def test_program_that_waits_for_something_else_is_ended(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that falls silent, or asks for what we do not have, is an error of ours after its time."""
    monkeypatch.setattr(provision, "_INITIALISE_SECONDS", 0.2)
    with pytest.raises(HsmModuleUnusable, match="waits for another answer"):
        provision._answer_prompts(("sh", "-c", f"printf '{said}'; exec sleep 600"), [b"1"])


@pytest.mark.parametrize("on_curve", [False, True])
def test_bare_loop_signs_with_either_kind_of_key(on_curve: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """What `hsm bench` compares with makes signatures with an institution key of RSA, and with one on P-384."""
    folder = tmp_path / "token"
    softhsm.provision_softhsm(folder, on_curve=on_curve)
    public = load_pem_public_key((folder / softhsm.INSTITUTION_KEY).read_bytes())
    assert isinstance(public, ec.EllipticCurvePublicKey if on_curve else rsa.RSAPublicKey)
    setup = TokenSetup(
        vendor=SOFTHSM,
        module=str(softhsm.MODULE),
        token=softhsm.TOKEN_LABEL,
        pin_file=str(folder / softhsm.USER_PIN),
        institution_keys=(spki(public),),
        token_key=None,
        challenge_bytes=16,
        challenges_per_minute=1000,
        issuer="https://appliance.test",
        token_lifetime_seconds=300,
    )
    ended = subprocess.run(
        (sys.executable, "-I", "-m", "appliance.hsm.bare"),
        input=frame(Request(0, setup)) + b"0.05\n",
        env={"PATH": "/usr/bin:/bin", **softhsm.environment(folder)},
        capture_output=True,
        check=False,
    )
    ready, measured = map(json.loads, ended.stdout.splitlines())
    assert (ended.returncode, ready) == (0, {"ready": True})
    assert measured["latencies"]


def test_configuration_names_the_final_folder(provisioned: Path) -> None:
    """SoftHSM is told where the token is now, not where it was made."""
    configuration = (provisioned / softhsm.CONFIGURATION).read_text()
    assert f"directories.tokendir = {provisioned / softhsm.TOKENS}\n" in configuration
    assert "@" not in configuration


def test_public_keys_are_of_their_kinds(provisioned: Path) -> None:
    """The institution key is RSA-2048 with the usual exponent, the token key P-256."""
    token = Token(provisioned)
    assert isinstance(token.institution_key, rsa.RSAPublicKey)
    assert (token.institution_key.key_size, token.institution_key.public_numbers().e) == (2048, 65537)
    assert isinstance(token.token_key.curve, ec.SECP256R1)


def test_pins_are_random(provisioned: Path, tmp_path: Path) -> None:
    """No two PINs are the same, in one folder or in two."""
    softhsm.provision_softhsm(tmp_path / "other")
    pins = {
        (folder / name).read_text()
        for folder in (provisioned, tmp_path / "other")
        for name in (softhsm.USER_PIN, softhsm.SO_PIN)
    }
    assert len(pins) == 4
    assert all(pin.strip().isdigit() and len(pin) == 13 for pin in pins)


def test_folder_in_use_is_left_alone(token: Token) -> None:
    """A folder with a token, or with anything else, is refused and stays as it is."""
    before = {path: path.read_bytes() for path in token.folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigInvalid, match="not empty"):
        softhsm.provision_softhsm(token.folder)
    assert {path: path.read_bytes() for path in token.folder.rglob("*") if path.is_file()} == before
    assert list(token.folder.parent.iterdir()) == [token.folder]


async def test_empty_folder_is_filled(tmp_path: Path) -> None:
    """An empty folder, with blanks in its name, becomes one a pool comes up on."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    softhsm.provision_softhsm(folder)
    token = Token(folder)
    async with Pool([token.hsm()], state=token.state):
        pass


def test_path_softhsm_cannot_read_is_refused(tmp_path: Path) -> None:
    """A path with a character that begins a comment in SoftHSM's configuration is refused, nothing is left."""
    with pytest.raises(ConfigInvalid, match="cannot be written"):
        softhsm.provision_softhsm(tmp_path / "a#b")
    assert not list(tmp_path.iterdir())


def test_impossible_folder_is_refused(tmp_path: Path) -> None:
    """A folder below a file is reported as a mistake of configuration."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigInvalid):
        softhsm.provision_softhsm(tmp_path / "file" / "token")


def test_half_made_token_is_no_token(tmp_path: Path) -> None:
    """A run that is killed half-way leaves nothing under the name, and the next run is not disturbed."""
    folder = tmp_path / "token"
    process = subprocess.Popen((*COMMAND, folder), env={"PATH": "/usr/bin:/bin"})
    while not list(tmp_path.glob(".token.*/tokens/*")):
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not folder.exists()
    softhsm.provision_softhsm(folder)
    assert (folder / softhsm.TOKEN_KEY).exists()


def test_process_prints_only_its_error(token: Token) -> None:
    """The process says nothing but the error with its code, and its exit status is that of the error."""
    ended = subprocess.run((*COMMAND, token.folder), capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (EX_CONFIG, "")
    assert ended.stderr.startswith("config_invalid: ")
    assert token.pin not in ended.stderr
    assert subprocess.run(COMMAND, capture_output=True, check=False).returncode == os.EX_USAGE


def test_missing_program_names_its_package(tmp_path: Path) -> None:
    """Without softhsm2-util the error says which package to install."""
    ended = subprocess.run(
        (*COMMAND, tmp_path / "token"),
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == EX_CONFIG
    assert ended.stderr.startswith("part_missing: ")
    assert "softhsm2" in ended.stderr


def test_pin_is_in_no_argument(tmp_path: Path) -> None:
    """Neither the process of the making nor the program it starts has a PIN among its arguments."""
    folder, gate, program = tmp_path / "token", tmp_path / "gate", tmp_path / "softhsm2-util"
    os.mkfifo(gate)
    program.write_text(f'#!/bin/sh\nread -r _ < "{gate}"\nexec /usr/bin/softhsm2-util "$@"\n')
    program.chmod(0o700)
    process = subprocess.Popen((*COMMAND, folder), env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    with gate.open("w") as opened:  # once the program waits there
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        seen = {Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (str(process.pid), *children)}
        opened.write("go on\n")
    assert process.wait(60) == 0
    assert any(b"--init-token" in arguments for arguments in seen)
    for name in (softhsm.USER_PIN, softhsm.SO_PIN):
        pin = (folder / name).read_bytes().strip()
        assert not any(pin in arguments for arguments in seen)


def test_shipped_files_are_found() -> None:
    """The template is found from a checkout."""
    assert "@TOKENS@" in shipped("softhsm/softhsm2.conf").read_text()
