"""Folders that commands are told to fill."""

from pathlib import Path

import pytest

from tests.cli.conftest import run


@pytest.mark.parametrize(
    "command", [("demo", "--keep"), ("simulator", "site"), ("simulator", "pki")], ids=" ".join
)
@pytest.mark.parametrize("place", ["file", "file/folder"])
def test_where_no_folder_can_be_made_the_command_says_so(
    command: tuple[str, str], place: str, tmp_path: Path
) -> None:
    """What lies there stays as it is; the refusal has its code and names the place."""
    (tmp_path / "file").write_text("kept")
    finished = run(*command, str(tmp_path / place))
    assert finished.returncode == 78
    said = finished.stdout + finished.stderr
    assert "config_invalid" in said
    assert "Traceback" not in said
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("command", [("demo", "--keep"), ("simulator", "site")], ids=" ".join)
def test_a_folder_in_use_is_left_alone(command: tuple[str, str], tmp_path: Path) -> None:
    """Everything is made in a new folder: nothing is written beside what is there."""
    (tmp_path / "file").write_text("kept")
    finished = run(*command, str(tmp_path))
    assert finished.returncode == 78
    assert "is not empty" in finished.stdout + finished.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o1777], ids="{:o}".format)
@pytest.mark.parametrize("command", [("demo", "--keep"), ("simulator", "site")], ids=" ".join)
def test_a_folder_that_others_can_write_to_is_not_filled(
    command: tuple[str, str], mode: int, tmp_path: Path
) -> None:
    """Whoever else may put files there could put theirs in the place of keys and configuration."""
    tmp_path.chmod(mode)
    finished = run(*command, str(tmp_path))
    assert finished.returncode == 78
    assert "can be written to by others" in finished.stdout + finished.stderr
    assert not any(tmp_path.iterdir())


def test_what_is_made_from_a_hierarchy_needs_a_place_too(tmp_path: Path) -> None:
    """Cards and lists are refused a file's place, and a private pcscd one whose socket would have too long a path."""
    assert run("simulator", "pki", str(tmp_path / "pki")).returncode == 0
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "readers").touch()
    for command in (
        ("issue", str(tmp_path / "pki"), str(tmp_path / "file" / "card")),
        ("lists", str(tmp_path / "pki"), str(tmp_path / "file" / "lists")),
        ("card", str(tmp_path / "pki" / "card"), "--pcscd", str(tmp_path / "file" / "pcscd")),
        ("card", str(tmp_path / "pki" / "card"), "--pcscd", str(tmp_path / "taken")),
        ("card", str(tmp_path / "pki" / "card"), "--pcscd", str(tmp_path / ("long" * 30))),
    ):
        finished = run("simulator", *command)
        assert finished.returncode == 78, finished.stderr
        assert "config_invalid" in finished.stderr


def test_a_measurement_needs_the_folder_it_is_told(tmp_path: Path) -> None:
    """A disk that is not there is named, and nothing else is measured in its place."""
    finished = run("bench", "ledger", "--folder", str(tmp_path / "nowhere"))
    assert finished.returncode == 78, finished.stderr
    assert "[config_invalid]" in finished.stderr
    assert str(tmp_path / "nowhere") in finished.stderr
