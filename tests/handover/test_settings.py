"""The hand-over's configuration, and the annotated example that ships."""

import tempfile
from pathlib import Path

import msgspec
import pytest

from appliance.client import Network, Socket
from appliance.errors import ConfigInvalid
from appliance.handover import settings
from appliance.handover.settings import HandoverConfiguration, HandoverSettings
from tests.handover.desk import EXAMPLE

NETWORK = (
    'url = "https://gateway.test:8443"\nauthorities = "ca.pem"\ncertificate = "r.pem"\nkey_file = "r-key.pem"'
)
SOCKET = 'socket = "run/appliance.sock"'
MINIMAL = '[appliance]\naudience = "reception.example.jp"\nsocket = "run/appliance.sock"\n'
FOLDERS = '[folders]\nrequests = "handover/requests"\nresults = "handover/results"\nwork = "handover/work"\n'


def load(folder: Path, text: str) -> HandoverConfiguration:
    """Return the configuration that *text* is."""
    (folder / "handover.toml").write_text(text, "utf-8")
    return settings.load(folder / "handover.toml")


def test_the_example_names_every_setting_there_is(tmp_path: Path) -> None:
    """Whoever reads the example has seen all settings, and what it says in words are the defaults."""
    complete = "\n".join(
        line[1:] if line.startswith("#") and line[1:2].strip() else line for line in EXAMPLE.splitlines()
    )
    table = msgspec.toml.decode(complete)
    for section in msgspec.structs.fields(HandoverSettings):
        assert set(table[section.name]) == {each.name for each in msgspec.structs.fields(section.type)}
    assert load(tmp_path, EXAMPLE).settings == load(tmp_path, MINIMAL + FOLDERS).settings


def test_the_appliance_is_at_one_place(tmp_path: Path) -> None:
    """Through its socket, or on the network with everything that TLS needs."""
    assert load(tmp_path, EXAMPLE).address() == Socket(tmp_path / "run" / "appliance.sock")
    found = load(tmp_path, EXAMPLE.replace(SOCKET, NETWORK)).address()
    assert isinstance(found, Network)
    assert found.key_file == tmp_path / "r-key.pem"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SOCKET, ""),
        (SOCKET, f"{SOCKET}\n{NETWORK}"),
        (SOCKET, 'url = "https://gateway.test:8443"'),
        (SOCKET, f'{SOCKET}\nkey_file = "r-key.pem"'),
        ("at_once = 8", "at_once = 0"),
        ("at_once = 8", "at_most = 8"),
        ("keep_seconds = 900.0", "keep_seconds = 0"),
        ("remember_hours = 24.0", "remember_hours = 0.01"),
        # Longer than results are kept, and shorter than a request may still be begun.
        ("remember_hours = 24.0", "remember_hours = 0.26\n[requests]\nlongest_age_seconds = 900"),
        ('language = "ja"', 'language = "fr"'),
    ],
)
def test_what_is_wrong_is_refused(old: str, new: str, tmp_path: Path) -> None:
    """When the file is read, and not at the first patient."""
    assert EXAMPLE.count(f"\n{old}\n") == 1
    with pytest.raises(ConfigInvalid):
        load(tmp_path, EXAMPLE.replace(f"\n{old}\n", f"\n{new}\n"))


def test_an_address_without_tls_is_refused(tmp_path: Path) -> None:
    """Nobody's result goes over the network in the open."""
    text = EXAMPLE.replace(SOCKET, NETWORK.replace("https", "http"))
    with pytest.raises(ConfigInvalid):
        load(tmp_path, text).address()


@pytest.mark.parametrize(
    ("old", "new"),
    [('results = "handover/results"', 'results = "handover/requests"'), ("handover/work", "/proc/work")],
)
def test_folders_that_cannot_work_are_refused(old: str, new: str, tmp_path: Path) -> None:
    """One for two purposes, or one that cannot be made."""
    with pytest.raises(ConfigInvalid):
        load(tmp_path, EXAMPLE.replace(old, new)).folders()


def test_a_work_folder_on_another_file_system_is_refused(tmp_path: Path) -> None:
    """From there a request could not be taken by renaming it."""
    # In memory, as Linux always has it.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
        text = EXAMPLE.replace('"handover/work"', f'"{work}"')
        with pytest.raises(ConfigInvalid, match="another file system"):
            load(tmp_path, text).folders()
