"""`jpki-appliance simulator` and `jpki-appliance hsm`, run as an integrator runs them."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509 import CRLNumber, load_der_x509_crl

from appliance.card.cvc import Certificate, check_chain
from appliance.simulator import control, fault_text
from appliance.simulator.card_data import CardData
from appliance.simulator.kinds import Kind
from appliance.simulator.pcscd import PrivatePcscd, VirtualReader
from appliance.simulator.people import MUNICIPALITIES
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


def test_lists_of_the_hierarchy_are_delivered(tmp_path: Path) -> None:
    """By both generations of the CA, each run newer ones, which count for the days that were asked for; nothing unfinished is left."""
    assert run("simulator", "pki", str(tmp_path / "pki")).returncode == 0
    numbers = []
    for _ in range(2):
        made = run("simulator", "lists", str(tmp_path / "pki"), str(tmp_path / "lists"), "--days", "3")
        assert made.returncode == 0, made.stderr
        files = sorted((tmp_path / "lists").iterdir())
        assert [path.name for path in files] == sorted(
            f"{one.code}{generation}.crl" for one in MUNICIPALITIES for generation in ("", "-1")
        )
        crl = load_der_x509_crl(files[0].read_bytes())
        assert crl.next_update_utc is not None
        assert crl.next_update_utc - crl.last_update_utc == timedelta(days=3)
        numbers.append(crl.extensions.get_extension_for_class(CRLNumber).value.crl_number)
    assert numbers[0] < numbers[1]


def card_on(reader: VirtualReader, folder: Path) -> tuple[str, ...]:
    """Return the command that puts the card in *folder* on *reader*."""
    command = (sys.executable, "-m", "appliance", "simulator", "card")
    return (*command, str(folder / "card"), "--port", str(reader.port))


def test_a_card_lies_on_the_reader_until_it_is_told_to_leave(
    hierarchy: Hierarchy, private_pcscd: PrivatePcscd, tmp_path: Path, now: datetime
) -> None:
    """`simulator card` puts a card on a reader, answers for it, and goes when it is terminated."""
    hierarchy.issue_card(tmp_path / "card", now=now)
    reader = private_pcscd.readers[1]
    with Client.of(reader) as client:
        process = subprocess.Popen(card_on(reader, tmp_path), stderr=subprocess.PIPE, text=True)
        try:
            client.await_card()
            assert client.connect()(SELECT) == "9000"
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        client.await_removal()
    assert process.returncode == 0
    assert "stopped" in said


def test_a_faulty_card_behaves_as_it_was_told(
    hierarchy: Hierarchy, private_pcscd: PrivatePcscd, tmp_path: Path, now: datetime
) -> None:
    """A fault given on the command line is what the other side meets."""
    hierarchy.issue_card(tmp_path / "card", now=now)
    reader = private_pcscd.readers[1]
    with Client.of(reader) as client:
        command = (*card_on(reader, tmp_path), "--fault", "status@1=6F00")
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            client.await_card()
            assert client.connect()(SELECT) == "6f00"
        finally:
            process.terminate()
            process.wait(30)
        client.await_removal()


@contextmanager
def simulated(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Have `simulator card` run with a pcscd of its own, and the environment that finds it."""
    command = (sys.executable, "-m", "appliance", "simulator", "card", *map(str, arguments))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]  # shorter to write
    try:
        name, _, path = process.stdout.readline().strip().partition("=")
        assert name == "PCSCLITE_CSOCK_NAME"
        yield process, {name: path, "PATH": "/usr/bin"}
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def readers(environment: dict[str, str]) -> str:
    """Return what OpenSC lists: each reader, and whether a card is in it."""
    listed = subprocess.run(
        ("opensc-tool", "--list-readers"), env=environment, capture_output=True, text=True, check=True
    )
    return listed.stdout


def ask(process: subprocess.Popen[str], line: str) -> list[str]:
    """Give *line* to the control, and return the lines of its answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    answer = [process.stdout.readline().rstrip("\n")]
    while answer[-1] != "ok" and not answer[-1].startswith("error: "):
        answer.append(process.stdout.readline().rstrip("\n"))
    return answer


@pytest.fixture(scope="module")
def two_cards(hierarchy: Hierarchy, tmp_path_factory: pytest.TempPathFactory, now: datetime) -> list[Path]:
    """The folders of two cards."""
    folders = [tmp_path_factory.mktemp("cards") / name for name in ("one", "two")]
    for folder in folders:
        hierarchy.issue_card(folder, now=now)
    return folders


def test_a_private_reader_is_made_where_there_is_none(two_cards: list[Path]) -> None:
    """Without a port the command brings a pcscd of its own and says how other programs find it."""
    with simulated(two_cards[0]) as (_process, environment):
        assert "Virtual PCD 00 00" in readers(environment)


def test_cards_come_and_go_by_command(two_cards: list[Path]) -> None:
    """Several cards are on the readers of one pcscd; a line inserts or removes one, through a pipe."""
    with simulated("--control", "--atr", "contactless", *two_cards) as (process, environment):
        assert "Virtual PCD 1 00 00" in readers(environment)
        assert "Virtual PCD 2 00 00" in readers(environment)
        one, two, end = ask(process, "status")
        assert f"card 1 {two_cards[0]} on reader 1 Virtual PCD 1 00 00" in one
        assert f"card 2 {two_cards[1]} on reader 2 Virtual PCD 2 00 00" in two
        assert end == "ok"
        assert ask(process, "remove 1") == ["ok"]
        assert ask(process, "status")[0] == f"card 1 {two_cards[0]} on no reader"
        assert ask(process, "insert 1 2") == ["error: reader 2 is taken"]
        assert ask(process, "insert 1") == ["ok"]
        assert ask(process, "eject") == [
            "error: the commands are: insert [CARD [READER]], remove [CARD], status, quit"
        ]
        _output, told = process.communicate("quit\n", timeout=30)
        assert "card 1: stopped" in told


def test_a_removed_card_is_away_for_others(two_cards: list[Path], private_pcscd: PrivatePcscd) -> None:
    """What the control does is what PC/SC sees: away, and there again with all state lost."""
    reader = private_pcscd.readers[1]
    command = ("simulator", "card", str(two_cards[0]), "--port", str(reader.port), "--control")
    with Client.of(reader) as client:
        process = subprocess.Popen(
            (sys.executable, "-m", "appliance", *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for _ in range(2):
                client.await_card()
                assert client.connect()(SELECT) == "9000"
                assert ask(process, "remove") == ["ok"]
                client.await_removal()
                assert ask(process, "insert") == ["ok"]
        finally:
            # the end of the input is an end as well
            process.communicate(timeout=30)
        client.await_removal()
    assert process.returncode == 0


def test_cards_of_other_kinds_are_issued(tmp_path: Path) -> None:
    """A hierarchy makes more cards: of other kinds, with other certificates, and never over an existing one."""
    assert run("simulator", "pki", str(tmp_path)).returncode == 0
    for kind in Kind:
        made = run("simulator", "issue", str(tmp_path), str(tmp_path / kind), "--kind", kind, "--pin", "4711")
        assert made.returncode == 0, made.stderr
        loaded = CardData.load(tmp_path / kind)
        assert (loaded.kind, loaded.secrets.pin) == (kind, "4711")
    again = run("simulator", "issue", str(tmp_path), str(tmp_path / "next"))
    assert again.returncode == 2
    assert "exists already" in again.stderr
    signing = run("simulator", "issue", str(tmp_path), str(tmp_path / "signing"), "--signing")
    assert signing.returncode == 0
    assert CardData.load(tmp_path / "signing").signing is not None


def test_help_tells_everything() -> None:
    """The help names every fault, every kind and every command of the control."""
    told = run("simulator", "card", "--help").stdout
    documented = fault_text.__doc__ or ""
    faults = [line.split()[0] for line in documented.splitlines() if line.startswith("    ")]
    assert len(faults) == 12
    assert all(fault.partition("@")[0].partition("=")[0] in told for fault in faults)
    assert all(command in told for command in control.COMMANDS.split(", "))
    kinds = run("simulator", "issue", "--help").stdout
    assert all(kind in kinds for kind in Kind)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["simulator", "card", "nowhere", "--port", "1"], 78, "[config_invalid]"),
        (["simulator", "card", "nowhere", "--fault", "melted"], 2, "is no fault"),
        (["simulator", "card", "nowhere", "--fault", "2:melted"], 2, "is no fault"),
        (["simulator", "card", "nowhere", "nowhere"], 2, "on one reader only"),
        (["simulator", "card", "one", "two", "--port", "1"], 2, "one --port for each"),
        (["simulator", "card", *"123456789"], 2, "at most 8 cards"),
        (["simulator", "card"], 2, "Missing argument"),
        (["simulator", "card", "nowhere", "--fault", "2:removed@1"], 2, "a fault is for card 2"),
        (["simulator", "card", "nowhere", "--fault", "slow@1=-5"], 2, "no number of seconds"),
        (["simulator", "issue", "nowhere", "x"], 78, "[config_invalid]"),
        (["simulator", "issue", "nowhere", "x", "--pin", "12"], 2, "has not 4 digits"),
        (["simulator", "issue", "nowhere", "x", "--kind", "paper"], 2, "is not one of"),
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


def test_a_reader_that_does_not_listen_is_one_clear_message(two_cards: list[Path]) -> None:
    """Where nothing listens on the port, the command says so and ends; no card is left anywhere."""
    with socket.socket() as held:
        # Nobody else comes to listen there meanwhile.
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        finished = run("simulator", "card", str(two_cards[0]), "--port", str(port))
    assert "[reader_absent]" in finished.stderr
    assert f"127.0.0.1:{port}" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert finished.returncode == 1


@pytest.mark.parametrize(("option", "value"), [("--pin", "12"), ("--institution-code", "99")])
def test_a_hierarchy_is_made_whole_or_not_at_all(tmp_path: Path, option: str, value: str) -> None:
    """A PIN or code of the wrong length is refused before anything is made."""
    finished = run("simulator", "pki", str(tmp_path / "pki"), option, value)
    assert finished.returncode == 2
    assert "digits" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "pki").exists()
