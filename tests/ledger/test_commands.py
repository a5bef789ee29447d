"""`jpki-appliance ledger`, as an auditor uses it."""

import asyncio
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance import config
from appliance.cli.ledger import ledger
from appliance.errors import LedgerDamaged, LedgerEntryAbsent, LedgerRolledBack, LedgerUnusable
from appliance.hsm.shipped import shipped
from appliance.ledger import place
from appliance.ledger.proof import InclusionProof
from tests.ledger.conftest import MemoryKey
from tests.ledger.test_audit import AUTHENTICATIONS, filled

SIZE = 2 * AUTHENTICATIONS


@pytest.fixture
def folder(tmp_path: Path, key: MemoryKey) -> Path:
    """Return a folder with a configuration and a filled ledger."""
    (tmp_path / "appliance.toml").write_bytes(shipped("appliance.toml").read_bytes())
    (tmp_path / "softhsm").mkdir()
    pem = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "softhsm" / "ledger.pub.pem").write_bytes(pem)
    asyncio.run(filled(place.store(config.load(tmp_path / "appliance.toml")), key))
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    """Run a command on the ledger in *folder*; raise what it raises."""
    return CliRunner().invoke(
        ledger, ["--config", str(folder / "appliance.toml"), *arguments], catch_exceptions=False
    )


def test_a_log_is_verified(folder: Path, tmp_path: Path) -> None:
    """Without a saved checkpoint the answer says what it is not worth; with one it does not have to."""
    assert "No saved checkpoint" in run(folder, "verify").stdout
    saved = tmp_path / "saved"
    saved.write_text(run(folder, "checkpoint").stdout)
    said = run(folder, "verify", "--contents", "--checkpoint", str(saved)).stdout
    assert said.startswith(f"{SIZE} entries in order")
    assert "0 entries after the newest" in said
    assert "No saved" not in said


def test_damage_is_told(folder: Path) -> None:
    """A changed entry ends with its code."""
    with place.store(config.load(folder / "appliance.toml")).pruning() as log:
        log.rows("UPDATE batches SET hashes = zeroblob(length(hashes)) WHERE first = 0")  # type: ignore[attr-defined]
    with pytest.raises(LedgerDamaged, match="entry 0"):
        run(folder, "verify")


def test_a_log_of_an_earlier_key_is_verified_by_that_key(folder: Path, tmp_path: Path) -> None:
    """After a change of the ledger's key the closed log needs the key of its own time, and only that."""
    earlier = (folder / "softhsm" / "ledger.pub.pem").rename(tmp_path / "earlier.pem")
    key = Ed25519PrivateKey.generate().public_key()
    (folder / "softhsm" / "ledger.pub.pem").write_bytes(
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(LedgerDamaged):
        run(folder, "verify")
    assert run(folder, "--public-key", str(earlier), "verify").stdout.startswith(f"{SIZE} entries")


def test_an_entry_is_proved(folder: Path, key: MemoryKey) -> None:
    """The proof that is printed verifies with the key that is printed; what is not there has none."""
    proof = InclusionProof.from_bytes(run(folder, "proof", "17").stdout_bytes)
    origin = config.load(folder / "appliance.toml").settings.ledger.origin
    assert run(folder, "checkpoint", "--key").stdout.strip() == key.verifier(origin).to_text()
    assert proof.verify(key.verifier(origin)).size == SIZE
    with pytest.raises(LedgerEntryAbsent):
        run(folder, "proof", "999")


def test_entries_are_exported_pruned_and_restored(folder: Path, tmp_path: Path) -> None:
    """What was pruned is exported no more; a backup is restored where there is no such log, and stays closed."""
    assert len(run(folder, "export", "--to", "5").stdout.splitlines()) == 5
    assert "is gone" in run(folder, "prune", "--before", "1970-01-01T00:00:01Z").stdout
    first = json.loads(run(folder, "export").stdout.splitlines()[0])
    assert first["index"] > 0
    backup = tmp_path / "backup"
    saved = tmp_path / "saved"
    saved.write_text(run(folder, "checkpoint").stdout)
    assert run(folder, "backup", str(backup)).stdout == f"{SIZE} entries\n"
    with pytest.raises(LedgerUnusable, match="already"):
        run(folder, "restore", str(backup))
    for path in (folder / "ledger").iterdir():
        path.unlink()
    said = run(folder, "restore", str(backup), "--checkpoint", str(saved)).stdout
    assert said.startswith(f"{SIZE} entries restored and verified")
    assert run(folder, "verify").stdout.startswith(f"{SIZE} entries")


def test_a_backup_that_is_older_than_a_checkpoint_is_restored(
    folder: Path, tmp_path: Path, key: MemoryKey
) -> None:
    """All it has comes back; how much is missing is said beside it, with an exit status of its own."""
    assert run(folder, "backup", str(tmp_path / "backup")).exit_code == 0
    asyncio.run(filled(place.store(config.load(folder / "appliance.toml")), key))
    (tmp_path / "saved").write_text(run(folder, "checkpoint").stdout)
    for path in (folder / "ledger").iterdir():
        path.unlink()
    done = run(folder, "restore", str(tmp_path / "backup"), "--checkpoint", str(tmp_path / "saved"))
    assert done.stdout.startswith(f"{SIZE} entries restored and verified; the ledger is closed")
    assert f"{SIZE} entries are missing, from {SIZE} on" in done.stdout
    assert done.exit_code == 3
    assert run(folder, "verify").stdout.startswith(f"{SIZE} entries")


@pytest.mark.parametrize("command", [("proof",), ("export", "--from"), ("export", "--to")])
def test_an_index_beyond_all_is_a_mistake_in_the_command(folder: Path, command: tuple[str, ...]) -> None:
    """What no entry can have is refused before any store is asked."""
    with pytest.raises(click.BadParameter):
        ledger.main(
            ["--config", str(folder / "appliance.toml"), *command, "100000000000000000000"],
            standalone_mode=False,
        )


def test_what_is_said_to_be_pruned_and_not_by_the_log_is_told(folder: Path) -> None:
    """The database's word for it is not the log's."""
    assert "is gone" in run(folder, "prune", "--before", "1970-01-01T00:00:01Z").stdout
    assert "the database's word alone" in run(folder, "verify", "--contents").stdout


def test_a_truncated_log_is_told_with_a_saved_checkpoint(folder: Path, tmp_path: Path) -> None:
    """A log that was cut off, checkpoints and all, is behind the one that was kept."""
    saved = tmp_path / "saved"
    saved.write_text(run(folder, "checkpoint").stdout)
    with place.store(config.load(folder / "appliance.toml")).pruning() as log:
        log.rows("DELETE FROM checkpoints")  # type: ignore[attr-defined]
        log.rows("DELETE FROM nodes")  # type: ignore[attr-defined]
        log.rows("DELETE FROM batches WHERE first > 0")  # type: ignore[attr-defined]
    run(folder, "verify")
    with pytest.raises(LedgerRolledBack):
        run(folder, "verify", "--checkpoint", str(saved))
