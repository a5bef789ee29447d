"""What feeds the watchdog: work, and no timer."""

import asyncio
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from appliance.daemon.notify import Notifier
from appliance.daemon.vigil import Pulse, Vigil
from appliance.hsm.health import PoolHealth
from appliance.hsm.messages import KeyLabel
from appliance.hsm.observer import Unobserved
from appliance.hsm.pool import Pool
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.recorder import Recorder
from appliance.ledger.sqlite import SqliteStore
from tests.ledger.conftest import ORIGIN, MemoryKey


class Listener:
    """A notifier that counts."""

    watchdog_seconds = 0.03

    def __init__(self) -> None:
        self.signs = 0
        self.said: list[str] = []
        self._more = asyncio.Event()

    def alive(self) -> None:
        """Count a sign of life."""
        self.signs += 1
        self._more.set()

    async def next(self) -> None:
        """Wait for another sign of life."""
        self._more.clear()
        async with asyncio.timeout(20):
            await self._more.wait()

    def status(self, status: str) -> None:
        """Remember what was said."""
        self.said.append(status)


@dataclass
class Workers:
    """A pool that says which HSM serves."""

    serving: str | None = "hsm-1"

    def health(self) -> PoolHealth:
        """Return it."""
        return PoolHealth((), self.serving, 0)


@pytest.fixture
async def parts(tmp_path: Path) -> Any:  # noqa: ANN401 - a generator, for pytest
    """A vigil over a real ledger and made-up workers; the hands of their clock."""
    hands = [0.0]
    key = MemoryKey()
    async with Log(SqliteStore(tmp_path / "ledger.sqlite3", ORIGIN), seconds=5) as log:
        keeper = Keeper(Recorder(log, lambda: 1), key, key.verifier(), time.monotonic, seconds=0.01)
        await keeper.start()
        keeping = asyncio.create_task(keeper.run())
        listener, workers = Listener(), Workers()
        pulse = Pulse(Unobserved(), lambda: hands[0])
        vigil = Vigil(
            cast("Pool", workers),
            pulse,
            keeper,
            keeping,
            cast("Notifier", listener),
            canary_seconds=1,
            sign_seconds=1,
        )
        yield vigil, workers, listener, hands
        keeping.cancel()
        await asyncio.wait((keeping,))


async def test_workers_that_are_known_to_be_down_are_no_reason_to_starve(parts: Any) -> None:  # noqa: ANN401
    """An HSM that is away is waited for, and a restart would not bring it back."""
    vigil, workers, listener, hands = parts
    workers.serving = None
    hands[0] = 1e6
    assert await vigil.look()
    assert listener.signs == 1


async def test_workers_that_say_they_are_up_have_to_sign(parts: Any) -> None:  # noqa: ANN401
    """Where no key has signed for three canaries, the pool is wrong about its workers."""
    vigil, _workers, listener, hands = parts
    assert await vigil.look()
    hands[0] = 4.0
    assert await vigil.look()
    hands[0] = 4.1
    assert not await vigil.look()
    assert listener.said == ["the workers of hsm-1 are silent"]
    vigil.pulse.canary("hsm-1", KeyLabel.TOKEN, 0.001)
    assert await vigil.look()
    assert listener.signs == 3


async def test_a_ledger_that_nobody_keeps_starves_it(
    parts: Any,  # noqa: ANN401
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Checkpoints that are no longer signed are nothing to go on with."""
    vigil, _workers, listener, _hands = parts
    assert await vigil.look()
    vigil.keeping.cancel()
    await asyncio.wait((vigil.keeping,))
    assert not await vigil.look()
    assert listener.said == ["the ledger is not kept any more"]
    assert "does not work cause=ledger-unkept" in caplog.messages


async def test_a_loop_that_hangs_starves_it(parts: Any) -> None:  # noqa: ANN401
    """While something holds the event loop up, no sign of life is given, and then they go on."""
    vigil, _workers, listener, _hands = parts
    watching = asyncio.create_task(vigil.run())
    await listener.next()
    await listener.next()
    before = listener.signs
    threading.Event().wait(0.2)  # many times the pause, in the loop's own thread
    assert listener.signs == before
    await listener.next()
    watching.cancel()
    await asyncio.wait((watching,))
