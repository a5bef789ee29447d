"""The group `simulator`."""

import click

from appliance.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    elsewhere={
        "card": "appliance.cli.simulator.readers:card",
        "issue": "appliance.cli.simulator.hierarchies:issue",
        "lists": "appliance.cli.simulator.hierarchies:lists",
        "pki": "appliance.cli.simulator.hierarchies:pki",
        "site": "appliance.cli.simulator.hierarchies:site",
    },
)
def simulator() -> None:
    """Play My Number cards, their readers and CAs, for tests, demonstrations and integrators."""
