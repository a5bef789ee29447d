"""
The terminal's configuration `terminal.toml`: read once, typed, frozen. `hsm-config/terminal.toml` is its manual.

As in the appliance's own configuration, an unknown key is an error, secrets appear only as the paths of files, and
paths are relative to the file.
"""

import ssl
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from appliance import credentials
from appliance.card import profile as profiles
from appliance.card.profile import Profile
from appliance.config import Alias, Name, decoded, read_bounded, read_secret
from appliance.errors import ConfigInvalid
from appliance.terminals import messages
from appliance.terminals.agent.signatures import keys_of
from appliance.terminals.messages import MOST_READERS
from appliance.terminals.transport import Extended
from appliance.terminals.view import Desk

_PROFILE_FILE: Final = ".toml"
_MOST_NODES: Final = 8
_Url: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^wss://[!-~]{1,512}\Z")]
_Pause: TypeAlias = Annotated[float, msgspec.Meta(ge=0.1, le=3600)]


class PinEntry(StrEnum):
    """Where holders enter their PIN."""

    PAD = "pad"
    """On the reader's own keys (PC/SC part 10). UNVERIFIED with real readers."""
    KEYBOARD = "keyboard"
    """On the terminal's keyboard."""
    NONE = "none"
    """Nowhere: authentications with PIN are declined."""

    @property
    def announced(self) -> messages.PinEntry:
        """What the appliance is told of it."""
        return {
            PinEntry.PAD: messages.PinEntry.PAD,
            PinEntry.KEYBOARD: messages.PinEntry.SCREEN,
            PinEntry.NONE: messages.PinEntry.NONE,
        }[self]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all sections have in common."""


class ApplianceSettings(_Section, frozen=True, kw_only=True):
    """Where the appliance is, and how it is called again when it does not answer."""

    url: _Url | Annotated[tuple[_Url, ...], msgspec.Meta(min_length=1, max_length=_MOST_NODES)] | None = None
    """Of several nodes, each one's: the terminal is connected to all of them."""
    socket: str | None = None
    """The appliance's Unix socket, where it runs on the same machine."""
    authorities: str | None = None
    """PEM: the CAs of its TLS certificate."""
    certificate: str | None = None
    """PEM: this terminal's TLS certificate and what leads to its root."""
    key_file: str | None = None
    shortest_pause_seconds: _Pause = 1.0
    longest_pause_seconds: _Pause = 60.0

    def __post_init__(self) -> None:
        if (self.url is None) is (self.socket is None):
            raise ValueError("the appliance is at exactly one of url and socket")
        tls = (self.authorities, self.certificate, self.key_file)
        if any((one is None) is (self.url is not None) for one in tls):
            raise ValueError("authorities, certificate and key_file go with url, all three of them")
        for url in self.urls:
            _require_reachable(url)
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("a node is named twice")
        if self.longest_pause_seconds < self.shortest_pause_seconds:
            raise ValueError("longest_pause_seconds is under shortest_pause_seconds")

    @property
    def urls(self) -> tuple[str, ...]:
        """The nodes' addresses on the network."""
        match self.url:
            case None:
                return ()
            case str(url):
                return (url,)
            case urls:
                return urls


def _require_reachable(url: str) -> None:
    """Raise ValueError where nothing can be at *url*, or it holds a secret; it is not repeated."""
    try:
        parts = urlsplit(url)
        whole = parts.hostname and parts.port != 0
    except ValueError as error:
        raise ValueError("a url is no address: its host or port cannot be") from error
    if not whole:
        raise ValueError("a url is no address: its host or port cannot be")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a url holds a name or password: a terminal shows its certificate instead")


class ScenarioSettings(_Section, frozen=True, kw_only=True):
    """What the appliance may have done with a card."""

    profile: str = "jpki-reference"
    """Name of a packaged profile, or path of a profile file."""
    require_signed: bool = False
    keys: str | None = None
    """JWK or JWKS of the appliance's token key; without it the key is whatever the appliance says."""

    def __post_init__(self) -> None:
        if self.keys is not None and not self.require_signed:
            raise ValueError("keys are of no use without require_signed")


class PinSettings(_Section, frozen=True, kw_only=True):
    """How holders enter their PIN."""

    entry: PinEntry = PinEntry.NONE
    seconds: Annotated[float, msgspec.Meta(ge=5, le=300)] = 60.0


class ReaderSettings(_Section, frozen=True, kw_only=True):
    """A PC/SC reader of this terminal."""

    name: Name
    """A part of the reader's name that no other reader has."""
    alias: Alias
    extended: Literal["yes", "no", "chaining"] = "yes"
    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class TerminalSettings(_Section, frozen=True, kw_only=True):
    """The whole file."""

    appliance: ApplianceSettings
    reader: Annotated[tuple[ReaderSettings, ...], msgspec.Meta(min_length=1, max_length=MOST_READERS)]
    scenarios: ScenarioSettings = ScenarioSettings()
    pin: PinSettings = PinSettings()

    def __post_init__(self) -> None:
        if len({one.alias for one in self.reader}) < len(self.reader):
            raise ValueError("two readers have one alias")


class TerminalConfiguration(msgspec.Struct, frozen=True):
    """Settings and the *folder* their paths start from."""

    settings: TerminalSettings
    folder: Path

    def path(self, named: str) -> Path:
        """Return the absolute path of what the file calls *named*."""
        return credentials.located(named) or (self.folder / named).absolute()

    def profile(self) -> Profile:
        """Return the card profile, or raise ConfigInvalid, ProfileInvalid, ProfileUnsafe."""
        named = self.settings.scenarios.profile
        if named.endswith(_PROFILE_FILE):
            return Profile.from_toml(read_bounded(self.path(named)))
        return profiles.shipped(named)

    def keys(self) -> tuple[ec.EllipticCurvePublicKey, ...] | None:
        """Return the pinned keys that sign scenarios, None where none is pinned; or raise ConfigInvalid."""
        named = self.settings.scenarios.keys
        return None if named is None else keys_of(read_bounded(self.path(named)))

    def desks(self, entry: PinEntry) -> dict[str, Desk]:
        """Return the readers by their alias, with PIN entry as *entry* says."""
        return {
            one.alias: Desk(
                one.name,
                Extended(one.extended),
                one.delay_seconds,
                pin_pad=entry is PinEntry.PAD,
                pin_seconds=self.settings.pin.seconds,
            )
            for one in self.settings.reader
        }

    def tls(self) -> ssl.SSLContext | None:
        """Return how the appliance is reached on the network, None for its socket; or raise ConfigInvalid."""
        appliance = self.settings.appliance
        if appliance.authorities is None or appliance.certificate is None or appliance.key_file is None:
            return None
        authorities, certificate, key_file = (
            self.path(named) for named in (appliance.authorities, appliance.certificate, appliance.key_file)
        )
        read_secret(key_file)
        try:
            context = ssl.create_default_context(cafile=str(authorities))
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(certificate, key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise ConfigInvalid(
                f"{authorities}, {certificate} and {key_file} are not the PEM files that TLS needs: {error}"
            ) from error
        return context


def _no_passphrase() -> str:
    """Refuse: a key with a passphrase would have OpenSSL ask for it, and wait."""
    raise ValueError("a key with a passphrase cannot be used")


def load(path: Path) -> TerminalConfiguration:
    """Return the terminal's configuration in *path*, or raise ConfigInvalid naming the key that is wrong."""
    return TerminalConfiguration(decoded(path, TerminalSettings), path.absolute().parent)
