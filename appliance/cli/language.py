"""Which language the person at the terminal reads."""

import os

from appliance.catalogue import Language


def spoken() -> Language:
    """Return the language that the environment's locale says."""
    names = (os.environ.get(variable) for variable in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return Language.from_locale(next((name for name in names if name), None))
