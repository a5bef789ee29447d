"""The newcomer's path in the README is run as it stands there, in four shells."""

import contextlib
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.process import SECONDS, UNPRIVILEGED, free_port

ROOT = Path(__file__).parents[2]
SECTION = "A clinic on one machine"


def shells(title: str = SECTION) -> list[str]:
    """Return what is typed into each shell of the section with this *title*."""
    section = (ROOT / "README.md").read_text("utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def at(site: Path, port: int, typed: str) -> str:
    """Return what is *typed* for another folder and port, which other runs do not use at the same time."""
    # A shell that runs one program last becomes it, so that it can be ended.
    run = re.sub(r"\n(\S+ (?:serve|terminal|simulator card) [^\n]*\n)$", r"\nexec \1", f"\n{typed}")
    made = run.replace("simulator site /tmp/site", f"simulator site /tmp/site --port {port} --metrics-port 0")
    return made.replace("/tmp/site", str(site))  # noqa: S108 - what the README says


@contextlib.contextmanager
def shell(typed: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have a shell do what is *typed*, and end it with all that it has started."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            (*UNPRIVILEGED, "bash", "-euc", f"trap 'kill $(jobs -p) || true; wait' TERM\n{typed}"),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(log.parent)},
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(SECONDS)


def until(happened: Callable[[], bool], what: str, *processes: subprocess.Popen[bytes]) -> None:
    """Wait until something has *happened*."""
    deadline = time.monotonic() + 3 * SECONDS
    while not happened():
        assert all(process.poll() is None for process in processes), what
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextlib.contextmanager
def clinic(site: Path, serving: str, card: str, terminal: str) -> Iterator[None]:
    """Have the first three shells do what is typed into them."""
    logs = [site.parent / name for name in ("serve", "card", "terminal")]
    with shell(serving, logs[0]) as first:
        until(lambda: '"event":"ready' in logs[0].read_text(), "the appliance is not ready", first)
        assert "[failed]" not in logs[0].read_text()
        with shell(card, logs[1]) as second:
            until(lambda: "PCSCLITE_CSOCK_NAME" in logs[1].read_text(), "there is no card", second)
            with shell(terminal, logs[2]) as third:
                until(lambda: "Connected" in logs[2].read_text(), "the terminal does not connect", third)
                yield


@pytest.fixture
def site() -> Iterator[Path]:
    """Where the commands of this run have their site."""
    with tempfile.TemporaryDirectory(prefix="readme-") as folder:
        yield Path(folder) / "site"


def test_the_commands_in_the_readme_lead_to_a_verified_token(site: Path) -> None:
    """Nothing is changed in them but the folder and the ports, which other runs may use at the same time."""
    port = free_port()
    *first_three, asking = (at(site, port, one) for one in shells())
    log = site.parent / "ask"
    with clinic(site, *first_three), shell(asking, log) as last:
        assert last.wait(2 * SECONDS) == 0, log.read_text()
    assert '"nonce": "visit-4711"' in log.read_text()
