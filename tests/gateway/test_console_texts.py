"""What the console says of values that the appliance sends: there are words for each of them (`tests/browser/test_texts`)."""

import re
from collections.abc import Iterable
from enum import StrEnum
from importlib import resources

from appliance.authentication import CheckMethod
from appliance.catalogue import Language, catalogue
from appliance.emergency import Reason
from appliance.gateway.condition import Cause
from appliance.gateway.day import NO_CHECK
from appliance.gateway.desks import DeskState
from appliance.gateway.findings import Advice, Part, Verdict
from appliance.gateway.jobs import Phase
from appliance.gateway.texts import texts
from appliance.hsm.health import HsmState

BEGINNING = re.compile(r"`((?:console|doctor-do|emergency-reason|status)-[a-z-]*)\$\{")
TOLD: dict[str, Iterable[StrEnum | str]] = {
    "console-part-": Part,
    "console-verdict-": Verdict,
    "console-found-": (*Advice, "clock-differs"),
    "doctor-do-": Advice,
    "console-check-": (*CheckMethod, NO_CHECK),
    "console-stage-": Phase,
    "console-source-": ("crl", "ocsp"),
    "console-sink-": ("store", "signer", "directory", "syslog"),
    "console-certificate-": (
        *("tls-server", "responder-client", "eligibility-client"),
        *("authority", "tls-clients", "responder-authority", "eligibility-authority", "syslog-authority"),
    ),
    "emergency-reason-": Reason,
    "status-cause-": Cause,
    "status-hsm-": HsmState,
    "status-desk-": DeskState,
}
"""What stands behind each beginning of a key that the console puts a value to."""


def beginnings() -> set[str]:
    """Return how keys begin whose end is a value."""
    pages = resources.files("appliance.gateway") / "pages"
    scripts = (one.read_text("utf-8") for one in pages.iterdir() if one.name.startswith("console"))
    return {begin for script in scripts for begin in BEGINNING.findall(script)}


def test_every_value_that_can_be_told_has_its_words() -> None:
    """Whatever the appliance sends, nobody reads a key."""
    assert beginnings() == set(TOLD)
    known = texts(Language.EN).texts
    keys = [f"{begin}{value}" for begin, values in TOLD.items() for value in values]
    assert [key for key in keys if key not in known] == []


def test_both_languages_name_the_same_settings_and_commands() -> None:
    """What stands in backticks is no language; English can be read without a Japanese font."""
    for key, text in catalogue().page.items():
        if key.startswith("console-"):
            assert text.en.isascii(), key
            assert re.findall("`[^`]*`", text.en) == re.findall("`[^`]*`", text.ja), key
