"""A generation is used as long as its own settings let an authentication take."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance import config
from appliance.config import Settings
from appliance.daemon.generation import longest_authentication

SETTINGS = config.load(Path(__file__).parents[2] / "hsm-config" / "appliance.toml").settings


def test_as_delivered_it_is_six_minutes_at_most() -> None:
    """The guide says so; and that is more than what persons and cards get by the settings."""
    waits, policy = SETTINGS.terminals, SETTINGS.policy
    waited = waits.card_seconds + 4 * waits.exchange_seconds + waits.pin_seconds + policy.decision_seconds
    assert waited < longest_authentication(SETTINGS) <= 360


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        (replace(SETTINGS, terminals=replace(SETTINGS.terminals, card_seconds=600.0)), 585),
        (replace(SETTINGS, terminals=replace(SETTINGS.terminals, exchange_seconds=300.0)), 4 * 290),
        (replace(SETTINGS, terminals=replace(SETTINGS.terminals, pin_seconds=300.0)), 240),
        (replace(SETTINGS, policy=replace(SETTINGS.policy, decision_seconds=300.0)), 180),
        (replace(SETTINGS, reader=(replace(SETTINGS.reader[0], pin_seconds=300.0),)), 240),
    ],
)
def test_what_takes_longer_by_the_settings_is_waited_for(settings: Settings, more: float) -> None:
    """Time for a card, an exchange, the PIN or a decision is added, at terminals and at readers of this machine."""
    assert longest_authentication(settings) == pytest.approx(longest_authentication(SETTINGS) + more)
