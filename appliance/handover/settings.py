"""
The hand-over's configuration `handover.toml`: read once, typed, frozen. `hsm-config/handover.toml` is its manual.

An unknown key is an error, secrets appear only as the paths of files, and paths are relative to the file.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from appliance import credentials
from appliance.catalogue import Language
from appliance.client import Address, Network, Socket
from appliance.config import Name, decoded, read_bounded
from appliance.errors import ConfigInvalid

_HOUR = 3600.0


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all sections have in common."""


class ApplianceSettings(_Section, frozen=True, kw_only=True):
    """Where the appliance is, and for whom its results are."""

    audience: Name
    socket: str | None = None
    url: str | None = None
    authorities: str | None = None
    certificate: str | None = None
    key_file: str | None = None
    keys: str | None = None
    """JWKS of the appliance, pinned; without it the appliance is asked."""

    def __post_init__(self) -> None:
        if (self.url is None) is (self.socket is None):
            raise ValueError("the appliance is at exactly one of url and socket")
        tls = (self.authorities, self.certificate, self.key_file)
        if any((one is None) is (self.url is not None) for one in tls):
            raise ValueError("authorities, certificate and key_file go with url, all three of them")


class FolderSettings(_Section, frozen=True, kw_only=True):
    """Three folders; *work* is the hand-over's own, on the file system of *requests*."""

    requests: str
    results: str
    work: str


class RequestSettings(_Section, frozen=True, kw_only=True):
    """How requests are found, and how many are carried out."""

    look_seconds: Annotated[float, msgspec.Meta(ge=0.05, le=60)] = 0.5
    settle_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 2.0
    """For how long a file that is no request has to lie unchanged until it is refused: it may be half-written."""
    longest_age_seconds: Annotated[float, msgspec.Meta(ge=1, le=_HOUR)] = 300.0
    at_once: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    answer_seconds: Annotated[float, msgspec.Meta(ge=1, le=600)] = 120.0


class ResultSettings(_Section, frozen=True, kw_only=True):
    """For how long what is kept, and the language of texts where a request names none."""

    keep_seconds: Annotated[float, msgspec.Meta(ge=1, le=24 * _HOUR)] = 900.0
    remember_hours: Annotated[float, msgspec.Meta(ge=0.01, le=720)] = 24.0
    language: Language = Language.JA

    def __post_init__(self) -> None:
        if self.remember_hours * _HOUR < self.keep_seconds:
            raise ValueError("remember_hours is shorter than keep_seconds")


class HandoverSettings(_Section, frozen=True, kw_only=True):
    """The whole file."""

    appliance: ApplianceSettings
    folders: FolderSettings
    requests: RequestSettings = RequestSettings()
    results: ResultSettings = ResultSettings()

    def __post_init__(self) -> None:
        requests = self.requests
        if self.results.remember_hours * _HOUR < 2 * requests.longest_age_seconds + requests.answer_seconds:
            raise ValueError(
                "results.remember_hours is shorter than a request may lie there and be carried out"
            )


class HandoverConfiguration(msgspec.Struct, frozen=True):
    """Settings and the *folder* their paths start from."""

    settings: HandoverSettings
    folder: Path

    def path(self, named: str) -> Path:
        """Return the absolute path of what the file calls *named*."""
        return credentials.located(named) or (self.folder / named).absolute()

    def address(self) -> Address:
        """Return where the appliance is, or raise ConfigInvalid."""
        appliance = self.settings.appliance
        match appliance.url, appliance.authorities, appliance.certificate, appliance.key_file:
            case str(url), str(authorities), str(certificate), str(key_file):
                return Network(url, self.path(authorities), self.path(certificate), self.path(key_file))
            case _:
                return Socket(self.path(appliance.socket or ""))

    def keys(self) -> bytes | None:
        """Return the pinned keys, None where none are; or raise ConfigInvalid."""
        named = self.settings.appliance.keys
        return None if named is None else read_bounded(self.path(named))

    def folders(self) -> tuple[Path, Path, Path]:
        """
        Return the folders for requests, results and work, making those that are missing.

        Raises ConfigInvalid where they are one another, or a request cannot be taken by renaming it.
        """
        named = self.settings.folders
        paths = tuple(self.path(one) for one in (named.requests, named.results, named.work))
        requests, results, work = paths
        try:
            for path, mode in zip(paths, (0o770, 0o770, 0o700), strict=True):
                path.mkdir(mode, parents=True, exist_ok=True)
            if len({path.resolve() for path in paths}) < len(paths):
                raise ConfigInvalid("folders.requests, folders.results and folders.work are three folders")
            work.chmod(0o700)
            if requests.stat().st_dev != work.stat().st_dev:
                raise ConfigInvalid("folders.work is on another file system than folders.requests")
        except OSError as error:
            raise ConfigInvalid(f"{error.filename} cannot be used: {error.strerror}") from error
        return requests, results, work


def load(path: Path) -> HandoverConfiguration:
    """Return the configuration in *path*, or raise ConfigInvalid naming the key that is wrong."""
    return HandoverConfiguration(decoded(path, HandoverSettings), path.absolute().parent)
