"""The measurement of throughput by workers does what it says, if only for a moment."""

import tempfile

import pytest

from tests.shim import throughput


def test_it_authenticates_and_prints_a_line_for_each_number_of_workers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the shim and a daemon that are both real; whatever is not authenticated ends it."""
    # A short path: there are sockets in it.
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        throughput.main(["--workers", "2", "--milliseconds", "1", "--seconds", "0.5"])
    heading, line = capsys.readouterr().out.splitlines()
    assert "done/s" in heading
    assert line.split()[0] == "2"
    assert float(line.split()[1]) > 0
