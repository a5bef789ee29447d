"""`jpki-appliance status`, run as an operator runs it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.catalogue import Language, story
from appliance.gateway.condition import Cause
from appliance.gateway.desks import DeskState
from appliance.hsm.health import HsmState
from tests.cli.conftest import run
from tests.cli.house import OPERATOR, RECEPTION, asked, furnished, serving
from tests.daemon.process import Daemon, Site


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon of which this account is an operator."""
    with furnished() as site:
        site.change((RECEPTION, OPERATOR))
        with serving(site) as running:
            yield running


@pytest.mark.parametrize(
    ("spoken", "words"),
    [
        ("en", ("Ready:", "desk desk-1: no card", "ledger: usable")),
        ("ja", ("利用可能", "窓口 desk-1: カードなし")),
    ],
)
def test_all_parts_are_told_in_words(spoken: str, words: tuple[str, ...], daemon: Daemon) -> None:
    """HSM and keys, ledger, revocation, certificates and desks stand there in the operator's language."""
    finished = asked(daemon.site, "status", "--config", str(daemon.site.file), "--language", spoken)
    assert finished.returncode == 0, finished.stderr
    for expected in (*words, "HSM hsm-1: ", "institution", "tls-server", "UTC"):
        assert expected in finished.stdout


def test_a_program_reads_json(daemon: Daemon) -> None:
    """The same as one document, asked at the socket without a configuration."""
    finished = run("status", "--socket", str(daemon.site.socket), "--json")
    assert finished.returncode == 0, finished.stderr
    document = json.loads(finished.stdout)
    assert (document["ready"], document["causes"]) == (True, [])
    assert document["condition"]["hsms"][0]["alias"] == "hsm-1"
    assert [desk["desk"] for desk in document["desks"]] == ["desk-1"]


def test_who_may_not_ask_is_told_so(daemon: Daemon) -> None:
    """An account that is a reception's gets the reason and what to do, and status 1."""
    site: Site = daemon.site
    with site.changed((OPERATOR, RECEPTION)):
        daemon.reload()
        finished = asked(site, "status", "--config", str(site.file))
    daemon.reload()
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "[access_denied]" in finished.stderr
    assert "peer.role" in finished.stderr


def test_nobody_there_is_a_clear_error(tmp_path: Path) -> None:
    """Where nothing runs, that is what is said."""
    finished = run("status", "--socket", str(tmp_path / "none.sock"), LC_ALL="ja_JP.UTF-8")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "[appliance_unreachable] 認証機器に接続できません" in finished.stderr


def test_every_state_has_its_words() -> None:
    """What the appliance can say of itself can be told in both languages."""
    for kind, states in (("hsm", HsmState), ("desk", DeskState), ("cause", Cause)):
        for state in states:
            text = story(f"status-{kind}-{state}")
            assert text.in_language(Language.EN) != text.in_language(Language.JA)
