"""Settings together with the folder that the paths in them start from."""

from pathlib import Path

import msgspec

from appliance import credentials
from appliance.config.files import decoded, read_bounded, read_secret
from appliance.config.hsm import TokenSettings
from appliance.config.settings import Settings


class Configuration(msgspec.Struct, frozen=True):
    """Settings and the *folder* their paths start from."""

    settings: Settings
    folder: Path

    def path(self, named: str) -> Path:
        """Return the absolute path of what the file calls *named*; raise ConfigInvalid for an impossible credential."""
        return credentials.located(named) or (self.folder / named).absolute()

    def read(self, named: str) -> bytes:
        """Return the content of the file called *named*, or raise ConfigInvalid."""
        return read_bounded(self.path(named))

    def environment(self, hsm: TokenSettings) -> dict[str, str]:
        """Return the variables of the module of *hsm*, with paths beside the configuration file made absolute."""
        return {
            name: str(self.path(value)) if value.startswith("./") else value
            for name, value in hsm.environment.items()
        }

    def read_secret(self, named: str) -> bytes:
        """Return the content of the secret file called *named*; raise ConfigInvalid if others can read it."""
        return read_secret(self.path(named))


def load(path: Path) -> Configuration:
    """Return the configuration in *path*, or raise ConfigInvalid naming the key that is wrong."""
    return Configuration(decoded(path, Settings), path.absolute().parent)
