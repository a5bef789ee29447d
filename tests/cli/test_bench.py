"""`jpki-appliance hsm bench`: what it measures, and that it leaves nothing behind."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import run

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_bench_measures_every_crew_beside_the_bare_loop(tmp_path: Path) -> None:
    """Without a configuration a token is made and measured: each number of callers, with one and with two workers."""
    finished = run("hsm", "bench", "--seconds", "2", "--json", TMPDIR=str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    bare, *rows = report["rows"]
    assert (bare["workers"], bare["callers"], bare["of_bare"]) == (0, 1, 1.0)
    limit = report["queue_limit"]
    assert [(row["workers"], row["callers"]) for row in rows] == [
        (workers, callers) for callers in (1, 2, 4, 8, limit) for workers in (1, 2)
    ]
    for row in (bare, *rows):
        assert row["signatures"] > 0
        assert 0 < row["p50"] <= row["p99"]
        assert row["processor"] > 0
    assert [goal["limit"] for goal in report["goals"]] == [0.9, 1.8, 3.0]
    assert [goal["met"] for goal in report["goals"]] == [
        goal["value"] >= goal["limit"] if goal["at_least"] else goal["value"] <= goal["limit"]
        for goal in report["goals"]
    ]
    assert not list(tmp_path.iterdir())


def test_bench_is_told_as_a_table() -> None:
    """For people there is a line for each measurement, and a sentence for each goal."""
    finished = run("hsm", "bench", "--seconds", "2")
    assert finished.returncode == 0, finished.stderr
    assert "bare C_Sign loop" in finished.stdout
    assert finished.stdout.count("goal") == 3


def test_bench_without_its_configuration(tmp_path: Path) -> None:
    """A configuration that is not there is refused, and nothing is measured."""
    finished = run("hsm", "bench", "--config", str(tmp_path / "none.toml"), "--json")
    assert finished.returncode == 78
    assert "config_invalid" in finished.stderr
