"""
HSMs that fail under load, and come back by themselves.

In all of them eight callers keep asking. `Crowd` sees to it that each is answered in time, with a signature that the
pinned key verifies or with one of our errors; here it is about what happens when.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from appliance.hsm.ladder import Rung
from appliance.hsm.place import Hsm
from tests.faults.conftest import RETURN_SECONDS, Day, busy, worker_pids
from tests.faults.crowd import Outcome
from tests.faults.lost import token_away, token_unreadable
from tests.faults.remote import P11KitServer
from tests.hsm.conftest import Token

pytestmark = pytest.mark.usefixtures("no_process_left")

_LOG = logging.getLogger(__name__)

HSM_CODES = {
    "hsm_busy",
    "hsm_module_unusable",
    "hsm_signing_failed",
    "hsm_timeout",
    "hsm_token_absent",
    "hsm_unavailable",
}
"""What a caller may hear while an HSM is away."""


def refused(outcome: Outcome) -> bool:
    """Return whether the caller got no signature."""
    return outcome.code is not None


async def recovery(day: Day) -> None:
    """Wait for a signature that was asked for from now on, which comes within the time there is for a return."""
    returned = asyncio.get_running_loop().time()
    outcome = await day.crowd.until(
        lambda outcome: outcome.code is None and outcome.asked >= returned, RETURN_SECONDS
    )
    assert set(day.crowd.codes) - {None} <= HSM_CODES
    _LOG.info(
        "signatures again after %.2f s, healed by %s",
        outcome.answered - returned,
        [rung.name for rung in day.witness.healed],
    )


async def test_lost_connection(remote: Hsm, server: P11KitServer, token: Token, tmp_path: Path) -> None:
    """A remote HSM whose connections all break is initialised anew, and no worker has to be started for it."""
    # No less: what takes longer than a request may is not tried in place any more, but with another worker.
    async with busy([remote], token, tmp_path, sign_seconds=10.0) as day:
        workers = worker_pids()
        server.kill_children()
        await recovery(day)
        assert "CKR_DEVICE_ERROR" in {ckr for ckr, _ in day.witness.failures}
        assert set(day.witness.healed) == {Rung.REINITIALISE}
        assert worker_pids() == workers


async def test_killed_hsm(remote: Hsm, server: P11KitServer, token: Token, tmp_path: Path) -> None:
    """A remote HSM that is gone for a while is found again when it is back."""
    async with busy([remote], token, tmp_path) as day:
        server.cut()
        await day.witness.until(lambda witness: witness.breakers == [True])
        await day.crowd.until(refused)
        server.start()
        await recovery(day)
        await day.witness.until(lambda witness: witness.breakers[-1] is False)
        assert day.witness.healed[-1] in {Rung.RESTART, Rung.BREAKER}
        assert day.pool.health().up


async def test_hung_hsm(remote: Hsm, server: P11KitServer, token: Token, tmp_path: Path) -> None:
    """Callers of an HSM that does not answer hear so at their deadlines, and it is used again when it goes on."""
    async with busy([remote], token, tmp_path) as day:
        server.stop()
        await day.witness.until(lambda _: not day.pool.health().up)
        assert day.crowd.codes["hsm_timeout"]
        server.go_on()
        await recovery(day)
        assert day.witness.healed[-1] in {Rung.RESTART, Rung.BREAKER}


@pytest.mark.parametrize("gone", [token_away, token_unreadable])
async def test_lost_token(
    gone: Callable[[Path], AbstractContextManager[None]], local: Hsm, token: Token, tmp_path: Path
) -> None:
    """A token that vanishes from under a module is found again when it is back."""
    async with busy([local], token, tmp_path) as day:
        with gone(token.folder):
            await day.crowd.until(refused)
        await recovery(day)
        assert day.witness.healed
        assert all(ckr.startswith(("CKR_", "hsm_")) for ckr, _ in day.witness.failures)


@pytest.mark.parametrize("how_many", [1, 2])
async def test_killed_workers(how_many: int, local: Hsm, token: Token, tmp_path: Path) -> None:
    """Workers that are killed fail at most the requests they had, and others take their places."""
    async with busy([local], token, tmp_path) as day:
        killed = worker_pids()[:how_many]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await recovery(day)
        await day.witness.until(lambda witness: witness.healed.count(Rung.RESTART) == how_many)
        assert not set(killed) & set(worker_pids())
        assert len(worker_pids()) == 2


async def test_stopped_worker(local: Hsm, token: Token, tmp_path: Path) -> None:
    """A worker that hangs is ended at its request's deadline, while the other one goes on signing."""
    async with busy([local], token, tmp_path) as day:
        stopped, _ = worker_pids()
        os.kill(stopped, signal.SIGSTOP)
        await recovery(day)
        await day.witness.until(lambda witness: Rung.RESTART in witness.healed)
        assert stopped not in worker_pids()
        assert day.crowd.codes["hsm_timeout"] >= 1


async def test_second_hsm_takes_over(
    remote: Hsm, local: Hsm, server: P11KitServer, token: Token, tmp_path: Path
) -> None:
    """When the preferred HSM is gone the second one signs, and the first is taken back once it has proved itself."""
    async with busy([remote, local], token, tmp_path) as day:
        server.cut()
        await day.witness.until(lambda witness: witness.serving == ["remote", "local"])
        server.start()
        await day.witness.until(lambda witness: witness.serving[-1] == "remote")
        await recovery(day)
