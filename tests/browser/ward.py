"""The terminal `ward-1` as a process with a keyboard of its own, at which holders enter their PIN."""

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.browser.clinic import WARD_DESK, Clinic
from tests.daemon.process import SECONDS, UNPRIVILEGED

_OWN_SCREEN: Final = (
    "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from appliance.cli.main import main; main()"
)


@dataclass(slots=True)
class Ward:
    """The terminal's screen and keyboard, as a pseudo-terminal."""

    descriptor: int
    text: str = ""

    def shows(self, wanted: str) -> None:
        """Wait until *wanted* has been shown."""
        deadline = time.monotonic() + SECONDS
        while wanted not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, self.text
            ready, _, _ = select.select([self.descriptor], [], [], left)
            if ready:
                self.text += os.read(self.descriptor, 4096).decode("utf-8", errors="replace")

    def enter(self, pin: str) -> None:
        """Type *pin* when it is asked for."""
        self.shows("four-digit PIN on the keyboard")
        os.write(self.descriptor, f"{pin}\r".encode())
        self.text = ""


@contextlib.contextmanager
def ward(clinic: Clinic) -> Iterator[Ward]:
    """Have the terminal connected to *clinic* for the length of a block."""
    folder = clinic.site.folder
    configuration = folder / "ward.toml"
    text = (folder / "terminal.toml").read_text("utf-8")
    configuration.write_text(
        text.replace("Virtual PCD 00 00", clinic.site.pcscd.readers[1].name), encoding="utf-8"
    )
    near, far = pty.openpty()
    process = subprocess.Popen(
        (
            *UNPRIVILEGED,
            *(sys.executable, "-c", _OWN_SCREEN, "terminal", "--pin-entry", "keyboard", "--language", "en"),
            *("--config", str(configuration)),
        ),
        stdin=far,
        stdout=far,
        stderr=far,
        env={**clinic.site.environment(), "TERM": "xterm", "COLUMNS": "200"},
        start_new_session=True,
    )
    os.close(far)
    try:
        clinic.until(WARD_DESK, "empty", "card")
        yield Ward(near)
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(near)
        clinic.until(WARD_DESK, "absent", "gone")
