"""`jpki-appliance bench`: what the appliance costs, measured against bare measures in the same run."""

import click

from appliance.cli.bench_daemon import daemon
from appliance.cli.bench_ledger import ledger
from appliance.cli.revocation_bench import revocation


@click.group()
def bench() -> None:
    """Measure the appliance on this machine."""


bench.add_command(daemon)
bench.add_command(ledger)
bench.add_command(revocation)
