"""Authentications with a real ledger: nothing signed that is not recorded, and nothing of the person recorded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from appliance.authentication import Authenticator
from appliance.card.cvc import check_chain
from appliance.card.profile import shipped
from appliance.chains import Chains, fingerprint
from appliance.errors import HsmUnavailable, LedgerUnavailable, ProofInvalid
from appliance.ledger import audit
from appliance.ledger.authentications import AuthenticationLedger
from appliance.ledger.entries import Finished, Reserved, decode
from appliance.ledger.fault import Fault, no_fault
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.recorder import Recorder
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import stored_entries
from appliance.revocation.policy import Sources
from appliance.simulator.faults import WrongSignature
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import Anchors
from appliance.trust.pseudonym import PseudonymKey
from tests.ledger.conftest import ORIGIN, MemoryKey
from tests.test_authentication import PIN, PINLESS, Key, Written, terminal


@dataclass(slots=True)
class Broken:
    """A signer whose HSM is away."""

    asked: list[bytes] = field(default_factory=list)

    async def sign_challenge(self, challenge: bytes, _key: str) -> bytes:
        """Refuse."""
        self.asked.append(challenge)
        raise HsmUnavailable("away")


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    """Return the institution's key."""
    return rsa.generate_private_key(65_537, 2_048)


@asynccontextmanager
async def recording(
    folder: Path, hierarchy: Hierarchy, private_key: rsa.RSAPrivateKey, now: datetime, fault: Fault = no_fault
) -> AsyncIterator[tuple[Authenticator, Keeper]]:
    """Give an authenticator whose ledger is in *folder*."""
    leaf = hierarchy.issue_institution(private_key.public_key(), "9912345")
    chain = check_chain(hierarchy.institution.intermediate, leaf, hierarchy.root_key)
    key = MemoryKey()
    async with Log(SqliteStore(folder / "ledger.sqlite3", ORIGIN, fault), seconds=5) as log:
        keeper = Keeper(Recorder(log, lambda: 1), key, key.verifier(), monotonic=lambda: 0.0)
        await keeper.start()
        yield (
            Authenticator(
                shipped("jpki-reference"),
                Chains(chain),
                Anchors(hierarchy.ca_certificates),
                Key(private_key),
                Written(),
                lambda: now,
                lambda length: b"\x11" * length,
                Sources([]),
                AuthenticationLedger(keeper.recorder, PseudonymKey(b"\x05" * 32), lambda: now),
            ),
            keeper,
        )


def remembered(folder: Path) -> list[Reserved | Finished]:
    """Return what the log in *folder* has."""
    with SqliteStore(folder / "ledger.sqlite3", ORIGIN).reading() as reader:
        entries = [decode(content) for _, content in stored_entries(reader, 0, reader.head().size)]
    return [entry for entry in entries if isinstance(entry, Reserved | Finished)]


async def test_two_entries_for_an_authentication(
    tmp_path: Path, hierarchy: Hierarchy, private_key: rsa.RSAPrivateKey, now: datetime
) -> None:
    """The first says which challenge which key will sign, the second how it ended; the result names the first."""
    async with recording(tmp_path, hierarchy, private_key, now) as (authenticator, _):
        result, _ = await authenticator.authenticate(PINLESS, terminal(hierarchy, now))
        signer = authenticator.signer
        assert isinstance(signer, Key)
    reserved, finished = remembered(tmp_path)
    assert isinstance(reserved, Reserved)
    assert (reserved.challenge, reserved.key) == (sha256(signer.signed[0]).hexdigest(), signer.keys[0])
    assert reserved.key == fingerprint(authenticator.chains.preferred)
    assert isinstance(finished, Finished)
    assert (finished.reserved, finished.outcome, finished.revocation) == (0, "authenticated", "unchecked")
    assert finished.evidence == sha256(result.evidence).hexdigest()
    assert result.log == (ORIGIN, 0)


async def test_a_refusal_is_remembered_with_its_code(
    tmp_path: Path, hierarchy: Hierarchy, private_key: rsa.RSAPrivateKey, now: datetime
) -> None:
    """What went wrong after the key was used stands in the log by the code that everybody else was told."""
    async with recording(tmp_path, hierarchy, private_key, now) as (authenticator, _):
        with pytest.raises(ProofInvalid):
            await authenticator.authenticate(PINLESS, terminal(hierarchy, now, WrongSignature()))
        broken = replace(authenticator, signer=Broken())
        with pytest.raises(HsmUnavailable):
            await broken.authenticate(PINLESS, terminal(hierarchy, now))
    codes = [entry.code for entry in remembered(tmp_path) if isinstance(entry, Finished)]
    assert codes == ["proof_invalid", "hsm_unavailable"]


async def test_with_the_pin_two_entries_too(
    tmp_path: Path, hierarchy: Hierarchy, private_key: rsa.RSAPrivateKey, now: datetime
) -> None:
    """With the PIN no institution key is used, and the authentication is remembered all the same."""
    async with recording(tmp_path, hierarchy, private_key, now) as (authenticator, _):
        await authenticator.authenticate(PIN, terminal(hierarchy, now))
    reserved, finished = remembered(tmp_path)
    assert isinstance(reserved, Reserved)
    assert (reserved.mode, reserved.check, reserved.checked_by) == ("pin", "pin", "desk-1")
    assert isinstance(finished, Finished)
    assert finished.outcome == "authenticated"


async def test_what_is_not_durable_is_not_signed(
    tmp_path: Path, hierarchy: Hierarchy, private_key: rsa.RSAPrivateKey, now: datetime
) -> None:
    """Where the ledger cannot write, the authentication is refused and the key is never asked."""

    def full(point: str) -> None:
        if point == "append.beginning":
            raise LedgerUnavailable("the disk is full")

    async with recording(tmp_path, hierarchy, private_key, now, full) as (authenticator, _):
        with pytest.raises(LedgerUnavailable):
            await authenticator.authenticate(PINLESS, terminal(hierarchy, now))
        assert isinstance(authenticator.signer, Key)
        assert authenticator.signer.signed == []
    assert remembered(tmp_path) == []


async def test_who_leaves_in_the_middle_is_closed(
    tmp_path: Path, hierarchy: Hierarchy, private_key: rsa.RSAPrivateKey, now: datetime
) -> None:
    """An authentication that is cancelled while the HSM works is closed as interrupted."""
    asked = asyncio.Event()

    class Slow:
        async def sign_challenge(self, _challenge: bytes, _key: str) -> bytes:
            asked.set()
            never: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            return await never

    async with recording(tmp_path, hierarchy, private_key, now) as (authenticator, keeper):
        slow = replace(authenticator, signer=Slow())
        task = asyncio.create_task(slow.authenticate(PINLESS, terminal(hierarchy, now)))
        await asked.wait()
        task.cancel()
        await asyncio.wait((task,))
        await keeper.turn()
    assert remembered(tmp_path)[1] == Finished(time=1, reserved=0, outcome="interrupted")


async def test_nothing_of_the_person_is_in_the_files(
    tmp_path: Path, hierarchy: Hierarchy, private_key: rsa.RSAPrivateKey, now: datetime
) -> None:
    """Neither serial nor name nor key nor any piece of the certificate is anywhere in the store's files."""
    async with recording(tmp_path, hierarchy, private_key, now) as (authenticator, keeper):
        result, _ = await authenticator.authenticate(PINLESS, terminal(hierarchy, now))
        await keeper.checkpoint()
        files = everything_in(tmp_path)
        with keeper.log.store.reading() as reader:
            assert audit.verify(reader, keeper.key, contents=True).size == 2
    certificate = result.holder.certificate.certificate
    der = certificate.public_bytes(Encoding.DER)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    serial = certificate.serial_number
    names = [str(name.value) for name in certificate.subject if name.oid == NameOID.COMMON_NAME]
    needles = [
        serial.to_bytes((serial.bit_length() + 7) // 8),
        *(text.encode() for text in (str(serial), f"{serial:x}", f"{serial:X}", *names)),
        *(encoded for place in range(0, len(der) - 24, 8) for encoded in (der[place : place + 24],)),
        *(content.hex().encode() for content in (der[:24], spki[-24:])),
        *(sha256(content).hexdigest().encode() for content in (der, spki, str(serial).encode())),
    ]
    assert names
    assert [needle for needle in needles if needle in files] == []
    assert b'"outcome":"authenticated"' in files


def everything_in(folder: Path) -> bytes:
    """Return the content of all files in *folder*."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
