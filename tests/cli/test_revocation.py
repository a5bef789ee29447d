"""`jpki-appliance revocation import`, run as a user runs it."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.hsm.shipped import shipped
from appliance.simulator.crl import issue
from appliance.simulator.people import AOBA, MIDORI
from appliance.simulator.pki import Hierarchy
from tests.cli.conftest import run


@pytest.fixture
def configuration(hierarchy: Hierarchy, now: datetime, tmp_path: Path) -> Path:
    """Return a configuration whose folder has two lists."""
    file = tmp_path / "appliance.toml"
    file.write_bytes(shipped("appliance.toml").read_bytes())
    authorities, lists = tmp_path / "authorities", tmp_path / "revocation" / "lists"
    authorities.mkdir()
    lists.mkdir(parents=True)
    for number, certificate in enumerate(hierarchy.ca_certificates, start=1):
        (authorities / f"ca-{number}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    for municipality in (AOBA, MIDORI):
        crl = issue(hierarchy.holders.generations[-1], municipality, [5, 6], now=now, number=1)
        (lists / f"{municipality.code}.crl").write_bytes(crl.public_bytes(Encoding.DER))
    return file


def test_lists_are_imported_and_told(configuration: Path) -> None:
    """Every file and what became of it is told, and how much is known now; a second time nothing is read."""
    first = run("revocation", "import", str(configuration))
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("imported") == 2
    assert "2 lists with 4 entries" in first.stdout
    second = json.loads(run("revocation", "import", str(configuration), "--json").stdout)
    assert (second["known"], second["files"], second["lists"]) == (2, [], 2)


def test_a_refused_file_has_its_reason(configuration: Path) -> None:
    """A file that does not count is told with its reason, and the exit status is 1; the others are imported."""
    (configuration.parent / "revocation" / "lists" / "noise.crl").write_bytes(b"noise")
    finished = run("revocation", "import", str(configuration))
    assert finished.returncode == 1
    assert "[malformed]" in finished.stdout
    assert finished.stdout.count("imported") == 2


def test_a_folder_that_is_missing_is_told(configuration: Path, tmp_path: Path) -> None:
    """Without its folder the import ends with the code and says which."""
    for file in (tmp_path / "revocation" / "lists").iterdir():
        file.unlink()
    (tmp_path / "revocation" / "lists").rmdir()
    finished = run("revocation", "import", str(configuration))
    assert (finished.returncode, "[revocation_unavailable]" in finished.stderr) == (1, True)


def test_an_index_that_was_lost_is_told(configuration: Path) -> None:
    """Where the index cannot be read, that stands beside what came of the files."""
    run("revocation", "import", str(configuration))
    index = configuration.parent / "revocation" / "state" / "revoked.index"
    index.write_bytes(b"noise")
    finished = run("revocation", "import", str(configuration))
    assert (finished.returncode, finished.stdout.count("imported")) == (0, 2)
    assert "the index could not be read" in finished.stdout
