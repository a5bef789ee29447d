"""Rules and dashboard: right in themselves, about metrics that there are, and explained."""

import re
import shutil
import subprocess

import pytest
import yaml

from appliance.metrics import AUTHENTICATED, CANCELLED, OTHER, Metrics
from appliance.metrics.labels import refusals
from tests.monitoring.watched import (
    CASES,
    MONITORING,
    ROOT,
    RULES,
    alerts,
    queries,
    recorded,
    rules,
    selectors,
)

_BY_PROMETHEUS = {"job", "instance"}
# What says something of one person, one card or one request, and nothing of what the operator keeps running.
_NOBODY_IS_CALLED = {
    *(AUTHENTICATED, CANCELLED),
    *("card_absent", "card_without_front", "card_without_pin", "pin_cancelled"),
    *("pin_rejected", "pin_last_try", "pin_blocked"),
    *("verification_number_invalid", "verification_number_rejected"),
    *("verification_number_last_try", "verification_number_blocked"),
    # Of the time of one certificate; JpkiClockUnsynchronised sees a clock that makes it every certificate's.
    *("certificate_expired", "certificate_not_yet_valid", "certificate_revoked", "certificate_unknown"),
    *("front_image_unreadable", "front_missing", "holder_not_matched", "decision_late"),
    # How reception asked, which it is told.
    *(
        "desk_unknown",
        "face_device_unknown",
        "operator_unknown",
        "identity_check_missing",
        "emergency_closed",
    ),
    # JpkiBusy and JpkiTerminalAway see these before they end anything.
    *("gateway_busy", "terminals_full", "terminal_cancelled"),
}


def promtool(*arguments: str) -> str:
    """Run promtool, which must be content; return what it says."""
    program = shutil.which("promtool")
    assert program is not None, "promtool is not installed (Debian package prometheus)"
    said = subprocess.run(
        (program, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert said.returncode == 0, said.stdout
    return said.stdout


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, set[str]]]:
    """Every series that the daemon registers: name, labels, and the values made beforehand."""
    metrics = Metrics()
    metrics.know_hsm("hsm-1")
    metrics.know_sinks(("copies",))
    found: dict[str, dict[str, set[str]]] = {}
    for family in metrics.registry.collect():
        names = {sample.name for sample in family.samples} or {family.name}
        for name in names:
            labels = found.setdefault(name, {})
            for sample in family.samples:
                if sample.name == name:
                    for label, value in sample.labels.items():
                        labels.setdefault(label, set()).add(value)
    return found


def test_prometheus_takes_rules_and_configuration() -> None:
    """Syntax, and every expression's types, are right."""
    promtool("check", "rules", *map(str, RULES))
    promtool("check", "config", str(MONITORING / "prometheus.yaml"))


def test_alerts_fire_and_stay_silent() -> None:
    """Each alert fires at its cause, with its labels and texts, and is silent at what only looks like it."""
    promtool("test", "rules", str(CASES))


def test_every_alert_is_tried_both_ways() -> None:
    """No alert without a case in which it fires and one in which it does not."""
    fires: dict[bool, set[str]] = {True: set(), False: set()}
    for case in yaml.safe_load(CASES.read_text("utf-8"))["tests"]:
        for tried in case["alert_rule_test"]:
            fires[bool(tried["exp_alerts"])].add(tried["alertname"])
    assert fires[True] == fires[False] == set(alerts())


@pytest.mark.parametrize("query", [*(rule["expr"] for rule in rules()), *queries()])
def test_every_query_is_about_what_is_registered(query: str, known: dict[str, dict[str, set[str]]]) -> None:
    """A name or label that no daemon exposes would be a panel without lines, or an alert that never fires."""
    named = list(selectors(query))
    assert named
    for name, matchers in named:
        if name == "up" or name in recorded():
            continue
        assert name in known or name.removesuffix("_total") in known, name
        labels = known.get(name, {})
        for label, _operator, value in matchers:
            if label in _BY_PROMETHEUS:
                continue
            if labels:
                assert label in labels, (name, label)
            # Each alternative is a value that there is: a misspelt code would never match.
            for one in alternatives(value):
                assert any(re.fullmatch(one, there) for there in labels.get(label, ())), (name, label, one)


def alternatives(pattern: str) -> list[str]:
    """Return the parts of a pattern that stand side by side at its top, with inner ones multiplied out."""
    inner = re.search(r"([^|()]*)\(([^()]*)\)([^|()]*)", pattern)
    if inner is None:
        return pattern.split("|")
    spread = "|".join(f"{inner[1]}{one}{inner[3]}" for one in inner[2].split("|"))
    return alternatives(pattern[: inner.start()] + spread + pattern[inner.end() :])


def test_every_outcome_calls_somebody_or_is_known_to_call_nobody() -> None:
    """Whatever an authentication can end with is in a rule, or is the matter of one person: a new code is decided upon."""
    seen = {
        outcome
        for rule in rules()
        for _name, matchers in selectors(rule["expr"])
        for label, operator, value in matchers
        if label == "outcome" and operator in {"=", "=~"}
        for outcome in (*refusals(), OTHER)
        if re.fullmatch(value, outcome)
    }
    assert {*refusals(), AUTHENTICATED, CANCELLED, OTHER} - seen == _NOBODY_IS_CALLED


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_alert_has_its_page(language: str) -> None:
    """Each alert links a heading of its own in both languages; no page is about an alert that is gone."""
    pages = (ROOT / "docs" / f"alerts.{language}.md").read_text("utf-8")
    headings = set(re.findall(r"^### (\w+)$", pages, re.MULTILINE))
    assert headings == set(alerts())
    suffix = "" if language == "en" else "_ja"
    for name, rule in alerts().items():
        assert rule["annotations"][f"runbook{suffix}"] == f"docs/alerts.{language}.md#{name.lower()}"
        assert rule["annotations"][f"summary{suffix}"] in pages
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_alerts_carry_nothing_personal() -> None:
    """Texts of alerts are fixed: no value of a label goes into them."""
    for rule in alerts().values():
        assert not [text for text in rule["annotations"].values() if "{{" in text]
