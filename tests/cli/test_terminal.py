"""`jpki-appliance terminal`, run as a clinic runs it: a process, a reader, a card, and an appliance on the other side."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from appliance.authentication import converse
from appliance.card import jpki
from appliance.card.dialogue import Exchange
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped
from appliance.hsm.shipped import shipped as shipped_file
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import FaultyCard
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.pki import Hierarchy
from appliance.terminals.messages import Abort, Mode, Outcome, PinEntry, Result
from tests.cli.conftest import run
from tests.pcsc import lying_on
from tests.terminals.agent.far_side import PATIENCE, SESSION, FarSide, far_side

PROFILE = shipped("jpki-reference")
EXAMPLE = shipped_file("terminal.toml").read_text("utf-8")


@pytest.fixture(scope="module")
def data(hierarchy: Hierarchy, now: datetime) -> CardData:
    """What is on the card."""
    return hierarchy.issue_card(now=now)


@pytest.fixture
async def side(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FarSide]:
    """Return an appliance in a folder in which the terminal's configuration can lie."""
    async with far_side(tmp_path_factory.mktemp("s")) as side:
        yield side


@dataclass(slots=True)
class Screen:
    """The command's process, and what it has printed."""

    process: asyncio.subprocess.Process
    text: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, descriptor: int) -> None:
        """Take what comes on *descriptor* until its end."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # what a pseudo-terminal says whose other side is closed
            while octets := await loop.run_in_executor(None, os.read, descriptor, 4096):
                self.text += octets.decode("utf-8", errors="replace")
                self.news.set()

    async def shows(self, wanted: str) -> None:
        """Wait until *wanted* has been printed."""
        async with asyncio.timeout(PATIENCE):
            while wanted not in self.text:
                self.news.clear()
                await self.news.wait()

    async def ended(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, and return the exit status."""
        self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


def configured(side: FarSide, reader: str) -> Path:
    """Return the example's configuration for *side* and *reader*."""
    path = side.socket.parent / "terminal.toml"
    text = EXAMPLE.replace("run/appliance.sock", side.socket.name).replace("Virtual PCD 00 00", reader)
    path.write_text(text.replace("shortest_pause_seconds = 1.0", "shortest_pause_seconds = 0.2"), "utf-8")
    return path


@asynccontextmanager
async def running(
    pcscd: PrivatePcscd, side: FarSide, *options: str, language: str = "en_US.UTF-8", on_screen: bool = False
) -> AsyncIterator[tuple[Screen, int]]:
    """Have the command run, on a screen of its own where asked for; give what it shows, and its keyboard."""
    near, far = pty.openpty() if on_screen else os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _OWN_SCREEN if on_screen else _PLAIN, "terminal"),
        *("--config", str(configured(side, pcscd.readers[2].name)), *options),
        stdin=far if on_screen else asyncio.subprocess.DEVNULL,
        stdout=far,
        stderr=far,
        env={**pcscd.environment, "LC_ALL": language, "TERM": "xterm", "COLUMNS": "200"},
        start_new_session=on_screen,
    )
    os.close(far)
    screen = Screen(process)
    reading = asyncio.create_task(screen.read(near))
    try:
        yield screen, near
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading
        os.close(near)


_PLAIN = "from appliance.cli.main import main; main()"
_OWN_SCREEN = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); " + _PLAIN


async def never(challenge: bytes) -> bytes:
    """Be nobody's key."""
    raise AssertionError(f"asked to sign {len(challenge)} bytes")


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en_US.UTF-8", ["Connected", "Place the My Number card", "Leave it", "Finished. The card can be taken away."]),
        ("ja_JP.UTF-8", ["接続中", "リーダーに置いてください", "動かさないで", "完了しました。 カードをお取りください。"]),
    ],
)  # fmt: skip
async def test_a_person_is_told_what_to_do(
    language: str, words: list[str], private_pcscd: PrivatePcscd, side: FarSide, data: CardData
) -> None:
    """A line for each change, in the reader's language; ended politely it takes leave of the appliance."""
    async with running(private_pcscd, side, language=language) as (screen, _):
        line = await side.line()
        await line.welcome()
        await screen.shows(words[0])
        await line.card(present=False)
        card = await line.start(Mode.PINLESS)
        await screen.shows(words[1])
        with lying_on(private_pcscd.readers[2], FaultyCard(SoftwareCard(data))):
            await line.card(present=True)
            inspection = await converse(jpki.inspect(PROFILE), card, never)
            assert inspection.certificates.authentication
            await screen.shows(words[2])
            await line.say(Result(session=SESSION, outcome=Outcome.DONE))
            await screen.shows(words[3])
            await line.start(Mode.PINLESS, "1" * 32)
            ending = asyncio.create_task(screen.ended())
            assert (await line.hear(Abort)).session == "1" * 32
            assert await line.closed() == 1001
            assert await ending == 0
    assert "Traceback" not in screen.text


@pytest.mark.usefixtures("nothing_left")
async def test_why_it_was_refused_and_what_to_do_is_told(private_pcscd: PrivatePcscd, side: FarSide) -> None:
    """The code, what happened and what to do next; a code that is not known here is shown as it is."""
    async with running(private_pcscd, side) as (screen, _):
        line = await side.line()
        await line.welcome()
        for session, code in (("1" * 32, "certificate_revoked"), ("2" * 32, "of_a_later_version")):
            await line.start(Mode.PINLESS, session)
            await line.say(Result(session=session, outcome=Outcome.REFUSED, code=code))
            await screen.shows(f"Not completed: [{code}]")
        await screen.shows("revoked")
        await side.end()
        await screen.shows("No connection to the appliance")
        assert await screen.ended(signal.SIGINT) == 0
    assert "Traceback" not in screen.text


@pytest.mark.usefixtures("nothing_left")
async def test_the_pin_is_entered_at_the_keyboard_and_never_shown(
    private_pcscd: PrivatePcscd, side: FarSide, data: CardData
) -> None:
    """On a screen of its own: the holder is asked, the digits go into the card, and nothing of them is on the screen."""
    with lying_on(private_pcscd.readers[2], FaultyCard(SoftwareCard(data))):
        async with running(private_pcscd, side, "--pin-entry", "keyboard", on_screen=True) as (
            screen,
            keyboard,
        ):
            line = await side.line()
            hello = await line.welcome()
            assert [reader.pin_entry for reader in hello.readers] == [PinEntry.SCREEN]
            await line.card(present=True)
            card = await line.start(Mode.PIN)
            asked = next(jpki.with_pin(PROFILE, Nonce.from_random(bytes(32))))
            assert isinstance(asked, Exchange)
            exchanging = asyncio.create_task(card.exchange(asked))
            await screen.shows("four-digit PIN on the keyboard")
            shown = len(screen.text)
            os.write(keyboard, b"1234\r")
            assert len(await exchanging) > 6
            await line.say(Result(session=SESSION, outcome=Outcome.DONE))
            await screen.shows("Finished.")
            assert "1234" not in screen.text[shown:]
            assert await screen.ended() == 0


def test_what_is_wrong_with_the_configuration_is_said(tmp_path: Path) -> None:
    """A missing or wrong file ends it with status 78, which no restart can heal; so does a keyboard that is not there."""
    missing = run("terminal", "--config", str(tmp_path / "none.toml"))
    assert (missing.returncode, "config_invalid" in missing.stderr) == (78, True)
    path = tmp_path / "terminal.toml"
    path.write_text(EXAMPLE.replace("[pin]", "[pin]\npassword = 1"), "utf-8")
    wrong = run("terminal", "--config", str(path))
    assert (wrong.returncode, "password" in wrong.stderr) == (78, True)
    path.write_text(EXAMPLE, "utf-8")
    command = (
        sys.executable,
        "-m",
        "appliance",
        "terminal",
        "--config",
        str(path),
        "--pin-entry",
        "keyboard",
    )
    mute = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, start_new_session=True
    )
    assert (mute.returncode, "pin.entry" in mute.stderr) == (78, True)
    assert run("terminal").returncode == 2
