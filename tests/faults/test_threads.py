"""One thread in a module, ever: what notices a second one, and that there is none."""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.hsm.place import Hsm
from tests.faults.conftest import busy
from tests.hsm.conftest import Token
from tests.shim.rules import Action, Function, Rules

pytestmark = pytest.mark.usefixtures("no_process_left")

_LOG = logging.getLogger(__name__)

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "5"))
"""`make soak` runs the full minute."""


def test_second_thread_is_noticed(token: Token, shim: Path, rules: Rules) -> None:
    """Two threads in one module end the process that has them, with a message: the next test is worth something."""
    # Long enough that the second thread comes in while the first is there, however busy the machine is.
    rules.set(Function.GET_SLOT_LIST, Action.DELAY, 1000)
    program = (
        "import sys, threading, pkcs11\n"
        "module = pkcs11.lib(sys.argv[1])\n"
        "for _ in range(2): threading.Thread(target=module.get_slots).start()\n"
    )
    ended = subprocess.run(
        (sys.executable, "-c", program, shim),
        env={**token.environment, **rules.environment},
        check=False,
        capture_output=True,
    )
    assert ended.returncode < 0
    assert b"two threads are in the module" in ended.stderr
    assert rules.collisions == 1


@pytest.mark.timeout(SOAK_SECONDS + 120)
async def test_soak(ruled: Hsm, rules: Rules, token: Token, tmp_path: Path) -> None:
    """Eight callers over a long time: no worker crashes, no signature is wrong, no two threads are in one module."""
    async with busy([ruled], token, tmp_path) as day:
        end = asyncio.get_running_loop().time() + SOAK_SECONDS
        await day.crowd.until(lambda outcome: outcome.answered >= end, SOAK_SECONDS + 10)
    assert set(day.crowd.codes) == {None}
    assert day.witness.failures == []
    assert rules.collisions == 0
    assert rules.calls(Function.SIGN) >= day.crowd.codes[None]
    seconds = sorted(outcome.seconds for outcome in day.crowd.outcomes)
    longest, p99, p50 = (1000 * seconds[-max(1, len(seconds) // part)] for part in (len(seconds), 100, 2))
    _LOG.info("%d signatures: p50 %.1f ms, p99 %.1f ms, longest %.1f ms", len(seconds), p50, p99, longest)
