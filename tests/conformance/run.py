"""Put a real module through all probes, with the command an operator uses."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from appliance.hsm.conformance.results import Report
from tests.conformance.modules import MODULES, temporary, versions

ROOT = Path(__file__).parents[2]


def report(vendor: str) -> Report:
    """Return the report about the module of *vendor*, started here and gone afterwards."""
    with temporary() as folder, MODULES[vendor](folder) as started:
        command = (
            *(*started.enclosure, sys.executable, "-m", "appliance", "hsm", "conformance", "--json"),
            *("--vendor", started.vendor, "--token", started.token, "--pin-file", str(started.pin_file)),
            *("--versions", versions(vendor)),
        )
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **started.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr.decode()
        return msgspec.json.decode(ended.stdout, type=Report)
