"""
How many authentications a second more workers bring, where the HSM is what they wait for: `python -m tests.shim.throughput`.

SoftHSM signs on the processors that everything else here needs too, so that on a small machine more workers bring
nothing. A real HSM signs on its own. The shim stands in for one: each signature takes so many milliseconds more, in which
no processor is used, and as many can be made at once as there are workers.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from appliance.cli.benches.daemon.crowd import more_files
from appliance.cli.benches.daemon.running import crowd, running
from appliance.cli.benches.daemon.site import Clinic
from appliance.hsm import softhsm
from tests.shim.rules import Action, Function, Rules, compiled

_CALLERS: Final = 16


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--milliseconds", type=int, default=30, help="that a signature takes longer [30]")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each number of workers [5]")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=(1, 2, 3, 4), help="how many at a time [1 2 3 4]"
    )
    chosen = parser.parse_args(arguments)
    more_files()
    table = Table("workers", "done/s", "beside one worker", "whole p50, ms", "p99", box=None)
    with tempfile.TemporaryDirectory(prefix="jpki-bench-") as name:
        folder = Path(name)
        made = Clinic.build(folder / "site", _CALLERS)
        with Rules(folder / "rules", str(softhsm.MODULE)) as rules:
            rules.set(Function.SIGN, Action.DELAY, chosen.milliseconds)
            clinic = replace(made, module=compiled(folder), environment=rules.environment)
            alone: float | None = None
            for workers in chosen.workers:
                rate, whole = _measured(clinic, workers, chosen.seconds)
                alone = alone or rate
                p50, p99 = (1000 * whole[len(whole) * percent // 100] for percent in (50, 99))
                table.add_row(str(workers), f"{rate:.1f}", f"{rate / alone:.2f}", f"{p50:.0f}", f"{p99:.0f}")
    Console(highlight=False).print(table)


def _measured(clinic: Clinic, workers: int, seconds: float) -> tuple[float, list[float]]:
    """Return how many authentications a second there were, and how long each took, in order."""
    with running(clinic, f"workers-{workers}", workers=workers, at_once=2 * _CALLERS), crowd(clinic) as load:
        load.connect(0, _CALLERS)
        load.turn(1.0, _CALLERS)
        shown = load.turn(seconds, _CALLERS)
    if set(shown.outcomes) != {"authenticated"}:
        sys.exit(f"not all were authenticated: {shown.outcomes}")
    return len(shown.whole) / shown.seconds, sorted(shown.whole)


if __name__ == "__main__":
    main()
