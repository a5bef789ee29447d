"""`config check`: each thing that can be wrong is found, and named by its key."""

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.config import Configuration, load
from appliance.daemon.check import examine
from appliance.daemon.reload import grounded
from tests.cli.conftest import run
from tests.daemon.process import Site


def failures(configuration: Configuration) -> dict[str, str]:
    """Return the keys at which something is wrong, and what."""
    return {found.key: found.error.detail for found in examine(configuration) if found.error is not None}


@pytest.fixture
def copy(site: Site, folder: Path) -> Path:
    """A copy of the site, to be spoilt. Where the token lies is not asked."""
    return Path(shutil.copytree(site.folder, folder / "copy"))


def test_a_site_as_it_is_made_is_sound(site: Site) -> None:
    """Nothing is wrong, the command says so, and exits with 0."""
    assert failures(load(site.file)) == {}
    done = run("config", "check", str(site.file))
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"[ok]"}


def remove(name: str) -> Callable[[Path], None]:
    """Return what removes the file *name*."""
    return lambda folder: (folder / name).unlink()


def show(name: str) -> Callable[[Path], None]:
    """Return what lets everybody read the file *name*."""
    return lambda folder: (folder / name).chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)


def garble(name: str) -> Callable[[Path], None]:
    """Return what fills the file *name* with nonsense."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(b"nonsense")

    return change


def say(old: str, new: str) -> Callable[[Path], None]:
    """Return what replaces text of the configuration."""

    def change(folder: Path) -> None:
        file = folder / "appliance.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return change


def by_responder(certificate: str, key_file: str) -> Callable[[Path], None]:
    """Return what has a responder asked for revocation, with these files of the folder `tls`."""

    def change(folder: Path) -> None:
        say('sources = ["crl"]', 'sources = ["ocsp"]')(folder)
        with (folder / "appliance.toml").open("a") as file:
            file.write(
                '\n[revocation.ocsp]\nurl = "https://127.0.0.1:9/"\n'
                f'client_certificate = "tls/{certificate}"\nclient_key_file = "tls/{key_file}"\n'
            )

    return change


@pytest.mark.parametrize(
    ("spoil", "key", "told"),
    [
        (garble("institution/leaf.cvc"), "institution", "bytes"),
        (remove("softhsm/user.pin"), "hsm.pin_file", "cannot be read"),
        (show("softhsm/user.pin"), "hsm.pin_file", "chmod 600"),
        (garble("softhsm/token.pub.pem"), "hsm.token_key", "no PEM public key"),
        (say('module = "/usr', 'module = "/nowhere'), "hsm", "is not there"),
        (garble("authorities/ca-1.pem"), "trust.authorities", ""),
        (garble("authorities/front-root.pem"), "trust.front_root", "no PEM public key"),
        (say('folder = "revocation/lists"', 'folder = "nowhere"'), "revocation", "is not there"),
        (by_responder("ward-1.pem", "server-key.pem"), "revocation", "KEY_VALUES_MISMATCH"),
        (by_responder("server-key.pem", "server-key.pem"), "revocation", "a TLS file cannot be used"),
        (show("pseudonym.key"), "result.pseudonym_key_file", "chmod 600"),
        (garble("softhsm/ledger.pub.pem"), "ledger", "no PEM public key"),
        (lambda folder: shutil.copy(folder / "softhsm/token.pub.pem", folder / "softhsm/ledger.pub.pem"), "hsm", "the key of hsm.token_key"),
        (show("tls/server-key.pem"), "gateway.tls", "chmod 600"),
        (garble("tls/ca.pem"), "gateway.tls", "clients"),
        (lambda folder: shutil.copy(folder / "tls/ward-1.pem", folder / "tls/server.pem"), "gateway.tls", "not a certificate and its key"),
        (say('\nuser = "', '\nuser = "no-such-'), "peer", "no account"),
        (say('\nrole = "reception"', '\nrole = "reception"\ndesks = ["ward-9.reader-1"]'), "peer", "has the desk"),
        (say('socket = "run/appliance.sock"', f'socket = "{"run/" * 40}appliance.sock"'), "gateway", "longer"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(copy: Path, spoil: Callable[[Path], None], key: str, told: str) -> None:
    """One mistake leads to one finding, at its key, in words that say what to do."""
    spoil(copy)
    found = failures(load(copy / "appliance.toml"))
    assert key in found
    assert told in found[key]


def test_the_command_tells_people_and_programs(copy: Path) -> None:
    """Both hear key and code; the status is 78. Of a file that cannot be read at all, that is the finding."""
    show("pseudonym.key")(copy)
    told = run("config", "check", str(copy / "appliance.toml"))
    assert told.returncode == 78
    assert "[failed] result.pseudonym_key_file: [config_invalid]" in told.stdout
    report = json.loads(run("config", "check", "--json", str(copy / "appliance.toml")).stdout)
    assert report["ok"] is False
    assert [one["key"] for one in report["findings"] if not one["ok"]] == ["result.pseudonym_key_file"]
    absent = run("config", "check", "--json", str(copy / "nowhere.toml"))
    assert absent.returncode == 78
    assert json.loads(absent.stdout)["findings"][0]["key"] == "file"


def test_what_lies_at_the_ground_stays(copy: Path) -> None:
    """A reload keeps what cannot be changed as it was, and names it; all else is new."""
    before = load(copy / "appliance.toml").settings
    for change in (
        say("append_seconds = 20.0", "append_seconds = 30.0"),
        say("queue_limit = 64", "queue_limit = 65"),
        say("connections = 4096", "connections = 4097"),
        say("drain_seconds = 30.0", "drain_seconds = 31.0"),
        say("lifetime_seconds = 300", "lifetime_seconds = 299"),
        say('address = "127.0.0.1"\nport = 0', 'address = "127.0.0.2"\nport = 0'),
    ):
        change(copy)
    after, waiting = grounded(load(copy / "appliance.toml").settings, before)
    assert waiting[:3] == ["ledger", "metrics", "hsm.queue_limit"] or waiting[:2] == [
        "ledger",
        "hsm.queue_limit",
    ]
    assert "gateway.connections" in waiting
    assert (after.ledger, after.hsm.queue_limit, after.gateway.tls) == (before.ledger, 64, before.gateway.tls)
    assert (after.result.lifetime_seconds, after.gateway.drain_seconds) == (299, 31.0)
