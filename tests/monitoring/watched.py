"""The files of `monitoring`, parsed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
RULES = (MONITORING / "rules" / "recording.yaml", MONITORING / "rules" / "alerts.yaml")
CASES = MONITORING / "tests" / "alerts.yaml"
DASHBOARD = MONITORING / "dashboards" / "jpki-appliance.json"
_SELECTOR = re.compile(r"\b(jpki[a-z0-9_:]*|process_[a-z_]+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'([a-z_]+)(=~|!~|!=|=)"([^"]*)"')


def rules() -> Iterator[dict[str, Any]]:
    """Yield every rule."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> dict[str, str]:
    """Return the expressions of recording rules by what they record."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def panels() -> dict[str, list[str]]:
    """Return the queries of the dashboard's panels by their titles, with the variable filled in."""
    return {
        panel["title"]: [target["expr"].replace("$instance", ".*") for target in panel["targets"]]
        for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]
        if "targets" in panel
    }


def queries() -> list[str]:
    """Return every query of the dashboard."""
    return [query for queries in panels().values() for query in queries]


def selectors(query: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Yield each metric that *query* names, with its matchers: label, operator, value."""
    for name, matchers in _SELECTOR.findall(query):
        yield name, _MATCHER.findall(matchers)
