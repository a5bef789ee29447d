"""
The configuration file: TOML in, frozen settings out.

Unknown keys are refused, not ignored: a misspelt safety setting must not silently mean its default. Secrets are
never in the file; it names the files they are in. Paths are relative to the file that names them, so that
a folder with a configuration can be moved as one. `hsm-config/appliance.toml` is the annotated example.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from appliance.errors import ConfigInvalid

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]

T = TypeVar("T")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all sections have in common."""


class InstitutionSettings(_Section, frozen=True, kw_only=True):
    """The institution's certificates, and the profile of the cards that take them."""

    profile: str = "jpki-reference"
    """Name of a packaged profile, or path of a profile file."""
    intermediate: str
    leaf: str
    root_key: str | None = None
    """PEM public key of the institution root, where it is known; the real one is not public."""


class HsmSettings(_Section, frozen=True, kw_only=True):
    """Which PKCS#11 token holds the keys, and how long it may take."""

    module: str
    token: Name
    pin_file: str
    environment: Mapping[str, str] = {}
    """Variables the module needs. A value that begins with "./" is a path beside the configuration file."""
    token_key: str
    """PEM public key of the key that signs result tokens; its private half is in the token."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    start_seconds: Seconds = 20.0
    sign_seconds: Seconds = 5.0
    challenges_per_minute: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 600
    """The most a worker signs with the institution key, whoever asks."""


class TrustSettings(_Section, frozen=True, kw_only=True):
    """Which CAs issue holders' certificates."""

    authorities: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class ReaderSettings(_Section, frozen=True, kw_only=True):
    """The local PC/SC reader."""

    name: Name
    """A part of the reader's name that no other reader has."""
    alias: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    """What the reader is called in results; never the raw name."""
    card_seconds: Seconds = 15.0
    exchange_seconds: Seconds = 10.0


class ResultSettings(_Section, frozen=True, kw_only=True):
    """What a result token says of its maker and for whom it is."""

    issuer: Name
    audience: Name
    lifetime_seconds: Annotated[int, msgspec.Meta(ge=10, le=3600)] = 300
    pseudonym_key_file: str


class Settings(_Section, frozen=True, kw_only=True):
    """The whole file. *folder* is where it lies; `path` resolves what it names."""

    institution: InstitutionSettings
    hsm: HsmSettings
    trust: TrustSettings
    reader: ReaderSettings
    result: ResultSettings


class Configuration(msgspec.Struct, frozen=True):
    """Settings and the *folder* their paths start from."""

    settings: Settings
    folder: Path

    def path(self, named: str) -> Path:
        """Return the absolute path of what the file calls *named*."""
        return (self.folder / named).absolute()

    def read(self, named: str) -> bytes:
        """Return the content of the file called *named*, or raise ConfigInvalid."""
        return read_bounded(self.path(named))

    @property
    def hsm_environment(self) -> dict[str, str]:
        """The module's variables, with paths beside the configuration file made absolute."""
        return {
            name: str(self.path(value)) if value.startswith("./") else value
            for name, value in self.settings.hsm.environment.items()
        }

    def read_secret(self, named: str) -> bytes:
        """Return the content of the secret file called *named*; raise ConfigInvalid if others can read it."""
        path = self.path(named)
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigInvalid(f"{path} can be read by others than its owner: chmod 600")
        return read_bounded(path)


_LARGEST_FILE = 1 << 20


def read_bounded(path: Path) -> bytes:
    """Return what *path* holds, or raise ConfigInvalid: absent, unreadable, or too large to be meant."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST_FILE:
        raise ConfigInvalid(f"{path} is larger than {_LARGEST_FILE} bytes")
    return content


def load(path: Path) -> Configuration:
    """Return the configuration in *path*, or raise ConfigInvalid naming the key that is wrong."""
    content = read_bounded(path)
    try:
        settings = msgspec.toml.decode(content, type=Settings)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path}: {error}") from error
    return Configuration(settings, path.absolute().parent)
