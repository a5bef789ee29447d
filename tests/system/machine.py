"""
A Debian of its own that boots with systemd, in a container without network (systemd-nspawn).

Its root file system is made once by debootstrap and kept outside the repository; every run gets a copy. Commands are run inside
by entering its namespaces, so that nothing has to listen there. All of it needs root.
"""

import fcntl
import hashlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RELEASE = "bookworm"
HOME = "/srv/test"
"""The test's own folder inside, closed to all accounts but root."""
PACKAGES = (
    *(
        "systemd",
        "systemd-sysv",
        "dbus",
        "python3",
        "ca-certificates",
        "curl",
        "openssl",
        "procps",
        "iproute2",
    ),
    *("libpcsclite1", "pcscd", "vsmartcard-vpcd", "softhsm2"),
    *("polkitd", "libpam-systemd"),
)
FETCHED = ("postgresql", "haproxy")
"""What a step installs: there is no network inside, so it lies in apt's own cache, with all that it needs."""
_PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "script": "bsdutils",
    "nsenter": "util-linux",
}
_SYSTEM_CALLS = "@clock bpf"
"""What a container is refused and a machine is not: to ask the clock, and to filter a service's network."""
_BOOT_SECONDS = 120
_COMMAND_SECONDS = 180
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MachineError(Exception):
    """The machine cannot be made, or does not boot."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command has *out*put, error output included, and its exit *status*."""

    status: int
    out: str

    @property
    def last(self) -> str:
        """The last line."""
        return self.out.rstrip().rsplit("\n", 1)[-1]


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted Debian: its *root* folder, seen from outside, and its first process."""

    root: Path
    leader: int

    def run(
        self, *command: str, user: str | None = None, check: bool = True, entering: str | None = None
    ) -> Said:
        """Run *command* inside, as root or as *user* (with the groups it has), *entering* on its standard input."""
        become = () if user is None else ("runuser", "--user", user, "--")
        done = subprocess.run(
            self.inside("/tmp", *become, *command),  # noqa: S108  # in a machine of its own
            input=entering or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        return Said(done.returncode, done.stdout)

    def inside(self, home: str, *command: str) -> tuple[str, ...]:
        """Return what runs *command* inside, as root."""
        return (
            *("nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--"),
            *("env", "--ignore-environment", f"PATH={_PATH}", "LC_ALL=C.UTF-8", f"HOME={home}", *command),
        )

    def shell(self, script: str, *, user: str | None = None, check: bool = True) -> Said:
        """Run a piece of shell inside."""
        return self.run("sh", "-euc", script, user=user, check=check)

    def asked(self, script: str, question: str, answer: str) -> Said:
        """Run a piece of shell inside, at a terminal; type *answer* when the *question* stands there."""
        command = ("script", "--quiet", "--return", "--command", script, "/dev/null")
        with subprocess.Popen(
            self.inside("/root", *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            end, shown = time.monotonic() + _COMMAND_SECONDS, b""
            while question.encode() not in shown:
                ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
                part = os.read(process.stdout.fileno(), 65536) if ready else b""
                if not part:
                    process.kill()
                    raise AssertionError(
                        f"{script} does not ask {question}:\n{shown.decode(errors='replace')}"
                    )
                shown += part
            out, _ = process.communicate(f"{answer}\n".encode(), _COMMAND_SECONDS)
        return Said(process.returncode, (shown + out).decode(errors="replace"))

    def outside(self, path: str) -> Path:
        """Return where *path* of the inside is, seen from outside."""
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside."""
        file = self.outside(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        file.chmod(mode)

    def shown(self, unit: str, what: str) -> str:
        """Return a property of *unit*."""
        return self.run("systemctl", "show", "--value", f"--property={what}", unit).out.strip()

    def wait(self, what: str, script: str, seconds: float = 60) -> Said:
        """Wait until the shell *script* succeeds; *what* is for the message when it does not."""
        end = time.monotonic() + seconds
        while True:
            said = self.shell(script, check=False)
            if not said.status:
                return said
            if time.monotonic() > end:
                raise AssertionError(f"after {seconds:g} s still not: {what}\n{said.out[-2000:]}")
            time.sleep(0.2)


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Give a machine whose files are below *folder*, and end it."""
    if os.getuid():
        raise MachineError("a machine is booted as root only: sudo make system-test")
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            raise MachineError(f"the program {program} is not installed (Debian package {package})")
    root = folder / "root"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(("cp", "--archive", "--reflink=auto", str(_base()), str(root)), check=True)
    (root / HOME.lstrip("/")).mkdir(mode=0o700)
    # As Debian's installer leaves it; debootstrap does not write one.
    (root / "etc" / "hosts").write_text("127.0.0.1\tlocalhost\n", "ascii")
    name = f"jpki-{os.getpid()}"
    boot = (
        f"exec systemd-nspawn --quiet --directory={root} --boot --register=no --keep-unit --private-network"
        f" --machine={name} --kill-signal=SIGRTMIN+3 '--system-call-filter={_SYSTEM_CALLS}'"
    )
    with (folder / "console.log").open("wb") as console:
        # Without a terminal of its own it loses its output.
        process = subprocess.Popen(
            ("script", "--quiet", "--return", "--command", boot, "/dev/null"),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
    try:
        machine = Machine(root, _leader(process))
        machine.wait(
            "booted", "systemctl is-system-running --wait | grep -E 'running|degraded'", _BOOT_SECONDS
        )
        yield machine
    finally:
        _end(process)


@contextmanager
def cached(name: str) -> Iterator[Path]:
    """Give where what is called *name* is kept from run to run, for the caller alone to make it where it is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jpki-appliance"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache / name


def _base() -> Path:
    """Return the root file system that copies are made of; make it if this is the first time."""
    recipe = hashlib.sha256(" ".join((RELEASE, *PACKAGES, *FETCHED)).encode()).hexdigest()[:12]
    with cached(f"{RELEASE}-{recipe}") as root:
        if not root.exists():
            unfinished = root.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            subprocess.run(
                (
                    *("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"),
                    *(RELEASE, str(unfinished)),
                ),
                stdout=subprocess.DEVNULL,
                check=True,
            )
            for command in (("update",), ("install", "--yes", "--download-only", *FETCHED)):
                subprocess.run(
                    ("chroot", str(unfinished), "apt-get", *command), stdout=subprocess.DEVNULL, check=True
                )
            unfinished.rename(root)
    return root


def _leader(process: subprocess.Popen[bytes]) -> int:
    """Return the machine's first process: the great-grandchild, below `script` and systemd-nspawn."""
    end = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < end and process.poll() is None:
        for supervisor in _children(process.pid):
            for child in _children(supervisor):
                if _name(child) == "systemd":
                    return child
        time.sleep(0.05)
    raise MachineError("the machine does not boot; its console is in console.log")


def _children(process: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Shut the machine down, and wait until nothing of it is left."""
    for supervisor in _children(process.pid):
        os.kill(supervisor, signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        for supervisor in _children(process.pid):
            os.kill(supervisor, signal.SIGKILL)
        process.kill()
        process.wait()
