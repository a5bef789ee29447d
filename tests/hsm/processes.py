"""Other processes a test needs: the probe, the independent judges, and a look at a worker from outside."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from appliance.hsm import softhsm
from tests.hsm.conftest import Token

ROOT = Path(__file__).parents[2]


def probe(token: Token, *command: str) -> Any:  # noqa: ANN401 - each command has its own answer
    """Return what `tests.hsm.probe` answers to *command*."""
    return json.loads(
        subprocess.run(
            (sys.executable, "-m", "tests.hsm.probe", token.folder, *command),
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
    )


def pkcs11_tool(token: Token, *arguments: str) -> str:
    """Return what OpenSC's pkcs11-tool prints, logged in."""
    return subprocess.run(
        (
            *("pkcs11-tool", "--module", str(softhsm.MODULE), "--token-label", softhsm.TOKEN_LABEL),
            *("--login", "--pin", "env:TEST_PIN", *arguments),
        ),
        env={**os.environ, **token.environment, "TEST_PIN": token.pin},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def initialise_another(token: Token) -> None:
    """Make a second, empty token of the same label."""
    pins = ("--so-pin", token.pin, "--pin", token.pin)
    subprocess.run(
        ("softhsm2-util", "--init-token", "--free", "--label", softhsm.TOKEN_LABEL, *pins),
        env={"PATH": "/usr/bin:/bin", **token.environment},
        check=True,
        capture_output=True,
    )


def openssl_verifies(folder: Path, public_key: Path, message: bytes, signature: bytes) -> bool:
    """Return whether OpenSSL finds *signature* good for SHA-256 of *message*."""
    (folder / "message").write_bytes(message)
    (folder / "signature").write_bytes(signature)
    judge = (
        "openssl",
        "dgst",
        "-sha256",
        "-verify",
        public_key,
        "-signature",
        folder / "signature",
        folder / "message",
    )
    return subprocess.run(judge, check=False, capture_output=True).returncode == 0


def running(pid: int) -> bool:
    """Return whether there is a process *pid*."""
    return Path(f"/proc/{pid}").exists()
