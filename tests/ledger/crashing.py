"""
A process that authenticates, and kills itself at one point: `python -m tests.ledger.crashing STORE POINT NTH FOLDER`.

STORE is a path or a connection string. In FOLDER it leaves what the world outside has seen of it: `signed` has the
indices for which a signature has left the HSM, `acknowledged` those that callers were told, `copies` checkpoints.
"""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.ledger.entries import Finished, Reserved
from appliance.ledger.fault import Fault, no_fault
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.postgres import PostgresStore
from appliance.ledger.recorder import Recorder
from appliance.ledger.sinks import Directory
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import Store
from tests.ledger.conftest import ORIGIN, MemoryKey

SEED: Final = b"\x07" * 32
ROUNDS: Final = 4
CALLERS: Final = 3


def key() -> MemoryKey:
    """Return the key of all these processes."""
    return MemoryKey(Ed25519PrivateKey.from_private_bytes(SEED))


def store_at(place: str, fault: Fault = no_fault) -> Store:
    """Return the store that *place* names."""
    return (
        PostgresStore(place, ORIGIN, fault=fault) if "=" in place else SqliteStore(Path(place), ORIGIN, fault)
    )


def keeper_of(log: Log, folder: Path, fault: Fault = no_fault) -> Keeper:
    """Return a keeper whose copies go into *folder*."""
    copies = Directory(folder / "copies", lambda: datetime.now(UTC))
    memory_key = key()
    return Keeper(
        Recorder(log, lambda: 1),
        memory_key,
        memory_key.verifier(),
        monotonic=lambda: 0.0,
        sinks=[copies],
        fault=fault,
    )


class Death:
    """Kills the process when it comes to *point* for the *nth* time."""

    def __init__(self, point: str, nth: int) -> None:
        self._point, self._left = point, nth

    def __call__(self, point: str) -> None:
        """Pass by *point*."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def work(place: str, folder: Path, fault: Fault) -> None:
    """Authenticate, several at once, with a checkpoint after each round."""
    async with Log(store_at(place, fault), seconds=20, fault=fault) as log:
        keeper = keeper_of(log, folder, fault)
        await keeper.start()
        for _ in range(ROUNDS):
            await asyncio.gather(*(authenticate(keeper.recorder, folder, fault) for _ in range(CALLERS)))
            await keeper.turn()


async def authenticate(recorder: Recorder, folder: Path, fault: Fault) -> None:
    """Reserve, have the HSM sign, finish."""
    entry = Reserved(time=1, mode="pinless", terminal="desk-1", check="visual", checked_by="operator-3")
    index = await recorder.reserve(entry)
    note(folder / "acknowledged", index)
    fault("hsm.asking")
    note(folder / "signed", index)
    fault("hsm.answered")
    finished = await recorder.finish(Finished(time=2, reserved=index, outcome="authenticated"))
    note(folder / "acknowledged", finished)


def note(path: Path, index: int) -> None:
    """Add *index* to the file *path*; one write, which no later kill takes back."""
    with path.open("ab", buffering=0) as file:
        file.write(b"%d\n" % index)


def noted(path: Path) -> set[int]:
    """Return what the file *path* has."""
    return {int(line) for line in path.read_text().split()} if path.exists() else set()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], Path(sys.argv[4]), Death(sys.argv[2], int(sys.argv[3]))))
