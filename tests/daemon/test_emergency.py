"""Emergency windows of the real daemon: over TLS and by command, through reloads, restarts and a crash."""

import http.client
import json
import signal
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from appliance.cli.emergency import emergency
from appliance.config import load
from appliance.ledger import place as ledger_place
from appliance.ledger.entries import Entry, WindowClosed, WindowConfirmed, WindowProposed, decode
from appliance.ledger.store import stored_entries
from tests.browser.clinic import OPERATOR, RECEPTION, SECOND_OPERATOR, Clinic
from tests.cli import house as cli_house
from tests.cli.conftest import Finished, run
from tests.daemon.process import SECONDS, Site, started
from tests.daemon.tls import client_context

PATH = "/v1/emergency-windows"
NOBODY = {"desk": "desk-1", "mode": "pinless", "identity_check": {"method": "none_emergency"}}


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    """A clinic that may open windows. Its path is short, because sockets are in it."""
    with (
        tempfile.TemporaryDirectory(prefix="clinic-") as folder,
        Clinic.open(Path(folder), ("emergency_hours = 0.0", "emergency_hours = 8.0")) as made,
    ):
        yield made


def asked(site: Site, peer: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Return status and body of what *peer* gets."""
    connection = http.client.HTTPSConnection(
        "localhost", site.port, context=client_context(site, peer), timeout=SECONDS
    )
    try:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def opened(site: Site, hours: float = 4.0) -> str:
    """Have two operators open a window, and return its id."""
    now = datetime.fromisoformat(asked(site, OPERATOR, "GET", PATH)[1]["now"])
    body = {"reason": "disaster", "until": f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"}
    status, window = asked(site, OPERATOR, "POST", PATH, body)
    assert status == 201, window
    confirmation = f"{PATH}/{window['id']}/confirmation"
    status, window = asked(site, SECOND_OPERATOR, "POST", confirmation, {"confirm": True})
    assert (status, window["state"]) == (200, "open"), window
    identity: str = window["id"]
    return identity


def windows(site: Site) -> list[dict[str, Any]]:
    """Return the windows there are."""
    found: list[dict[str, Any]] = asked(site, OPERATOR, "GET", PATH)[1]["windows"]
    return found


def entries(site: Site, window: str) -> list[Entry]:
    """Return what the ledger has of *window*."""
    index = int(window.removeprefix("w-"))
    with ledger_place.store(load(site.file)).reading() as reader:
        found = [(at, decode(content)) for at, content in stored_entries(reader, 0, reader.head().size)]
    return [entry for at, entry in found if index in (getattr(entry, "window", None), at)]


def verified(site: Site) -> str:
    """Have the ledger verified, and return what is said."""
    finished = run("ledger", "--config", str(site.file), "verify", "--contents", **site.environment())
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def commanded(clinic: Clinic, who: str, *words: str) -> Finished:
    """Run `jpki-appliance emergency` as the operator *who*, over the network."""
    certificate, key = clinic.certificate(who)
    there = ("--url", clinic.url, "--authorities", str(clinic.authority))
    mine = ("--certificate", str(certificate), "--key", str(key))
    return run("emergency", *there, *mine, *words, **clinic.site.environment())


def test_a_desk_is_told_that_it_may(clinic: Clinic) -> None:
    """A reception sees at its desk whether the check that nobody makes is offered; metrics and log say that a window is open."""
    site = clinic.site
    window = opened(site)
    (desk,) = [
        one for one in asked(site, RECEPTION, "GET", "/v1/terminals")[1]["desks"] if one["kind"] == "local"
    ]
    assert [(check["method"], check.get("window")) for check in desk["checks"]][-1] == (
        "none_emergency",
        window,
    )
    scraped = _scraped(clinic)
    assert 'jpki_emergency_windows{state="open"} 1.0' in scraped
    with clinic.card():
        status, job = asked(site, RECEPTION, "POST", "/v1/authentications?wait=20", NOBODY)
    assert (status, job["state"]) == (201, "authenticated"), job
    assert asked(site, SECOND_OPERATOR, "DELETE", f"{PATH}/{window}")[0] == 200
    scraped = _scraped(clinic)
    assert 'jpki_emergency_windows{state="open"} 0.0' in scraped
    counted = 'jpki_authentications_total{identity_check="none_emergency",mode="pinless",outcome="authenticated",transport="local"} 1.0'
    assert counted in scraped
    said = [line["event"] for line in clinic.daemon.logged()]
    assert f"emergency window open window={window} by={SECOND_OPERATOR}" in said
    assert f"emergency window closed window={window} cause=closed" in said
    assert asked(site, RECEPTION, "POST", "/v1/authentications", NOBODY)[1]["code"] == "emergency_closed"


def test_a_terminal_that_has_not_come_since_the_start(clinic: Clinic) -> None:
    """It is absent, not unknown, and a window may be for its desk: the restart that it misses may have ended the one before."""
    site = clinic.site
    for desk, status, code in (
        ("ward-1.reader-1", 409, "terminal_absent"),
        ("ward-7.reader-1", 404, "desk_unknown"),
    ):
        got, problem = asked(site, RECEPTION, "POST", "/v1/authentications", {"desk": desk, "mode": "pin"})
        assert (got, problem["code"]) == (status, code)
    now = datetime.fromisoformat(asked(site, OPERATOR, "GET", PATH)[1]["now"])
    body = {"reason": "disaster", "until": f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"}
    status, window = asked(site, OPERATOR, "POST", PATH, {**body, "desks": ["ward-1.reader-1"]})
    assert (status, window["desks"]) == (201, ["ward-1.reader-1"])
    assert asked(site, OPERATOR, "DELETE", f"{PATH}/{window['id']}")[0] == 200
    status, problem = asked(site, OPERATOR, "POST", PATH, {**body, "desks": ["ward-7.reader-1"]})
    assert (status, problem["code"]) == (404, "desk_unknown")


def _scraped(clinic: Clinic) -> list[str]:
    host, _, rest = clinic.daemon.metrics.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=SECONDS)
    try:
        connection.request("GET", f"/{rest}")
        return connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()


def test_a_reload_leaves_windows_and_ends_what_is_not_permitted(clinic: Clinic) -> None:
    """Windows stay where another thing changes; shorter hours, or an operator who is none any more, end them."""
    site = clinic.site
    window = opened(site)
    clinic.daemon.reload()
    assert [one["id"] for one in windows(site)] == [window]
    with site.changed(("emergency_hours = 8.0", "emergency_hours = 2.0")):
        clinic.daemon.reload()
        assert windows(site) == []
        short = opened(site, 1.0)
        with site.changed(
            (
                f'alias = "{SECOND_OPERATOR}"\nrole = "operator"',
                f'alias = "{SECOND_OPERATOR}"\nrole = "auditor"',
            )
        ):
            clinic.daemon.reload()
            assert windows(site) == []
    clinic.daemon.reload()
    for one in (window, short):
        closed = entries(site, one)[-1]
        assert isinstance(closed, WindowClosed)
        assert closed.cause == "policy"


def test_the_command_does_it_all(clinic: Clinic) -> None:
    """Proposed, seen, confirmed by somebody else, closed; in the operator's language, and as JSON for a program."""
    said = commanded(clinic, OPERATOR, "--language", "en")
    assert (said.returncode, said.stdout.startswith("No emergency window")) == (0, True), said.stderr
    proposed = commanded(
        clinic, OPERATOR, "propose", "--reason", "drill", "--hours", "0.5", "--desk", "desk-1"
    )
    assert proposed.returncode == 0, proposed.stderr
    window = proposed.stdout.split()[0]
    assert f"jpki-appliance emergency confirm {window}" in proposed.stdout
    own = commanded(clinic, OPERATOR, "confirm", window)
    assert own.returncode == 1
    assert "[emergency_same_operator]" in own.stderr
    confirmed = commanded(clinic, SECOND_OPERATOR, "--language", "ja", "confirm", window)
    assert (confirmed.returncode, "実施中" in confirmed.stdout) == (0, True), confirmed.stderr
    listed = json.loads(commanded(clinic, OPERATOR, "list", "--json").stdout)
    assert [(one["id"], one["state"], one["reason"]) for one in listed["windows"]] == [
        (window, "open", "drill")
    ]
    closed = commanded(clinic, OPERATOR, "close", window)
    assert closed.returncode == 0, closed.stderr
    again = commanded(clinic, OPERATOR, "close", window)
    assert (again.returncode, "[resource_absent]" in again.stderr) == (1, True)
    reception = commanded(clinic, RECEPTION, "list")
    assert (reception.returncode, "[access_denied]" in reception.stderr) == (1, True)


def test_one_operator_is_at_the_machine(clinic: Clinic) -> None:
    """Known by the account, at the local socket; the other one confirms over the network. A reception's account may nothing."""
    site = clinic.site
    here = ("emergency", "--config", str(site.file), "--language", "en")
    proposal = ("propose", "--reason", "unconscious", "--hours", "1")
    denied = run(*here, *proposal, **site.environment())
    assert (denied.returncode, "[access_denied]" in denied.stderr) == (1, True)
    with site.changed((cli_house.RECEPTION, cli_house.OPERATOR)):
        clinic.daemon.reload()
        proposed = run(*here, *proposal, **site.environment())
        assert proposed.returncode == 0, proposed.stderr
        window = proposed.stdout.split()[0]
        confirmed = commanded(clinic, SECOND_OPERATOR, "--language", "en", "confirm", window)
        assert "OPEN" in confirmed.stdout, confirmed.stderr
        assert window in run(*here, **site.environment()).stdout
    # Who has proposed it is no operator any more.
    clinic.daemon.reload()
    assert windows(site) == []


@pytest.mark.parametrize(
    "words",
    [
        ("propose", "--reason", "drill"),
        ("propose", "--reason", "drill", "--hours", "1", "--until", "2030-01-01T00:00:00Z"),
        ("propose", "--reason", "boredom", "--hours", "1"),
        ("propose", "--hours", "1"),
        ("propose", "--reason", "drill", "--hours", "73"),
        ("confirm", "../status"),
        ("confirm",),
    ],
)
def test_what_the_command_does_not_understand(words: tuple[str, ...], tmp_path: Path) -> None:
    """Nothing is asked of the appliance where what is wanted is not clear: status 2."""
    finished = CliRunner().invoke(emergency, ["--socket", str(tmp_path / "none.sock"), *words])
    assert finished.exit_code == 2, finished.output


def test_a_restart_ends_windows(clinic: Clinic) -> None:
    """Ended in order or killed, the next process knows no window; the ledger says that they were interrupted, and verifies."""
    site = clinic.site
    in_order = opened(site)
    assert clinic.daemon.end() == 0
    with tempfile.TemporaryDirectory(prefix="daemon-") as folder, started(site, Path(folder)) as daemon:
        assert windows(site) == []
        crashed = opened(site)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(SECONDS)
    with tempfile.TemporaryDirectory(prefix="daemon-") as folder, started(site, Path(folder)):
        assert windows(site) == []
        assert asked(site, RECEPTION, "POST", "/v1/authentications", NOBODY)[1]["code"] == "emergency_closed"
    for window in (in_order, crashed):
        proposed, confirmed, closed = entries(site, window)
        assert isinstance(proposed, WindowProposed)
        assert isinstance(confirmed, WindowConfirmed)
        assert isinstance(closed, WindowClosed)
        assert (proposed.by, confirmed.by, closed.cause) == (OPERATOR, SECOND_OPERATOR, "interrupted")
    assert "0 unfinished" in verified(site)
