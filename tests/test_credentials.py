"""Secrets from systemd: how a configuration names them, and who may read them."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import credentials
from appliance.config import load
from appliance.errors import ConfigInvalid
from appliance.hsm.shipped import shipped


@pytest.fixture
def handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of credentials, as systemd gives one to a service."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def test_a_configuration_names_a_credential(tmp_path: Path, handed_over: Path) -> None:
    """`credential:NAME` is a file in the folder that systemd hands over, and is read like any other secret."""
    (handed_over / "pseudonym-key").write_bytes(b"secret")
    (handed_over / "pseudonym-key").chmod(0o400)
    (tmp_path / "appliance.toml").write_bytes(shipped("appliance.toml").read_bytes())
    configuration = load(tmp_path / "appliance.toml")
    assert configuration.path("credential:hsm-pin") == handed_over / "hsm-pin"
    assert configuration.read_secret("credential:pseudonym-key") == b"secret"


def test_a_path_is_no_credential(handed_over: Path) -> None:
    """Everything else stays what it is: a path."""
    assert handed_over.is_dir()
    assert credentials.located("softhsm/user.pin") is None
    assert credentials.located("./credential:hsm-pin") is None


def test_beside_the_service_its_credentials_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs a command by hand finds the running service's; a folder that is no absolute path is none."""
    for said in (None, "", "here"):
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        if said is not None:
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", said)
        found = credentials.located("credential:hsm-pin")
        assert found == Path("/run/credentials/jpki-appliance.service/hsm-pin")


@given(
    name=st.sampled_from(["", ".", "..", "../shadow", "a/b", "a\0b", "é", "x" * 256, "a b", "a\n"])
    | st.text()
)
def test_a_credential_stays_in_its_folder(name: str) -> None:
    """No name leads out of the folder: it is a file there, or refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/some.service")
        try:
            found = credentials.located(f"credential:{name}")
        except ConfigInvalid:
            return
    assert found is not None
    assert (str(found.parent), found.name) == ("/run/credentials/some.service", name)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file of root's, as systemd does")
def test_the_access_list_of_systemd_is_not_taken_for_openness(tmp_path: Path, handed_over: Path) -> None:
    """Systemd's own way to let one service read a file is fine; the same mode on any other file is not."""
    for folder, is_open in ((handed_over, False), (tmp_path, True)):
        path = folder / "hsm-pin"
        path.touch()
        path.chmod(0o440)
        assert credentials.open_to_others(path, path.stat()) is is_open
    (handed_over / "hsm-pin").chmod(0o444)
    assert credentials.open_to_others(handed_over / "hsm-pin", (handed_over / "hsm-pin").stat())
