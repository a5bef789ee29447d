"""A log in each kind of store, and a key in memory for its checkpoints."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.ledger.note import VerifierKey
from appliance.ledger.postgres import PostgresStore
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import Store
from tests.ledger.server import Server, running

ORIGIN = "jpki.example.jp/ledger/node-1"


@dataclass(slots=True)
class MemoryKey:
    """A ledger key that is in no HSM, and what it has signed."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    signed: list[bytes] = field(default_factory=list)

    async def sign_checkpoint(self, text: bytes) -> bytes:
        """Sign as the HSM does."""
        self.signed.append(text)
        return self.private.sign(text)

    def verifier(self, origin: str = ORIGIN) -> VerifierKey:
        """Return the public half, for notes."""
        return VerifierKey.of_log(origin, self.private.public_key())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The one server of this run."""
    with running() as server:
        yield server


NewStore = Callable[[], Store]


@pytest.fixture(params=["sqlite", "postgres"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> NewStore:
    """Return how stores on one new database are made: each as another process would have it."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "ledger.sqlite3", ORIGIN)
    conninfo = request.getfixturevalue("postgres_server").database()
    return lambda: PostgresStore(conninfo, ORIGIN)


@pytest.fixture
def store(new_store: NewStore) -> Store:
    """Return a store that holds nothing yet."""
    return new_store()


@pytest.fixture
def key() -> MemoryKey:
    """Return a ledger key."""
    return MemoryKey()
