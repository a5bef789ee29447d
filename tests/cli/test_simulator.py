"""`jpki-appliance simulator` and `jpki-appliance hsm`, run as an integrator runs them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.card.cvc import Certificate, check_chain
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.pki import Hierarchy
from tests.cli.conftest import run
from tests.pcsc import Client

SELECT = "00A4040C0AD392F000260100000001"


def test_a_hierarchy_certifies_a_key_that_was_made_in_an_hsm(tmp_path: Path) -> None:
    """Token, hierarchy and card are made by three commands, and the chain leads to the HSM's key."""
    made = run("hsm", "provision-softhsm", str(tmp_path / "hsm"))
    assert made.returncode == 0, made.stderr
    key = str(tmp_path / "hsm" / "institution.pub.pem")
    made = run(
        "simulator", "pki", str(tmp_path / "pki"), "--institution-key", key, "--institution-code", "9900001"
    )
    assert made.returncode == 0, made.stderr
    institution = tmp_path / "pki" / "institution"
    intermediate, leaf = (
        Certificate.from_bytes((institution / name).read_bytes()) for name in ("intermediate.cvc", "leaf.cvc")
    )
    root_key = Hierarchy.load(tmp_path / "pki").root_key
    assert check_chain(intermediate, leaf, root_key).institution_code == "9900001"
    assert (tmp_path / "pki" / "card" / "card.toml").exists()


def test_a_hierarchy_is_added_to_and_never_replaced(tmp_path: Path) -> None:
    """Run again, the command keeps the CAs: cards and institutions made before stay valid."""
    assert run("simulator", "pki", str(tmp_path)).returncode == 0
    before = (
        (tmp_path / "holders" / "ca-1.pem").read_bytes(),
        (tmp_path / "card" / "certificate.der").read_bytes(),
    )
    assert run("simulator", "pki", str(tmp_path)).returncode == 0
    after = (
        (tmp_path / "holders" / "ca-1.pem").read_bytes(),
        (tmp_path / "card" / "certificate.der").read_bytes(),
    )
    assert before == after


def test_a_card_lies_on_the_reader_until_it_is_told_to_leave(
    hierarchy: Hierarchy, private_pcscd: PrivatePcscd, tmp_path: Path, now: object
) -> None:
    """`simulator card` puts a card on a reader, answers for it, and goes when it is terminated."""
    hierarchy.issue_card(tmp_path / "card", now=now)  # type: ignore[arg-type]
    reader = private_pcscd.readers[1]
    command = (
        sys.executable,
        "-m",
        "appliance",
        "simulator",
        "card",
        str(tmp_path / "card"),
        "--port",
        str(reader.port),
    )
    with Client.of(reader) as client:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            client.await_card()
            assert client.connect()(SELECT) == "9000"
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=10)
        client.await_removal()
    assert process.returncode == 0
    assert "stopped" in said


def test_a_faulty_card_behaves_as_it_was_told(
    hierarchy: Hierarchy, private_pcscd: PrivatePcscd, tmp_path: Path, now: object
) -> None:
    """A fault given on the command line is what the other side meets."""
    hierarchy.issue_card(tmp_path / "card", now=now)  # type: ignore[arg-type]
    reader = private_pcscd.readers[1]
    command = (
        sys.executable,
        "-m",
        "appliance",
        "simulator",
        "card",
        str(tmp_path / "card"),
        "--port",
        str(reader.port),
    )
    with Client.of(reader) as client:
        process = subprocess.Popen((*command, "--fault", "status@1=6F00"), stderr=subprocess.DEVNULL)
        try:
            client.await_card()
            assert client.connect()(SELECT) == "6f00"
        finally:
            process.terminate()
            process.wait(10)
        client.await_removal()


def test_a_private_reader_is_made_where_there_is_none(tmp_path: Path) -> None:
    """Without a port the command brings a pcscd of its own and says how other programs find it."""
    assert run("simulator", "pki", str(tmp_path)).returncode == 0
    command = (sys.executable, "-m", "appliance", "simulator", "card", str(tmp_path / "card"))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        name, _, socket = process.stdout.readline().strip().partition("=")
        assert name == "PCSCLITE_CSOCK_NAME"
        listed = subprocess.run(
            ("opensc-tool", "--list-readers"),
            env={name: socket, "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Virtual PCD 00 00" in listed.stdout
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["simulator", "card", "nowhere", "--port", "1"], 78, "[config_invalid]"),
        (["simulator", "card", "nowhere", "--fault", "melted"], 2, "is no fault"),
        (["simulator", "pki", "x", "--institution-key", "/dev/null"], 2, "no PEM public key"),
        (["hsm", "provision-softhsm", "/proc/nowhere"], 78, "[config_invalid]"),
    ],
)
def test_a_mistake_is_one_clear_message(arguments: list[str], status: int, said: str) -> None:
    """Wrong arguments are told without a traceback."""
    finished = run(*arguments)
    assert finished.returncode == status
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr
