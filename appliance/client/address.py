"""Where an appliance is, and how it and we know each other."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeAlias
from urllib.parse import urlsplit

import aiohttp

from appliance.config import read_secret
from appliance.errors import ConfigInvalid

_SOCKET_URL: Final = "http://appliance"


@dataclass(frozen=True, slots=True)
class Socket:
    """On this machine, at the Unix socket *path*; the appliance knows us by the account of this process."""

    path: Path | str

    @property
    def url(self) -> str:
        """What the paths of resources are added to."""
        return _SOCKET_URL

    def connector(self) -> aiohttp.BaseConnector:
        """Return what opens connections to it."""
        return aiohttp.UnixConnector(str(self.path))


@dataclass(frozen=True, slots=True)
class Network:
    """
    At `https://HOST:PORT`, by TLS 1.3: we know it by *authorities*, it knows us by *certificate*.

    All three are PEM files; nobody else can read *key_file*.
    """

    url: str
    authorities: Path
    certificate: Path
    key_file: Path

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname or parts.path or parts.query or parts.username:
            raise ConfigInvalid("the appliance's address is https://HOST:PORT and nothing more")

    def connector(self) -> aiohttp.BaseConnector:
        """Return what opens connections to it, or raise ConfigInvalid."""
        return aiohttp.TCPConnector(ssl=self._tls())

    def _tls(self) -> ssl.SSLContext:
        read_secret(self.key_file)
        try:
            context = ssl.create_default_context(cafile=str(self.authorities))
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(self.certificate, self.key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise ConfigInvalid(
                f"{self.authorities}, {self.certificate} and {self.key_file} are not the PEM files that TLS needs: {error}"
            ) from error
        return context


Address: TypeAlias = Socket | Network


def _no_passphrase() -> NoReturn:
    """Refuse: a key with a passphrase would have OpenSSL ask for it, and wait."""
    raise ValueError("a key with a passphrase cannot be used")
