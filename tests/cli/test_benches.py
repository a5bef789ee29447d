"""`jpki-appliance hsm bench`, `bench daemon`, `bench ledger`, `bench revocation`: what they measure."""

import json
import tempfile
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


def test_bench_of_the_daemon_measures_whole_authentications() -> None:
    """
    Every row has authentications that succeeded, in two round trips of six frames, and each goal says whether it is met.

    More callers than are let in are refused with a code, and nothing else goes wrong.
    """
    # A short path: there are sockets in it.
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        finished = run("bench", "daemon", "--quick", "--json", TMPDIR=folder)
        assert not list(Path(folder).iterdir())
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert 0 < report["bare"]["p50"] <= report["bare"]["p99"]
    assert [row["callers"] for row in report["rows"]] == [1, 4, 4, 4, 8]
    for row in report["rows"]:
        assert row["authentications"] > 0
        assert row["of_bare"] > 1
        assert 0 < row["waited_p50"] <= row["answered_p50"] <= row["whole_p50"]
        assert (row["round_trips"], row["frames"]) == pytest.approx((2, 6))
        assert set(row["outcomes"]) <= {"authenticated", "gateway_busy"}
        assert row["outcomes"].get("gateway_busy", 0) == row["refused"]
    beyond = max(report["rows"], key=lambda row: row["callers"])
    assert beyond["refused"] > 0
    assert {"HSM workers, both signatures", "verification, revocation"} <= {
        part["name"] for part in report["parts"]
    }
    assert report["idle"]["terminals"] == 20
    assert [goal["met"] for goal in report["goals"]] == [
        goal["value"] <= goal["limit"] for goal in report["goals"]
    ]


def test_the_ledger_is_measured(tmp_path: Path) -> None:
    """The bench gives each figure beside its bare one, for a program too."""
    arguments = ("--folder", str(tmp_path), "--seconds", "1", "--entries", "2000", "--large", "12000")
    told = json.loads(run("bench", "ledger", *arguments, "--json").stdout)
    assert [row["callers"] for row in told["appends"]] == [1, 10, 100]
    assert all(row["ratio"] > 0 for row in told["appends"])
    assert told["verification"]["size"] == 2000
    assert told["growth"]["large"] == 12_000


def test_the_revocation_bench_can_be_read_by_a_program() -> None:
    """The bench prints every figure beside its goal; with a few entries the start of a process outweighs the import."""
    small = ("--entries", "1000", "--index-entries", "10000", "--lists", "10", "--rounds", "1")
    finished = run("bench", "revocation", "--json", *small, "--look-ups", "1000")
    goals = {goal["name"]: goal for goal in json.loads(finished.stdout)}
    assert goals["import / openssl"]["at_most"] == 3.0
    missed = [name for name, goal in goals.items() if goal["at_most"] and goal["figure"] > goal["at_most"]]
    assert (finished.returncode == 1) is bool(missed)
