"""Writes the page about what is counted (docs/metrics.md) on standard output."""

import sys

from appliance.metrics.page import page

sys.stdout.write(page())
