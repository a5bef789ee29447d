"""
Make a SoftHSM token in a folder: `python -I -m appliance.hsm.provision FOLDER`. A process that ends.

The folder gets softhsm2.conf, tokens/, user.pin, so.pin and a .pub.pem for each of the three keys. Everything is made in
a temporary folder beside it, which takes its name at the very end: who finds the folder finds it whole, and a run that
was killed leaves only a hidden folder that nothing refers to.

softhsm2-util would take the PINs as arguments, which every user of the machine can read. It also asks for them on a
terminal, so it gets one of ours.
"""

import os
import pty
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from appliance.errors import ApplianceError, ConfigInvalid, HsmModuleUnusable, PartMissing
from appliance.hsm import softhsm
from appliance.hsm.messages import Role
from appliance.hsm.pkcs11.keys import make_keys
from appliance.hsm.pkcs11.pin import locked_credential
from appliance.hsm.pkcs11.token import find_token, load_module, log_in
from appliance.hsm.shipped import shipped
from appliance.hsm.vendor import SOFTHSM

_PIN_DIGITS = 12
_PROMPT = b"PIN: "
_INITIALISE_SECONDS = 60


def provision(folder: Path, *, on_curve: bool = False) -> None:
    """
    Make the token in *folder*, which has to be absent or empty. Only for a process that ends with it.

    With *on_curve* the institution's key is one on P-384.
    """
    program = shutil.which("softhsm2-util")
    if program is None or not softhsm.MODULE.exists():
        raise PartMissing("SoftHSM is not there: install Debian's package softhsm2")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ConfigInvalid(f"{folder} is not empty: there may be a token in it, which is left alone")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Mode 0700, and on the same file system, so that the last step is one rename.
        workplace = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _fill(workplace, program, on_curve=on_curve)
            _write_configuration(workplace, folder / softhsm.TOKENS)
            workplace.rename(folder)
        except BaseException:
            shutil.rmtree(workplace)
            raise
    except OSError as error:
        raise ConfigInvalid(f"{folder} cannot be made: {error.strerror}") from error


def _fill(folder: Path, program: str, *, on_curve: bool) -> None:
    os.umask(0o077)
    (folder / softhsm.TOKENS).mkdir()
    _write_configuration(folder, folder / softhsm.TOKENS)
    # The module and the program read it from the environment; this process exists for this token alone.
    os.environ.update(softhsm.environment(folder))
    pins = [_new_pin(folder / name) for name in (softhsm.SO_PIN, softhsm.USER_PIN)]
    _answer_prompts(
        (program, "--init-token", "--free", "--label", softhsm.TOKEN_LABEL),
        [pin for pin in pins for _ in ("entered", "entered again")],
    )
    token = find_token(load_module(str(softhsm.MODULE)), softhsm.TOKEN_LABEL)
    locked = locked_credential(folder / softhsm.USER_PIN, str(softhsm.MODULE), softhsm.TOKEN_LABEL)
    with locked as credential, credential.pin() as pin:
        session = log_in(token, SOFTHSM, pin, writable=True)
    public_keys = make_keys(session, SOFTHSM, on_curve=on_curve)
    session.close()
    (folder / softhsm.INSTITUTION_KEY).write_bytes(public_keys[Role.INSTITUTION])
    (folder / softhsm.TOKEN_KEY).write_bytes(public_keys[Role.TOKEN])
    (folder / softhsm.LEDGER_KEY).write_bytes(public_keys[Role.LEDGER])


def _write_configuration(folder: Path, tokens: Path) -> None:
    if any(character in str(tokens) for character in "#\n"):
        raise ConfigInvalid(f"{tokens} cannot be written in a SoftHSM configuration")
    template = shipped("softhsm/softhsm2.conf").read_text("utf-8")
    (folder / softhsm.CONFIGURATION).write_text(template.replace("@TOKENS@", str(tokens)), "utf-8")


def _new_pin(path: Path) -> bytes:
    pin = "".join(secrets.choice("0123456789") for _ in range(_PIN_DIGITS)).encode()
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(pin + b"\n")
    return pin


def _answer_prompts(command: Sequence[str], answers: Sequence[bytes]) -> None:
    """Run *command* on a terminal of its own and give an answer to each prompt for a PIN."""
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[3] &= ~termios.ECHO  # so that what we read holds prompts and never a PIN
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said = b""
    left = list(answers)
    until = time.monotonic() + _INITIALISE_SECONDS
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        while select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0]:
            if not (chunk := _read(terminal.fileno())):
                break
            said += chunk
            if said.endswith(_PROMPT) and left:
                terminal.write(left.pop(0) + b"\n")
                said = b""
    try:
        status = process.wait(max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.wait()
        raise HsmModuleUnusable(f"{command[0]} does not end, or waits for another answer") from error
    if status != 0 or left:
        text = said.decode("utf-8", "replace").strip().replace("\r\n", " ")
        raise HsmModuleUnusable(f"{command[0]} ended with status {status}: {text}")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # EIO: the other side has been closed
        return b""


def main(arguments: Sequence[str]) -> int:
    """Make the token in the folder that is the first argument; a second, `p384`, is the institution key's curve."""
    if not 1 <= len(arguments) <= 2 or arguments[1:] not in ([], [softhsm.P384]):
        sys.stderr.write("usage: python -I -m appliance.hsm.provision FOLDER [p384]\n")
        return os.EX_USAGE
    try:
        provision(Path(arguments[0]).absolute(), on_curve=bool(arguments[1:]))
    except ApplianceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
