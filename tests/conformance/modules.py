"""
Five real PKCS#11 modules, each started for one run in a temporary folder, with the system left as it was.

openCryptoki and p11-kit's module list live at fixed paths: they get a mount namespace of their own (and openCryptoki an
IPC namespace for its shared memory), in which those paths are fresh. The PINs are made up and worth nothing.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from appliance.errors import PartMissing
from appliance.hsm.vendor import load_vendor

PIN = "24681357"
LABEL = "conformance"
_LIBRARIES = Path(load_vendor("p11-kit").module).parents[1]
_START_SECONDS = 60.0
_PORTS = range(10_000, 11_000, 2)

_UNSHARE = ("unshare", "--mount", "--ipc", "--pid", "--fork", "--kill-child")

_OPENCRYPTOKI = """
set -e
cd "$1"; shift
mount -t tmpfs none /run
mount -t tmpfs none /dev/shm
mount -t tmpfs none /var/lib/opencryptoki
mkdir -p /var/lib/opencryptoki/swtok/TOK_OBJ /run/lock/opencryptoki/swtok
chown -R root:pkcs11 /var/lib/opencryptoki /run/lock/opencryptoki
chmod -R 0770 /var/lib/opencryptoki /run/lock/opencryptoki
mount --bind opencryptoki.conf /etc/opencryptoki/opencryptoki.conf
pkcsslotd >&2
tries=0
until [ -S /run/pkcsslotd.socket ]; do tries=$((tries + 1)); [ $tries -lt 1000 ]; sleep 0.01; done
{
    printf 'conformance\\n' | pkcsconf -c 3 -I -S 87654321
    pkcsconf -c 3 -P -S 87654321 -n "$PIN"
    pkcsconf -c 3 -u -S "$PIN" -n "$PIN"
} >&2
exec "$@"
"""
_P11_KIT_MODULES = """
set -e
mount --bind "$1" /usr/share/p11-kit/modules; shift
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Started:
    """A module that is ready: what the probes are told, and the command that puts them where it lives."""

    vendor: str
    pin_file: Path
    token: str = LABEL
    environment: Mapping[str, str] = field(default_factory=dict)
    enclosure: tuple[str, ...] = ()


def need(path: str | Path, package: str) -> str:
    """Return the absolute *path* of a program or file, or raise PartMissing with its Debian *package*."""
    found = shutil.which(path) if isinstance(path, str) else path if path.exists() else None
    if found is None:
        raise PartMissing(f"{path} is not there: install Debian's package {package}")
    return str(found)


@contextmanager
def softhsm(folder: Path) -> Iterator[Started]:
    """SoftHSM with every mechanism it has."""
    program = need("softhsm2-util", "softhsm2")
    need(Path("/usr/lib/softhsm/libsofthsm2.so"), "softhsm2")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    environment = {"SOFTHSM2_CONF": str(configuration)}
    _run(
        (program, "--init-token", "--free", "--label", LABEL, "--so-pin", PIN, "--pin", PIN),
        environment,
    )
    yield Started("softhsm", _pin_file(folder), environment=environment)


@contextmanager
def p11_kit(folder: Path) -> Iterator[Started]:
    """SoftHSM across a wire."""
    program = need("p11-kit", "p11-kit")
    need(Path(load_vendor("p11-kit").module), "p11-kit-modules")
    with softhsm(folder) as behind:
        address = folder / "wire"
        command = (
            *(program, "server", "-f", "--provider", load_vendor("softhsm").module, "-n", str(address)),
            f"pkcs11:token={LABEL}",
        )
        with _running(command, behind.environment):
            _await(address.is_socket, "p11-kit server")
            yield Started(
                "p11-kit",
                behind.pin_file,
                environment={"P11_KIT_SERVER_ADDRESS": f"unix:path={address}"},
            )


@contextmanager
def opencryptoki(folder: Path) -> Iterator[Started]:
    """Start the soft token of openCryptoki, with a slot daemon of its own."""
    need("pkcsslotd", "opencryptoki")
    need(Path(load_vendor("opencryptoki").module), "opencryptoki")
    (folder / "opencryptoki.conf").write_text(
        "version opencryptoki-3.1\nslot 3\n{\nstdll = libpkcs11_sw.so\n}\n"
    )
    yield Started(
        "opencryptoki",
        _pin_file(folder),
        environment={"PIN": PIN},
        enclosure=(*_UNSHARE, "sh", "-c", _OPENCRYPTOKI, "sh", str(folder)),
    )


@contextmanager
def tpm2_pkcs11(folder: Path) -> Iterator[Started]:
    """tpm2-pkcs11 on a software TPM."""
    program = need("swtpm", "swtpm")
    module = need(Path(load_vendor("tpm2-pkcs11").module), "libtpm2-pkcs11-1")
    need(_LIBRARIES / "libtss2-tcti-swtpm.so.0", "libtss2-tcti-swtpm0")
    need(_LIBRARIES / "libtss2-tcti-tabrmd.so.0", "libtss2-tcti-tabrmd0")
    for name in ("state", "store"):
        (folder / name).mkdir()
    port = _two_free_ports()
    bus = folder / "bus"
    environment = {
        "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
        "TPM2_PKCS11_STORE": str(folder / "store"),
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}",
    }
    tpm = (
        *(program, "socket", "--tpm2", "--tpmstate", f"dir={folder / 'state'}"),
        *("--server", f"type=tcp,port={port},bindaddr=127.0.0.1"),
        *("--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1"),
        *("--flags", "not-need-init,startup-clear"),
    )
    # What /dev/tpmrm0 is to a real TPM: without it, what one process leaves loaded is in the way of all others.
    broker = (
        *(need("tpm2-abrmd", "tpm2-abrmd"), "--session", "--allow-root", "--max-transients=100"),
        f"--tcti=swtpm:host=127.0.0.1,port={port}",
    )
    messages = (need("dbus-daemon", "dbus-daemon"), "--session", "--nofork", f"--address=unix:path={bus}")
    tool = ("pkcs11-tool", "--module", module)
    with ExitStack() as running:
        running.enter_context(_running(tpm, {}))
        running.enter_context(_running(messages, {}))
        _await(lambda: _listens(port + 1) and bus.is_socket(), "swtpm or dbus-daemon")
        running.enter_context(_running(broker, environment))
        _await(lambda: "uninitialized" in _said((*tool, "-L"), environment), "tpm2-abrmd")
        _run((*tool, "--init-token", "--slot-index", "0", "--label", LABEL, "--so-pin", PIN), environment)
        _run((sys.executable, "-m", "tests.conformance.init_pin", module, LABEL, PIN), environment)
        yield Started("tpm2-pkcs11", _pin_file(folder), environment=environment)


@contextmanager
def nss(folder: Path) -> Iterator[Started]:
    """NSS's softoken, which wants initialisation arguments, behind p11-kit, which gives them."""
    program = need("certutil", "libnss3-tools")
    softoken = need(_LIBRARIES / "libsoftokn3.so", "libnss3")
    need(Path(load_vendor("nss").module), "p11-kit-modules")
    (folder / "modules").mkdir()
    (folder / "database").mkdir()
    pin_file = _pin_file(folder)
    database = f"sql:{folder / 'database'}"
    _run((program, "-N", "-d", database, "-f", str(pin_file)), {})
    (folder / "modules" / "nss.module").write_text(
        f"module: {softoken}\n"
        f"x-init-reserved: configdir='{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=\n"
    )
    yield Started(
        "nss",
        pin_file,
        token="NSS Certificate DB",  # noqa: S106 - the name NSS gives its token
        enclosure=(*_UNSHARE, "sh", "-c", _P11_KIT_MODULES, "sh", str(folder / "modules")),
    )


MODULES: Mapping[str, Callable[[Path], AbstractContextManager[Started]]] = {
    "softhsm": softhsm,
    "p11-kit": p11_kit,
    "opencryptoki": opencryptoki,
    "tpm2-pkcs11": tpm2_pkcs11,
    "nss": nss,
}
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "softhsm": ("softhsm2",),
    "p11-kit": ("p11-kit", "softhsm2"),
    "opencryptoki": ("opencryptoki",),
    "tpm2-pkcs11": ("libtpm2-pkcs11-1", "swtpm"),
    "nss": ("libnss3", "p11-kit"),
}
"""What the word of the versions is taken from."""


@contextmanager
def temporary() -> Iterator[Path]:
    """Give a folder with a short name: a socket's path has room for 108 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="hsm-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def versions(vendor: str) -> str:
    """Return the installed Debian packages of *vendor*, with their versions."""
    return ", ".join(
        f"{package} {_run(('dpkg-query', '-W', '-f', '${Version}', package), {})}"
        for package in PACKAGES[vendor]
    )


def _run(command: tuple[str, ...], environment: Mapping[str, str]) -> str:
    ended = _ended(command, environment)
    if ended.returncode:
        raise AssertionError(f"{command[0]} ended with status {ended.returncode}: {ended.stderr}")
    return ended.stdout.strip()


def _said(command: tuple[str, ...], environment: Mapping[str, str]) -> str:
    return _ended(command, environment).stdout


def _ended(command: tuple[str, ...], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        check=False,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )


@contextmanager
def _running(command: tuple[str, ...], environment: Mapping[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _await(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        assert time.monotonic() < deadline, f"{what} has not come up"
        time.sleep(0.01)


def _listens(port: int) -> bool:
    # A look that does not connect: the control port of swtpm serves one client at a time.
    wanted = f"0100007F:{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1] == wanted and line.split()[3] == "0A" for line in lines)


def _two_free_ports() -> int:
    # Below those that the system hands out by itself, also to the tests that run beside this one.
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as first, socket.socket() as second, suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
    raise RuntimeError("there are no two free ports")


def _pin_file(folder: Path) -> Path:
    path = folder / "user.pin"
    path.touch(mode=0o600)
    path.write_text(f"{PIN}\n")
    return path
