"""What systemd says of our units, where it runs and can be asked."""

import shutil
import subprocess
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

SERVICE: Final = "jpki-appliance.service"
SOCKET: Final = "jpki-appliance.socket"
_BOOTED: Final = Path("/run/systemd/system")
_SECONDS: Final = 10.0
_MOST: Final = 1 << 16
"""Characters of an answer that are read."""


def asked(program: str, *arguments: str, seconds: float = _SECONDS) -> str | None:
    """Return what *program* prints, None where it is not there, fails, or takes more than *seconds*."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        finished = subprocess.run(
            (path, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.decode("utf-8", "replace") if finished.returncode == 0 else None


def newest_lines(unit: str, *, seconds: float, most: int) -> Generator[str, None, None]:
    """Yield what *unit* has logged, the newest line first, for *seconds* and *most* bytes; raise OSError where there is no journal."""
    command = ("journalctl", "--no-pager", "--output=cat", "--reverse", f"--unit={unit}")
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as reading:
        patience = threading.Timer(seconds, reading.kill)
        patience.start()
        try:
            while reading.stdout is not None and (line := reading.stdout.readline(most)):
                most -= len(line)
                yield line.decode("utf-8", "replace")
        finally:
            # Who has read enough does not wait for the rest of a log.
            patience.cancel()
            reading.kill()


def properties(unit: str, names: Sequence[str]) -> dict[str, str]:
    """Return the properties called *names* of *unit*; none where systemd does not run or does not say."""
    if not _BOOTED.is_dir():
        return {}
    said = asked("systemctl", "show", "--no-pager", f"--property={','.join(names)}", unit) or ""
    pairs = (line.partition("=") for line in said[:_MOST].splitlines())
    return {name: value for name, _, value in pairs if name in names}


def runs() -> bool | None:
    """
    Return whether the service runs, comes up or is about to end; None where systemd does not say.

    Where systemd does not run, the service does not either.
    """
    state = properties(SERVICE, ("ActiveState",)).get("ActiveState")
    if state is None and _BOOTED.is_dir():
        return None
    return state not in {None, "inactive", "failed"}


def sleeps(socket: Path) -> bool:
    """Return whether asking at *socket* would make systemd start the service, which does not run."""
    if str(socket) not in properties(SOCKET, ("Listen",)).get("Listen", "").split():
        return False
    return properties(SERVICE, ("ActiveState",)).get("ActiveState") in {"inactive", "failed"}
