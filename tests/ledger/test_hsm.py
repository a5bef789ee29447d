"""The ledger key in a real HSM: it signs checkpoints of our log that never go back, and nothing else."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import HsmRequestRefused
from appliance.hsm import softhsm
from appliance.hsm.messages import TokenSetup
from appliance.hsm.place import Hsm
from appliance.hsm.pool import Pool
from appliance.hsm.vendor import SOFTHSM
from appliance.hsm.worker.admission import CheckpointAdmission
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.note import VerifierKey
from appliance.ledger.recorder import Recorder
from appliance.ledger.store import Store
from tests.ledger.conftest import ORIGIN


def text(size: int, root: bytes = b"\1" * 32, origin: str = ORIGIN) -> bytes:
    """Return a checkpoint's text."""
    return Checkpoint(origin, size, root).to_text().encode()


def test_checkpoints_never_go_back() -> None:
    """A worker signs growing sizes, the same checkpoint again, and neither a smaller one nor another root."""
    admission = CheckpointAdmission(ORIGIN)
    for size in (0, 5, 5, 6):
        admission.admit(text(size))
    for wrong in (
        text(5),
        text(6, b"\2" * 32),
        text(7, origin="example.com/other"),
        b"",
        b"\xff",
        text(7) + b"x\n",
    ):
        with pytest.raises(HsmRequestRefused):
            admission.admit(wrong)
    admission.admit(text(7))


@given(st.binary(max_size=200))
def test_other_bytes_never_reach_the_key(content: bytes) -> None:
    """Whatever comes over the channel, what is no checkpoint of ours is refused."""
    with pytest.raises(HsmRequestRefused):
        CheckpointAdmission(ORIGIN).admit(content)


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[tuple[Pool, VerifierKey]]:
    """Give workers on a new SoftHSM token, and what its ledger key verifies with."""
    folder = tmp_path / "softhsm"
    softhsm.provision_softhsm(folder)

    def spki(name: str) -> bytes:
        key = load_pem_public_key((folder / name).read_bytes())
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    setup = TokenSetup(
        vendor=SOFTHSM,
        module=str(softhsm.MODULE),
        token=softhsm.TOKEN_LABEL,
        pin_file=str(folder / softhsm.USER_PIN),
        institution_keys=(spki(softhsm.INSTITUTION_KEY),),
        token_key=spki(softhsm.TOKEN_KEY),
        challenge_bytes=16,
        challenges_per_minute=600,
        issuer="example.jp",
        token_lifetime_seconds=300,
        ledger_key=spki(softhsm.LEDGER_KEY),
        ledger_origin=ORIGIN,
    )
    key = load_pem_public_key((folder / softhsm.LEDGER_KEY).read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    hsm = Hsm(alias="hsm-1", setup=setup, environment=softhsm.environment(folder), workers=1)
    async with Pool((hsm,), state=tmp_path / "state") as workers:
        yield workers, VerifierKey.of_log(ORIGIN, key)


async def test_the_ledger_key_signs_checkpoints(pool: tuple[Pool, VerifierKey], store: Store) -> None:
    """A checkpoint that the HSM has signed verifies; the HSM refuses to go back behind it."""
    workers, key = pool
    async with Log(store, seconds=20) as log:
        keeper = Keeper(Recorder(log, lambda: 1), workers, key, monotonic=lambda: 0.0)
        await keeper.start()
        await log.append(b'{"before":0,"kind":"pruned","time":1,"version":1}')
        await keeper.turn()
    assert keeper.newest is not None
    assert keeper.newest.size == 1
    for wrong in (text(0), text(1), b"something else"):
        with pytest.raises(HsmRequestRefused):
            await workers.sign_checkpoint(wrong)
    signature = await workers.sign_checkpoint(text(2))
    key.verify(text(2).decode(), signature)
