"""
The PIN: read once, in one buffer, handed to one login, and wiped.

Python cannot promise that no copy is left. What it can do: the bytes are read straight into a buffer of the right
size (no growing, no str), that same buffer goes to C_Login, and it is overwritten as soon as the login is over.

The credential file is also the lock of a login. Whoever logs in has to open one, so processes that are given the same
file meet there: while one loads the module and logs in, others wait, because SoftHSM rewrites its token file at a login
and whoever looks at it meanwhile sees no token. A service whose file is a copy of systemd's (`LoadCredential`) and a
command that opens the original do not meet: with SoftHSM, hold no ceremony while the service comes up.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import HsmPinUnavailable

_LONGEST_PIN = 255
_SYSTEMD_CREDENTIALS = Path("/run/credentials")


class Pin:
    """A PIN that shows itself only to a login."""

    __slots__ = ("_buffer",)

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer

    def __repr__(self) -> str:
        return "Pin(…)"

    def encode(self, _encoding: str = "utf-8") -> bytearray:
        """Return the buffer itself: python-pkcs11 asks a PIN for its bytes by this name, and takes a buffer."""
        return self._buffer

    def wipe(self) -> None:
        """Overwrite the PIN."""
        self._buffer[:] = bytes(len(self._buffer))


class Credential:
    """An open credential file, locked against other logins."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @contextmanager
    def pin(self) -> Iterator[Pin]:
        """Give the PIN, without one trailing newline, and wipe it afterwards; raise HsmPinUnavailable."""
        try:
            length = os.fstat(self._descriptor).st_size
            if length and os.pread(self._descriptor, 1, length - 1) == b"\n":
                length -= 1
            if not 1 <= length <= _LONGEST_PIN:
                raise HsmPinUnavailable(f"{self._path} does not hold a PIN")
            pin = Pin(bytearray(length))
            complete = os.preadv(self._descriptor, [pin.encode()], 0) == length
        except OSError as error:
            raise HsmPinUnavailable(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            if not complete:
                raise HsmPinUnavailable(f"{self._path} changed while it was read")
            yield pin
        finally:
            pin.wipe()


@contextmanager
def locked_credential(path: Path) -> Iterator[Credential]:
    """Open the credential file at *path* and wait for its lock, or raise HsmPinUnavailable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HsmPinUnavailable(f"{path} cannot be read: {error.strerror}") from error
    try:
        _refuse_readable_by_others(path, os.fstat(descriptor))
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Credential(path, descriptor)
    finally:
        os.close(descriptor)


def _refuse_readable_by_others(path: Path, status: os.stat_result) -> None:
    # systemd gives a service its credentials by an access control list, whose mask shows as group bits.
    by_systemd = path.is_relative_to(_SYSTEMD_CREDENTIALS) and status.st_uid == 0
    if not stat.S_ISREG(status.st_mode):
        raise HsmPinUnavailable(f"{path} is not a file")
    if status.st_mode & (0o007 if by_systemd else 0o077):
        raise HsmPinUnavailable(f"{path} can be read by others than its owner: chmod 600")
