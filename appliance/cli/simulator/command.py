"""The group `simulator`."""

import click

from appliance.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    elsewhere={
        "card": "appliance.cli.simulator.played:card",
        "issue": "appliance.cli.simulator.made:issue",
        "lists": "appliance.cli.simulator.made:lists",
        "pki": "appliance.cli.simulator.made:pki",
        "site": "appliance.cli.simulator.made:site",
    },
)
def simulator() -> None:
    """Play My Number cards, their readers and CAs, for tests, demonstrations and integrators."""
