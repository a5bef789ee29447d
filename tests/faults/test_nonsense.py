"""What the pool does with a worker that talks nonsense: it ends it, says so, and gives nobody its answer."""

import os
import sys
from pathlib import Path

import pytest

from appliance.errors import HsmRequestRefused, HsmUnavailable
from appliance.hsm.crews import recruit
from appliance.hsm.place import Hsm
from appliance.hsm.pool import Pool
from tests.faults import nonsense
from tests.faults.conftest import SIGN_SECONDS, signing, until, worker_pids
from tests.hsm.conftest import CHALLENGE_BYTES

pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture
def spoken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the worker that talks as the parameter says into the place of ours."""
    how: str = request.param
    monkeypatch.setattr(recruit, "_WORKER", (sys.executable, "-I", nonsense.__file__, how))
    return how


@pytest.mark.parametrize("spoken", nonsense.BEFORE, indirect=True)
async def test_nonsense_at_start(spoken: str, local: Hsm, tmp_path: Path) -> None:
    """A worker that answers its set-up with anything else than the protocol's words never becomes one, and is tried again."""
    pool = Pool([local], state=tmp_path / "state", start_seconds=5.0)
    for _ in range(2):
        with pytest.raises(HsmUnavailable):
            await pool.start()
        assert not pool.health().up, spoken
    await pool.close()


@pytest.mark.parametrize("spoken", nonsense.AFTER, indirect=True)
async def test_nonsense_later(spoken: str, local: Hsm, tmp_path: Path) -> None:
    """A worker that begins to talk nonsense is ended, and its request counts as one of unknown outcome."""
    one = Hsm("local", local.setup, local.environment, workers=1)
    async with Pool([one], state=tmp_path / "state", sign_seconds=SIGN_SECONDS) as pool:
        (first,) = worker_pids()
        challenge = os.urandom(CHALLENGE_BYTES)
        if spoken == "twice":
            # The first answer is in order, for all that the daemon can see; the second belongs to no request.
            await signing(pool, one.setup)(challenge)
        else:
            with pytest.raises(HsmUnavailable):
                await signing(pool, one.setup)(challenge)
            with pytest.raises(HsmRequestRefused):
                await signing(pool, one.setup)(challenge)
        await until(lambda: first not in worker_pids())
