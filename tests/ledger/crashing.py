"""
A process that authenticates, and kills itself at one point: `python -m tests.ledger.crashing STORE POINT NTH FOLDER`.

STORE is a path or a connection string. In FOLDER it leaves what the world outside has seen of it: `asked` has the
indices for which the HSM was asked, `signed` those whose signature has come back, `acknowledged` those that callers
were told, `copies` checkpoints. Where FOLDER has a token, the HSM is a worker's, with the shim between it and SoftHSM.
"""

import asyncio
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from appliance.hsm import softhsm
from appliance.hsm.place import Hsm
from appliance.hsm.pool import Pool
from appliance.ledger.entries import Finished, Reserved
from appliance.ledger.fault import Fault, no_fault
from appliance.ledger.keeper import CheckpointSigner, Keeper
from appliance.ledger.log import Log
from appliance.ledger.note import VerifierKey
from appliance.ledger.postgres import PostgresStore
from appliance.ledger.recorder import Recorder
from appliance.ledger.sinks import Directory
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import Store
from tests.hsm.conftest import CHALLENGE_BYTES, Token
from tests.ledger.conftest import ORIGIN, MemoryKey
from tests.shim.rules import Action, Function, Rules

SEED: Final = b"\x07" * 32
ROUNDS: Final = 4
CALLERS: Final = 3
HSM: Final = "token"
SHIM: Final = "shim.so"
_IN_THE_MODULE: Final = {"hsm.signing": Action.HANG, "hsm.signed": Action.HANG_AFTERWARDS}


def store_at(place: str, fault: Fault = no_fault) -> Store:
    """Return the store that *place* names."""
    return (
        PostgresStore(place, ORIGIN, fault=fault) if "=" in place else SqliteStore(Path(place), ORIGIN, fault)
    )


class Signer(CheckpointSigner, Protocol):
    """What signs for this process: checkpoints, and cards' challenges."""

    async def sign(self, challenge: bytes) -> bytes:
        """Sign *challenge* with the institution key."""


class StandIn(MemoryKey):
    """A key in memory for both, where the HSM is not what the point is about."""

    async def sign(self, challenge: bytes) -> bytes:
        """Sign *challenge*."""
        return self.private.sign(challenge)


@dataclass(frozen=True, slots=True)
class InHsm:
    """The *pool*'s keys, of which *key* signs challenges."""

    pool: Pool
    key: str

    async def sign(self, challenge: bytes) -> bytes:
        """Sign *challenge* with the institution key."""
        return await self.pool.sign_challenge(challenge, self.key)

    async def sign_checkpoint(self, text: bytes) -> bytes:
        """Sign a checkpoint with the ledger key."""
        return await self.pool.sign_checkpoint(text)


@asynccontextmanager
async def signing(folder: Path, rules: Rules | None = None) -> AsyncIterator[tuple[Signer, VerifierKey]]:
    """Give what signs for the process in *folder*, behind *rules* where there are any; and the ledger's key."""
    if not (folder / HSM).exists():
        key = StandIn(Ed25519PrivateKey.from_private_bytes(SEED))
        yield key, key.verifier()
        return
    token = Token(folder / HSM)
    public = load_pem_public_key((folder / HSM / softhsm.LEDGER_KEY).read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    hsm = token.hsm(ledger_key=spki, ledger_origin=ORIGIN)
    if rules is not None:
        hsm = token.hsm(ledger_key=spki, ledger_origin=ORIGIN, module=str(folder / SHIM))
        hsm = Hsm(hsm.alias, hsm.setup, {**hsm.environment, **rules.environment}, hsm.workers)
    async with Pool([hsm], state=folder / "state") as pool:
        yield InHsm(pool, token.key), VerifierKey.of_log(ORIGIN, public)


def keeper_of(
    log: Log, folder: Path, signer: CheckpointSigner, key: VerifierKey, fault: Fault = no_fault
) -> Keeper:
    """Return a keeper whose copies go into *folder*."""
    copies = Directory(folder / "copies", lambda: datetime.now(UTC))
    keeper = Keeper(Recorder(log, lambda: 1), signer, key, monotonic=lambda: 0.0, sinks=[copies], fault=fault)
    # However slow the disk: each turn comes to the point where copies have left.
    keeper.seconds = 60.0
    return keeper


class Death:
    """Kills the process when it comes to *point* for the *nth* time; those in the module come after `hsm.asking`."""

    def __init__(self, point: str, nth: int, rules: Rules) -> None:
        self._point, self._left, self._rules = point, nth, rules
        self._awaited = "hsm.asking" if point in _IN_THE_MODULE else point

    def __call__(self, point: str) -> None:
        """Pass by *point*."""
        if point != self._awaited:
            return
        self._left -= 1
        if self._left != 0:
            return
        action = _IN_THE_MODULE.get(self._point)
        if action is None:
            _die()
        else:
            self._rules.set(Function.SIGN, action)
            threading.Thread(
                target=self._watch, args=(action, self._rules.calls(Function.SIGN)), daemon=True
            ).start()

    def _watch(self, action: Action, calls: int) -> None:
        """Die once the module has the challenge, or has signed it."""
        while not (
            self._rules.calls(Function.SIGN) > calls
            if action is Action.HANG
            else self._rules.value(Function.SIGN)
        ):
            time.sleep(0.0005)
        _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def work(place: str, folder: Path, fault: Fault, rules: Rules) -> None:
    """Authenticate, several at once, with a checkpoint after each round."""
    async with (
        signing(folder, rules) as (signer, key),
        Log(store_at(place, fault), seconds=20, fault=fault) as log,
    ):
        keeper = keeper_of(log, folder, signer, key, fault)
        await keeper.start()
        for _ in range(ROUNDS):
            await asyncio.gather(
                *(authenticate(keeper.recorder, signer, folder, fault) for _ in range(CALLERS))
            )
            await keeper.turn()


async def authenticate(recorder: Recorder, signer: Signer, folder: Path, fault: Fault) -> None:
    """Reserve, have the HSM sign, finish."""
    entry = Reserved(time=1, mode="pinless", terminal="desk-1", check="visual", checked_by="operator-3")
    index = await recorder.reserve(entry)
    note(folder / "acknowledged", index)
    fault("hsm.asking")
    note(folder / "asked", index)
    await signer.sign(secrets.token_bytes(CHALLENGE_BYTES))
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


def main(place: str, point: str, nth: int, folder: Path) -> None:
    """Work until death."""
    with Rules(folder / "rules", str(softhsm.MODULE)) as rules:
        asyncio.run(work(place, folder, Death(point, nth, rules), rules))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
