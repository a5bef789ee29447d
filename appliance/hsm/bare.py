"""
The measure of all speed: a process that does nothing but C_Sign. `python -I -m appliance.hsm.bare`, started by `bench`.

It is told a `TokenSetup` in a frame on standard input, as a worker is, and logs in by the same rules. Then each line
with a number of seconds has it sign for as long, and it answers with a line of JSON: how long each signature took, and
the processor time of them all. What it signs are canaries of its own making, and no signature leaves it.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.serialization import load_der_public_key

from appliance.errors import ApplianceError, ConfigInvalid, HsmSigningFailed
from appliance.hsm.messages import HEADER_BYTES, Role, TokenSetup, body_length, read_request
from appliance.hsm.pkcs11.pin import locked_credential
from appliance.hsm.pkcs11.signing import SigningKey, canary_message
from appliance.hsm.pkcs11.token import (
    PublicKey,
    find_private_key,
    find_token,
    load_module,
    log_in,
    mapped,
    refuse_risky_login,
)
from appliance.hsm.worker.hardening import harden


def signer(setup: TokenSetup) -> Callable[[], object]:
    """Load, log in, find the institution key; return what makes one bare signature, or raise what speaks against it."""
    key = load_der_public_key(setup.institution_keys[0])
    if not isinstance(key, PublicKey):
        raise ConfigInvalid("a pinned key is not a public key of a known kind")
    with locked_credential(Path(setup.pin_file), setup.module, setup.token) as credential:
        token = find_token(load_module(setup.module), setup.token)
        refuse_risky_login(token)
        if setup.vendor.login.kind == "protected-path":
            session = log_in(token, setup.vendor, None)
        else:
            with credential.pin() as pin:
                session = log_in(token, setup.vendor, pin)
    private = find_private_key(session, setup.vendor, Role.INSTITUTION, key)
    sign, _ = SigningKey(setup.vendor, Role.INSTITUTION, private, key).bare(canary_message())
    return sign


def measured(sign: Callable[[], object], seconds: float) -> dict[str, object]:
    """Sign for *seconds*; return how long each signature took, and the processor time of all, in seconds."""
    clock = time.perf_counter
    latencies = []
    processor = time.process_time()
    now = clock()
    end = now + seconds
    while now < end:
        began = now
        with mapped(HsmSigningFailed, "signing"):
            sign()
        now = clock()
        latencies.append(now - began)
    return {
        "latencies": latencies,
        "seconds": now - (end - seconds),
        "processor": time.process_time() - processor,
    }


def serve(told: BinaryIO, say: Callable[[dict[str, object]], None]) -> None:
    """Log in as *told*, then measure for each line and *say* it; raise what speaks against it."""
    setup = read_request(told.read(body_length(told.read(HEADER_BYTES)))).verb
    if not isinstance(setup, TokenSetup):
        raise ConfigInvalid("a bare loop is told a TokenSetup")
    sign = signer(setup)
    say({"ready": True})
    for line in told:
        say(measured(sign, float(line)))


def main() -> int:
    """Serve the bench that has started this process."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a module that prints must not be heard between the answers
    harden()

    def say(answer: dict[str, object]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        serve(sys.stdin.buffer, say)
    except ApplianceError as error:
        say({"code": error.code, "detail": error.detail})
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
