"""A provisioned SoftHSM token, copied for each test; a module that misbehaves on demand; pools on both."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from msgspec.structs import replace

from appliance.hsm import softhsm
from appliance.hsm.messages import TokenSetup, fingerprint
from appliance.hsm.place import Hsm
from appliance.hsm.pool import Pool
from appliance.hsm.vendor import SOFTHSM
from tests.shim.rules import Rules, compiled

ISSUER = "https://appliance.test"
CHALLENGE_BYTES = 16


LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
"""The loop of the daemon, and that of the commands."""


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Have tests on the daemon's loop; on both those in which a worker goes, for there the loops differ."""
    return LOOPS if item.path.name == "test_workers_going.py" else {"uvloop": LOOPS["uvloop"]}


@dataclass(frozen=True, slots=True)
class Token:
    """A SoftHSM token in *folder*, and what a worker has to be told of it."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables SoftHSM needs."""
        return softhsm.environment(self.folder)

    @property
    def state(self) -> Path:
        """A folder for markers."""
        return self.folder / "state"

    @property
    def institution_key(self) -> rsa.RSAPublicKey:
        """The institution's public key."""
        key = load_pem_public_key((self.folder / softhsm.INSTITUTION_KEY).read_bytes())
        assert isinstance(key, rsa.RSAPublicKey)
        return key

    @property
    def token_key(self) -> ec.EllipticCurvePublicKey:
        """The public key of result tokens."""
        key = load_pem_public_key((self.folder / softhsm.TOKEN_KEY).read_bytes())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return key

    @property
    def pin(self) -> str:
        """The user PIN."""
        return (self.folder / softhsm.USER_PIN).read_text().strip()

    @property
    def setup(self) -> TokenSetup:
        """What a worker is told."""
        return TokenSetup(
            vendor=SOFTHSM,
            module=str(softhsm.MODULE),
            token=softhsm.TOKEN_LABEL,
            pin_file=str(self.folder / softhsm.USER_PIN),
            institution_keys=(spki(self.institution_key),),
            token_key=spki(self.token_key),
            challenge_bytes=CHALLENGE_BYTES,
            challenges_per_minute=1000,
            issuer=ISSUER,
            token_lifetime_seconds=300,
        )

    def hsm(self, workers: int = 1, alias: str = "hsm-1", **changes: Any) -> Hsm:  # noqa: ANN401 - of several types
        """Return the token as a pool takes it, with *changes* to what its workers are told."""
        return Hsm(alias, replace(self.setup, **changes), self.environment, workers)

    @property
    def key(self) -> str:
        """The institution key's fingerprint."""
        return fingerprint(spki(self.institution_key))


def spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """Return *key* as DER SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a token, made once; not to be changed."""
    folder = tmp_path_factory.mktemp("hsm") / "token"
    softhsm.provision_softhsm(folder)
    return folder


def copied(provisioned: Path, folder: Path) -> Token:
    """Return a token in *folder* with the keys of the provisioned one."""
    shutil.copytree(provisioned, folder)
    configuration = folder / softhsm.CONFIGURATION
    configuration.write_text(configuration.read_text().replace(str(provisioned), str(folder)))
    return Token(folder)


@pytest.fixture
def token(provisioned: Path, tmp_path: Path) -> Token:
    """A token of the test's own."""
    return copied(provisioned, tmp_path / "token")


@pytest.fixture
def other_token(provisioned: Path, tmp_path: Path) -> Token:
    """Another token with the same keys, as a vendor's cloning gives it."""
    return copied(provisioned, tmp_path / "other")


@pytest.fixture
async def pool(token: Token) -> AsyncIterator[Pool]:
    """A pool of one worker on the token. Its callers wait for another worker however long that takes to come."""
    async with Pool([token.hsm()], state=token.state, sign_seconds=30.0) as started:
        yield started


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, compiled."""
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def rules(tmp_path: Path) -> Iterator[Rules]:
    """What the shim does; at first it forwards everything."""
    with Rules(tmp_path / "rules", str(softhsm.MODULE)) as written:
        yield written


@dataclass(frozen=True, slots=True)
class Misbehaving:
    """A token behind a module that does as *rules* say."""

    setup: TokenSetup
    environment: Mapping[str, str]
    rules: Rules
    state: Path

    @property
    def hsm(self) -> Hsm:
        """The token as a pool takes it, with one worker."""
        return Hsm("hsm-1", self.setup, self.environment, 1)


@pytest.fixture
def misbehaving(token: Token, shim: Path, rules: Rules, tmp_path: Path) -> Misbehaving:
    """The token behind the shim."""
    setup = replace(token.setup, module=str(shim))
    return Misbehaving(setup, {**token.environment, **rules.environment}, rules, tmp_path / "state")


def _children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.fixture
def no_process_left() -> Iterator[None]:
    """Fail a test that leaves a child process behind."""
    before = _children()
    yield
    assert _children() <= before
