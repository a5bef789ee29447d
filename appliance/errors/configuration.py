"""What the appliance was told, and cannot work with."""

from appliance.errors.base import EX_CONFIG, ApplianceError


class ConfigurationError(ApplianceError):
    """The appliance was set up in a way it cannot work with."""

    exit_status = EX_CONFIG


class ConfigInvalid(ConfigurationError):
    """The configuration file, or a file it names, is missing, unreadable or wrong."""

    code = "config_invalid"


class ProfileInvalid(ConfigurationError):
    """A card profile lacks a value, has an unknown one, or one that cannot be."""

    code = "profile_invalid"


class ProfileUnsafe(ConfigurationError):
    """A card profile could work, but would weaken what the institution key or a proof is worth."""

    code = "profile_unsafe"


class PartMissing(ConfigurationError):
    """A program or library of the system is not installed; the detail names its package."""

    code = "part_missing"


class RootRefused(ConfigurationError):
    """The appliance was started with all privileges, and needs none."""

    code = "root_refused"
