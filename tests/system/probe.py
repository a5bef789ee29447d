"""
What a process finds that runs where the service runs. A program, run by the unit itself in the service's place.

Prints one JSON document: for each thing that is tried, `None` where it went through, or how it was refused.
"""

import ctypes
import errno
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWUSER = 0x10000000
_SYSCALLS = {
    "mount": (165, 0, 0, 0, 0, 0),
    "ptrace": (101, 16, 1, 0, 0),
    "unshare a user namespace": (272, _CLONE_NEWUSER),
    "bpf": (321, 0, 0, 0),
    "clock_settime": (227, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "setpriority": (141, 0, 0, 0),
    "personality": (135, 0x0040000),
    "kexec_load": (246, 0, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "swapon": (167, 0, 0),
}
"""Numbers of x86-64, with arguments that would do no harm."""


def refused(act: Callable[..., object], *arguments: object) -> str | None:
    """Return how *act* was refused, by the name of its errno."""
    try:
        act(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return None


def syscall(number: int, *arguments: int) -> None:
    """Make a system call; raise OSError."""
    ctypes.set_errno(0)
    if _LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) == -1:
        raise OSError(ctypes.get_errno(), "")


def write(path: str) -> None:
    """Make a file and take it away again."""
    file = Path(path) / ".probe"
    file.write_text("x")
    file.unlink()


def set_user_bit() -> None:
    """Make a program that would run as its owner."""
    file = Path(os.environ.get("STATE_DIRECTORY", "/tmp"), ".probe-suid")  # noqa: S108  # its own one
    file.touch()
    try:
        file.chmod(0o4755)
    finally:
        file.unlink()


def send(address: str) -> None:
    """Send one datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.sendto(b"x", (address, 9))


def status(name: str) -> str:
    """Return a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def open_socket(family: int) -> None:
    """Open a raw socket."""
    socket.socket(family, socket.SOCK_RAW).close()


def map_writable_code() -> None:
    """Map memory that can be written and run."""
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def read(credentials: Path) -> dict[str, int]:
    """Return how long each of the *credentials* is."""
    if "CREDENTIALS_DIRECTORY" not in os.environ:
        return {}
    return {one.name: len(one.read_bytes()) for one in sorted(credentials.iterdir())}


def main() -> None:
    """Try everything, and tell."""
    credentials = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials"))
    found = {
        "write": {
            place: refused(write, place)
            for place in (
                *("/etc", "/usr", "/boot", "/var/lib", "/var/log", "/etc/jpki-appliance", "/home", "/srv"),
                str(Path("~root").expanduser()),
                *("/opt/jpki-appliance", "/dev", "/sys", "/proc/sys/kernel", str(credentials)),
                *("/var/lib/jpki-appliance", "/tmp", "/run/jpki-appliance"),  # noqa: S108  # its own one
                "/var/lib/jpki-handover",
            )
        },
        "family": {
            name: refused(open_socket, number)
            for name, number in (
                ("netlink", 16),
                ("packet", 17),
                ("vsock", 40),
                ("bluetooth", 31),
                ("alg", 38),
            )
        },
        "syscall": {name: refused(syscall, *call) for name, call in _SYSCALLS.items()},
        "memory that is written and run": refused(map_writable_code),
        "set-user-id": refused(set_user_bit),
        "network": {
            address: refused(send, address) for address in ("127.0.0.1", "192.0.2.2", "198.51.100.2")
        },
        "/proc/1": refused(Path("/proc/1/status").read_text),
        "clock can be asked": _LIBC.adjtimex(ctypes.create_string_buffer(512)) >= 0,
        "devices": sorted(one.name for one in Path("/dev").iterdir()),
        "status": {name: status(name) for name in ("CapBnd", "CapEff", "NoNewPrivs", "Seccomp")},
        "core limit": subprocess.run(
            ("sh", "-c", "ulimit -c"), capture_output=True, text=True, check=True
        ).stdout.strip(),
        "credentials": read(credentials),
        "user": [os.getuid(), os.geteuid(), os.getgid()],
        "time": time.time(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
