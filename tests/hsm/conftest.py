"""A provisioned SoftHSM token, copied for each test; a module that misbehaves on demand; pools on both."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from msgspec.structs import replace

from appliance.hsm import softhsm
from appliance.hsm.messages import TokenSetup
from appliance.hsm.pool import Pool

ISSUER = "https://appliance.test"
CHALLENGE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Token:
    """A SoftHSM token in *folder*, and what a worker has to be told of it."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables SoftHSM needs."""
        return softhsm.environment(self.folder)

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
            module=str(softhsm.MODULE),
            token=softhsm.TOKEN_LABEL,
            pin_file=str(self.folder / softhsm.USER_PIN),
            institution_key=spki(self.institution_key),
            token_key=spki(self.token_key),
            challenge_bytes=CHALLENGE_BYTES,
            challenges_per_minute=1000,
            issuer=ISSUER,
            token_lifetime_seconds=300,
        )


def spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """Return *key* as DER SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a token, made once; not to be changed."""
    folder = tmp_path_factory.mktemp("hsm") / "token"
    softhsm.provision_softhsm(folder)
    return folder


@pytest.fixture
def token(provisioned: Path, tmp_path: Path) -> Token:
    """A token of the test's own."""
    folder = tmp_path / "token"
    shutil.copytree(provisioned, folder)
    configuration = folder / softhsm.CONFIGURATION
    configuration.write_text(configuration.read_text().replace(str(provisioned), str(folder)))
    return Token(folder)


@pytest.fixture
async def pool(token: Token) -> AsyncIterator[Pool]:
    """A pool of one worker on the token."""
    async with Pool(token.setup, environment=token.environment, sign_seconds=3.0) as started:
        yield started


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module of shim.c, compiled."""
    module = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(("gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", module, source, "-ldl"), check=True)
    return module


@dataclass(frozen=True, slots=True)
class Misbehaving:
    """A token behind a module that misbehaves; *file* is its switch."""

    setup: TokenSetup
    environment: Mapping[str, str]
    file: Path


@pytest.fixture
def misbehaving(token: Token, shim: Path, tmp_path: Path) -> Callable[[str], Misbehaving]:
    """Make a module that misbehaves in a named way of shim.c."""

    def make(how: str) -> Misbehaving:
        file = tmp_path / "switch"
        environment = {
            **token.environment,
            "SHIM": how,
            "SHIM_MODULE": str(softhsm.MODULE),
            "SHIM_FILE": str(file),
        }
        return Misbehaving(replace(token.setup, module=str(shim)), environment, file)

    return make


def _children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.fixture
def no_process_left() -> Iterator[None]:
    """Fail a test that leaves a child process behind."""
    before = _children()
    yield
    assert _children() <= before
