"""From the configuration to a ledger."""

import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance import config
from appliance.config import Configuration
from appliance.errors import ConfigInvalid
from appliance.hsm.shipped import shipped
from appliance.ledger import place
from appliance.ledger.log import Log
from appliance.ledger.note import KeyType
from appliance.ledger.postgres import PostgresStore
from appliance.ledger.sqlite import SqliteStore
from tests.ledger.conftest import MemoryKey

DATABASE = 'database = "ledger/ledger.sqlite3"'


def configured(folder: Path, *changes: tuple[str, str]) -> Configuration:
    """Return the annotated example, with *changes*, in *folder*."""
    text = shipped("appliance.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "appliance.toml").write_text(text)
    (folder / "softhsm").mkdir(exist_ok=True)
    return config.load(folder / "appliance.toml")


def test_a_path_is_sqlite_and_a_uri_is_postgresql(tmp_path: Path) -> None:
    """One setting says which database it is."""
    store = place.store(configured(tmp_path))
    assert isinstance(store, SqliteStore)
    assert store.path == tmp_path / "ledger" / "ledger.sqlite3"
    uri = "postgresql:///ledger?host=/run/postgresql"
    assert isinstance(place.store(configured(tmp_path, (DATABASE, f'database = "{uri}"'))), PostgresStore)


@pytest.mark.parametrize("uri", ["postgresql://me:secret@host/db", "postgresql:///db?password=secret"])
def test_a_password_in_the_configuration_is_refused(tmp_path: Path, uri: str) -> None:
    """Secrets are in files of their own."""
    with pytest.raises(ConfigInvalid, match=r"ledger\.database"):
        configured(tmp_path, (DATABASE, f'database = "{uri}"'))


def test_copies_are_needed_where_they_are_demanded(tmp_path: Path) -> None:
    """Stopping without copies makes no sense where there is no place for them."""
    with pytest.raises(ConfigInvalid, match="needs a place"):
        configured(
            tmp_path,
            ("#stop_without_copy_hours", "stop_without_copy_hours"),
            ('copies = "ledger/checkpoints"', ""),
        )


def test_the_ledger_key_may_be_of_two_kinds(tmp_path: Path) -> None:
    """Ed25519 and P-256 sign checkpoints; another key, or none, is refused with its file's name."""
    configuration = configured(tmp_path)
    path = tmp_path / "softhsm" / "ledger.pub.pem"
    for key, kind in (
        (MemoryKey().private.public_key(), KeyType.ED25519),
        (ec.generate_private_key(ec.SECP256R1()).public_key(), KeyType.ECDSA),
    ):
        path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        assert place.verifier_key(configuration).type is kind
    for content in (
        b"no key",
        *(
            wrong.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            for wrong in (ec.generate_private_key(ec.SECP384R1()), ed448.Ed448PrivateKey.generate())
        ),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigInvalid, match=r"ledger\.pub\.pem"):
            place.verifier_key(configuration)


@pytest.mark.parametrize(
    "database",
    [
        "postgres://u@db.example.jp/ledger",
        "postgres://u:secret@db.example.jp/ledger",
        "POSTGRESQL://u@db.example.jp/ledger",
        "sqlite:///ledger.sqlite3",
        "postgresql://u:secret@db.example.jp/ledger",
        "postgresql:///ledger?password=secret",
    ],
)
def test_another_uri_is_no_file_and_no_password_is_taken(tmp_path: Path, database: str) -> None:
    """Another spelling of the scheme is refused, not made a folder of; and no message repeats what it was."""
    with pytest.raises(ConfigInvalid, match=r"ledger\.database") as refused:
        configured(tmp_path, (DATABASE, f'database = "{database}"'))
    assert "secret" not in str(refused.value)


async def test_the_example_makes_a_keeper(tmp_path: Path, key: MemoryKey) -> None:
    """The annotated example, with witnesses and copies, gives a keeper with all of them."""
    shown = shipped("appliance.toml").read_text()
    start = shown.index("#[[ledger.witness]]")
    witness = shown[start : shown.index("\n\n", start)]
    configuration = configured(tmp_path, (witness, witness.replace("#", "")))
    public = key.private.public_key()
    (tmp_path / "softhsm" / "ledger.pub.pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    async with Log(place.store(configuration), seconds=20) as log:
        keeper = place.keeper(configuration, log, key, time.monotonic)
        await keeper.start()
    assert [sink.name for sink in keeper.copies.sinks] == ["directory"]
    assert [witness.key.name for witness in keeper.copies.witnesses] == ["witness.example.jp"]
