"""`jpki-appliance bench`: what the appliance costs, measured against bare measures in the same run."""

import click

from appliance.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    elsewhere={
        "daemon": "appliance.cli.benches.daemon.command:daemon",
        "ledger": "appliance.cli.benches.ledger:ledger",
        "revocation": "appliance.cli.benches.revocation:revocation",
    },
)
def bench() -> None:
    """Measure the appliance on this machine."""
